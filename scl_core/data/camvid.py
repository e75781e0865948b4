"""CamVid (480 x 360, 11 classes): camvid.json, splits/{train,val,test}.txt, splits/<subset>/{labeled,unlabeled}.txt."""

from dataclasses import dataclass
from pathlib import Path

from scl_core.data.classes import read_classes
from scl_core.data.files import FileSettings, open_lists, open_root
from scl_core.data.lists import Entry, read_list
from scl_core.data.pictures import DataSource
from scl_core.errors import UserError
from scl_core.settings import setting


@dataclass
class CamvidConfig(FileSettings):
    """CamVid street scenes; needs `root`."""

    name: str = setting("camvid", "Which data set.")
    height: int | None = setting(180, "Input height in pixels; none: the pictures' own 360.", low=1)
    width: int | None = setting(240, "Input width in pixels; none: the pictures' own 480.", low=1)
    labeled: str = setting("1_8", "Labeled subset: a folder of splits/ (1_8, seed_1/1_8), train, or a list file.")

    def open(self, seed_for_lists: int = 0) -> DataSource:
        """Open the lists; the masks of unlabeled pictures are never given to training."""
        root = open_root(self.root)
        if not is_camvid(root):
            raise UserError(f"data.root: {root} holds no CamVid: camvid.json and splits/ are not both there")
        names, palette = read_classes(root / "camvid.json")
        labeled, unlabeled = self._training_entries(root / "splits")
        held_out = {split: read_list(root / "splits" / f"{split}.txt") for split in ("val", "test")}
        return open_lists(self, names, palette, {"labeled": labeled, "unlabeled": unlabeled, **held_out})

    def _training_entries(self, splits: Path) -> tuple[list[Entry], list[Entry]]:
        if self.labeled == "train":
            return read_list(splits / "train.txt"), []
        subset = splits / self.labeled
        if (subset / "labeled.txt").is_file():
            return read_list(subset / "labeled.txt"), read_list(subset / "unlabeled.txt")
        if not Path(self.labeled).is_file():
            raise UserError(
                f"data.labeled: '{self.labeled}' is neither a list file nor a subset of {splits}; "
                f"there are {', '.join(_subsets(splits))} and train"
            )
        labeled = read_list(self.labeled)
        taken = {entry.image for entry in labeled}
        return labeled, [entry for entry in read_list(splits / "train.txt") if entry.image not in taken]


def is_camvid(root: Path) -> bool:
    """Whether `root` has CamVid's layout."""
    return (root / "camvid.json").is_file() and (root / "splits").is_dir()


def _subsets(splits: Path) -> list[str]:
    return sorted(path.parent.relative_to(splits).as_posix() for path in splits.rglob("labeled.txt"))
