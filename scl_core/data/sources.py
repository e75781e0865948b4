"""The data sets there are, opening one from its settings, and recognising which one a folder holds."""

from scl_core.data.camvid import CamvidConfig, is_camvid
from scl_core.data.cityscapes import CityscapesConfig, is_cityscapes
from scl_core.data.files import open_root
from scl_core.data.folder import CLASS_FILES, FolderConfig
from scl_core.data.generated import ScenesConfig
from scl_core.data.pictures import DataSource, PictureList
from scl_core.data.voc import VocConfig, voc_folder
from scl_core.errors import UserError

__all__ = [
    "DATASETS",
    "CamvidConfig",
    "CityscapesConfig",
    "DataSource",
    "FolderConfig",
    "PictureList",
    "ScenesConfig",
    "VocConfig",
    "open_data",
    "recognise_layout",
]

DATASETS = {
    "scenes": ScenesConfig,
    "camvid": CamvidConfig,
    "cityscapes": CityscapesConfig,
    "voc": VocConfig,
    "folder": FolderConfig,
}


def open_data(
    config: ScenesConfig | CamvidConfig | CityscapesConfig | VocConfig | FolderConfig, seed_for_lists: int = 0
) -> DataSource:
    """Open the data set that `config` describes: lists are read and checked, no picture is decoded.

    `seed_for_lists` draws what no list fixes (a held-out share of a folder). Raises UserError with file and line.
    """
    return config.open(seed_for_lists)


def recognise_layout(root: str) -> str:
    """Return the name of the data set whose layout the folder `root` has: "camvid", "cityscapes", "voc" or "folder".

    Raises UserError naming what was looked for when it has none of them.
    """
    folder = open_root(root)
    if is_camvid(folder):
        return "camvid"
    if is_cityscapes(folder):
        return "cityscapes"
    if voc_folder(folder) is not None:
        return "voc"
    if (folder / "images").is_dir() or (folder / "labeled.txt").is_file():
        return "folder"
    classes = " or ".join(CLASS_FILES)
    raise UserError(
        f"data.root: the layout of {root} is not known; looked for camvid.json with splits/ (camvid), leftImg8bit/ "
        "with gtFine/ (cityscapes), JPEGImages/ with SegmentationClass/ or SegmentationClassAug/, also inside VOC2012/ "
        f"or VOCdevkit/VOC2012/ (voc), and for images/ or labeled.txt, with masks/ and {classes} (folder)"
    )
