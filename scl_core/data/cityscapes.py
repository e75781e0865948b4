"""Cityscapes (2048 x 1024, 19 classes) as published: leftImg8bit/, gtFine/ and gtCoarse/, each <split>/<city>/."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from scl_core.data.classes import class_numbers
from scl_core.data.files import open_lists, open_root
from scl_core.data.images import IGNORE_INDEX, read_mask
from scl_core.data.lists import Entry
from scl_core.data.pictures import DataSource, FileList
from scl_core.data.published import PublishedSettings, PublishedTree
from scl_core.errors import UserError
from scl_core.settings import setting

# Class, its id in labelIds files, its color; the row's number is its id in labelTrainIds files.
CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
LABEL_IDS = 34  # 0 to 33, those without a class among them
PICTURE_END = "_leftImg8bit.png"
LABEL_IDS_END, TRAIN_IDS_END = "_labelIds.png", "_labelTrainIds.png"
SPLITS = ("train", "val", "train_extra")


@dataclass
class CityscapesConfig(PublishedSettings):
    """Cityscapes; needs `root`. The set's own test pictures have no public masks, so they make no list."""

    name: str = setting("cityscapes", "Which data set.")
    labeled: str = setting("train", "Labeled pictures: train (fine masks), a list file, or a folder with labeled.txt.")
    unlabeled: str | None = setting(
        None,
        "Unlabeled pictures: train, train_extra, all (both) or a list file; none: the list beside the labeled one, "
        "or the rest of train, or train_extra where nothing is left.",
    )

    coarse_classes: str | None = setting(
        None,
        "Numbers of rare classes that class-uniform crops also take from the coarse masks of train_extra, "
        "as 3,4,12,14,15,16,17; none: coarse masks are not read.",
    )
    coarse_until: float = setting(
        1.0, "Share of the steps after which class-uniform crops leave the coarse masks.", low=0.0, high=1.0
    )

    def open(self, seed_for_lists: int = 0) -> DataSource:
        """Open the lists; of unlabeled pictures coarse masks serve `coarse_classes` alone, and never evaluation."""
        root = open_root(self.root)
        if not is_cityscapes(root):
            raise UserError(f"data.root: {root} holds no Cityscapes: leftImg8bit/ and gtFine/ are not both there")
        tree = CityscapesTree(root)
        entries = self.entries(tree)
        entries["unlabeled"] = [e.without_mask() if _is_coarse(e.mask) else e for e in entries["unlabeled"]]
        names = tuple(name for name, _, _ in CLASSES)
        if class_numbers("data.coarse_classes", self.coarse_classes, names):
            entries["coarse"] = self.coarse_entries(tree, entries)
        palette = np.array([color for _, _, color in CLASSES], dtype=np.uint8)
        return open_lists(self, names, palette, entries, list_class=CityscapesList)

    def coarse_entries(self, tree: "CityscapesTree", entries: dict[str, list[Entry]]) -> list[Entry]:
        """The pictures of train_extra with a coarse mask that are in no other list but the unlabeled one."""
        taken = {entry.image for name in ("labeled", "val", "test") for entry in entries[name]}
        coarse = [e for e in tree.pool("train_extra") if _is_coarse(e.mask) and e.image not in taken]
        if not coarse:
            raise UserError(f"data.coarse_classes: no picture of {tree.where('train_extra')} has a mask in gtCoarse/")
        return coarse


class CityscapesList(FileList):
    """Masks of labelIds files become the 19 classes; those of labelTrainIds files are them."""

    def read_classes(self, path: Path) -> np.ndarray:
        """Decode a mask to uint8 [H, W], 255 = ignore; UserError for a value that is no id of the set."""
        if not path.name.endswith(LABEL_IDS_END):
            return super().read_classes(path)
        return CLASS_OF_LABEL_ID[read_mask(path, LABEL_IDS, self.max_pixels)]


class CityscapesTree(PublishedTree):
    """Pictures by their name, city_sequence_frame, with the fine mask where there is one, else the coarse."""

    pool_names = (*SPLITS, "all")
    unlabeled_pools = ("train", "train_extra")

    def __init__(self, root: Path):
        super().__init__(root)
        self.pictures = {split: _by_name(root, f"leftImg8bit/{split}", (PICTURE_END,)) for split in SPLITS}
        self.masks = {
            kind: _by_name(root, kind, (f"_{kind}{LABEL_IDS_END}", f"_{kind}{TRAIN_IDS_END}"))
            for kind in ("gtFine", "gtCoarse")
        }

    def pool(self, name: str) -> list[Entry]:
        if name == "all":
            return self.pool("train") + self.pool("train_extra")
        return [self._entry(picture, image, "gtFine") for picture, image in self.pictures[name].items()]

    def where(self, name: str) -> str:
        return f"{self.root}/leftImg8bit/{'train' if name == 'all' else name}/<city>/*{PICTURE_END}"

    def find(self, entry: Entry) -> Entry:
        picture = "_".join(PurePosixPath(entry.image).stem.removesuffix("_leftImg8bit").split("_")[:3])
        for images in self.pictures.values():
            if picture in images:
                return self._entry(picture, images[picture], _kind(entry.mask), entry.origin)
        raise UserError(
            f"{entry.origin}: no picture {picture}{PICTURE_END} in {self.root}/leftImg8bit/ "
            f"({', '.join(SPLITS)}); mend the list or data.root"
        )

    def _entry(self, picture: str, image: str, kind: str, origin: str = "") -> Entry:
        other = "gtCoarse" if kind == "gtFine" else "gtFine"
        return Entry(image, self.masks[kind].get(picture) or self.masks[other].get(picture), origin)


def is_cityscapes(root: Path) -> bool:
    """Whether `root` has Cityscapes' layout."""
    return (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir()


def _kind(mask: str | None) -> str:
    return "gtCoarse" if _is_coarse(mask) else "gtFine"


def _is_coarse(mask: str | None) -> bool:
    return mask is not None and "gtCoarse" in mask


def _by_name(root: Path, folder: str, ends: tuple[str, ...]) -> dict[str, str]:
    """All files under a folder that have one of the ends, by their name without it; of two ends the first counts."""
    files = []
    for current, folders, names in os.walk(root / folder, followlinks=True):
        folders.sort()
        inside = Path(current).relative_to(root).as_posix()
        files += [(name, f"{inside}/{name}") for name in sorted(names)]
    found = {}
    for end in reversed(ends):
        found |= {name.removesuffix(end): path for name, path in files if name.endswith(end)}
    return found


def _class_of_label_id() -> np.ndarray:
    table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    for index, (_, label_id, _) in enumerate(CLASSES):
        table[label_id] = index
    return table


CLASS_OF_LABEL_ID = _class_of_label_id()
