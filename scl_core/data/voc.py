"""PASCAL VOC 2012 (21 classes) as published: JPEGImages/, SegmentationClass/, ImageSets/, and the augmented masks."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from scl_core.data.classes import default_palette
from scl_core.data.files import open_lists, open_root
from scl_core.data.lists import Entry
from scl_core.data.pictures import DataSource
from scl_core.data.published import PublishedSettings, PublishedTree
from scl_core.errors import UserError
from scl_core.settings import setting

CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
PLACES = ("", "VOC2012", "VOCdevkit/VOC2012")
MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug")
AUGMENTED_LISTS = ("train_aug", "trainaug")


@dataclass
class VocConfig(PublishedSettings):
    """PASCAL VOC 2012; needs `root`: the folder with JPEGImages, or that of VOC2012 or VOCdevkit."""

    name: str = setting("voc", "Which data set.")
    labeled: str = setting(
        "train", "Labeled pictures: train (1,464), train_aug (10,582), a list file, or a folder with labeled.txt."
    )
    unlabeled: str | None = setting(
        None,
        "Unlabeled pictures: train, train_aug or a list file; none: the list beside the labeled one, or the rest of "
        "train_aug (of train where there are no augmented masks).",
    )

    def open(self, seed_for_lists: int = 0) -> DataSource:
        """Open the lists; a picture's mask is the set's own where there is one, else the augmented one."""
        folder = voc_folder(open_root(self.root))
        if folder is None:
            places = " or ".join(MASK_FOLDERS)
            raise UserError(
                f"data.root: {self.root} holds no VOC: JPEGImages and {places} are neither there nor in "
                f"{' or '.join(PLACES[1:])}"
            )
        palette = np.concatenate([np.zeros((1, 3), np.uint8), default_palette(len(CLASS_NAMES) - 1)])
        return open_lists(self, CLASS_NAMES, palette, self.entries(VocTree(folder)), root=folder)


class VocTree(PublishedTree):
    """Pictures by their name, as 2007_000032."""

    pool_names = ("train", "train_aug", "val")
    unlabeled_pools = ("train_aug", "train")

    def __init__(self, root: Path):
        super().__init__(root)
        self.masks = {folder: {path.name for path in (root / folder).glob("*.png")} for folder in MASK_FOLDERS}

    def pool(self, name: str) -> list[Entry]:
        file = next((file for file in self._list_files(name) if file.is_file()), None)
        if file:
            return self.read(file)
        return self._augmented() if name == "train_aug" else []

    def where(self, name: str) -> str:
        lists = " or ".join(map(str, self._list_files(name)))
        return f"{lists} or {MASK_FOLDERS[1]}/" if name == "train_aug" else lists

    def find(self, entry: Entry) -> Entry:
        """A mask that the line names counts where it is there: some lists name SegmentationClass for all pictures."""
        name = PurePosixPath(entry.image).stem
        named = () if entry.mask is None else (PurePosixPath(entry.mask).parent.name,)
        mask = next(
            (f"{f}/{name}.png" for f in (*named, *MASK_FOLDERS) if f"{name}.png" in self.masks.get(f, ())), None
        )
        return Entry(f"JPEGImages/{name}.jpg", mask, entry.origin)

    def _list_files(self, name: str) -> list[Path]:
        names = AUGMENTED_LISTS if name == "train_aug" else (name,)
        return [self.root / "ImageSets" / "Segmentation" / f"{name}.txt" for name in names]

    def _augmented(self) -> list[Entry]:
        """All pictures with a mask that are not in val, where there are augmented masks: 10,582 of the whole set."""
        if not self.masks["SegmentationClassAug"]:
            return []
        held_out = {entry.image for entry in self.pool("val")}
        names = sorted({Path(file).stem for files in self.masks.values() for file in files})
        return [entry for entry in map(self.find, map(Entry, names)) if entry.image not in held_out]


def voc_folder(root: Path) -> Path | None:
    """The folder with JPEGImages and masks: `root` itself or a VOC2012 inside it; None where there is none."""
    for place in PLACES:
        folder = root / place
        if (folder / "JPEGImages").is_dir() and any((folder / masks).is_dir() for masks in MASK_FOLDERS):
            return folder
    return None
