"""A folder of one's own as a data set: root/images, root/masks, root/classes.txt, and lists where one wants them."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from scl_core.data.classes import EXAMPLE, read_classes
from scl_core.data.files import FileSettings, open_lists, open_root
from scl_core.data.images import IGNORE_INDEX, MASK_SUFFIXES, PICTURE_SUFFIXES, read_mask
from scl_core.data.lists import Entry, read_list
from scl_core.data.pictures import DataSource
from scl_core.errors import UserError
from scl_core.settings import setting

CLASS_FILES = ("classes.txt", "classes.json")
LISTS = ("labeled", "unlabeled", "val", "test")
SCANNED_MASKS = 20


@dataclass
class FolderConfig(FileSettings):
    """Pictures in root/images (sub-folders too), masks of the same name as palette or gray PNG in root/masks.

    A picture without a mask is unlabeled. Lists (root/labeled.txt, unlabeled.txt, val.txt, test.txt, or named here)
    take the place of the scan; what no list names is unlabeled.
    """

    name: str = setting("folder", "Which data set.")
    labeled: str | None = setting(None, "List file of labeled pictures; none: root/labeled.txt, or all with a mask.")
    unlabeled: str | None = setting(None, "List file of unlabeled pictures; none: root/unlabeled.txt, or all the rest.")
    val: str | None = setting(None, "List file of validation pictures; none: root/val.txt, or a share of the labeled.")
    test: str | None = setting(None, "List file of test pictures; none: root/test.txt where it is there.")
    val_fraction: float = setting(
        0.1, "Share of labeled pictures held out where there is no val list.", low=0.0, high=0.9
    )

    def open(self, seed_for_lists: int = 0) -> DataSource:
        """Open the lists, or find pictures and masks; the held-out share is drawn from `seed_for_lists`."""
        root = open_root(self.root)
        if not (root / "images").is_dir() and self._list_file(root, "labeled") is None:
            raise UserError(f"data.root: {root} has neither an images folder nor a labeled.txt")
        scanned = scan_pictures(root)
        entries = {name: self._read(root, name) for name in LISTS}
        names, palette = _classes(root, entries["labeled"] or [e for e in scanned if e.mask])
        return open_lists(self, names, palette, self._complete(entries, scanned, seed_for_lists))

    def _list_file(self, root: Path, name: str) -> Path | None:
        given = getattr(self, name)
        if given is None:
            return root / f"{name}.txt" if (root / f"{name}.txt").is_file() else None
        for path in (root / given, Path(given)):
            if path.is_file():
                return path
        raise UserError(f"data.{name}: there is no list file {given}, neither here nor in {root}")

    def _read(self, root: Path, name: str) -> list[Entry] | None:
        path = self._list_file(root, name)
        return None if path is None else read_list(path)

    def _complete(self, entries: dict, scanned: list[Entry], seed: int) -> dict[str, list[Entry]]:
        """Fill the lists that are not written down from the pictures that no other list names."""
        entries = {name: listed for name, listed in entries.items() if listed is not None}
        if "labeled" not in entries:
            refuse_lonely_masks(Path(self.root), scanned)
            entries["labeled"] = [entry for entry in _not_in(entries, scanned) if entry.mask]
        if not entries["labeled"]:
            raise UserError(f"{self.root}: no picture has a mask; put masks/<name>.png beside images/<name>.jpg")
        if "val" not in entries and self.val_fraction > 0:
            entries["labeled"], entries["val"] = hold_out(entries["labeled"], self.val_fraction, seed)
        if "unlabeled" not in entries:
            entries["unlabeled"] = _not_in(entries, scanned)
        return entries


def scan_pictures(root: Path) -> list[Entry]:
    """Find every picture under root/images, and for each the mask of the same name under root/masks: sorted entries.

    Raises UserError when two masks, or two labeled pictures, share one name.
    """
    masks = _by_stem(root, "masks", MASK_SUFFIXES)
    entries = []
    for stem, files in sorted(_by_stem(root, "images", PICTURE_SUFFIXES).items()):
        found = masks.get(stem, [])
        if len(found) > 1 or (found and len(files) > 1):
            raise UserError(f"{root}: {', '.join(files + found)} share one name; a picture has one mask, rename one")
        entries += [Entry(path, found[0] if found else None) for path in files]
    return entries


def refuse_lonely_masks(root: Path, scanned: list[Entry]) -> None:
    """Raise UserError for a mask under root/masks that has no picture of its name: it would go unused in silence."""
    masks = _by_stem(root, "masks", MASK_SUFFIXES)
    pictures = {os.path.splitext(entry.image)[0].removeprefix("images/") for entry in scanned}
    lonely = [file for stem, files in masks.items() if stem not in pictures for file in files]
    if lonely:
        more = f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else ""
        raise UserError(
            f"{root}: {lonely[0]} belongs to no picture{more}; a mask has the name of its picture in images/"
        )


def hold_out(labeled: list[Entry], fraction: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Split into (kept, held out): the share `fraction`, at least one picture on either side, order kept.

    The draw follows the pictures' names, so that a picture seldom changes sides when others are added.
    Raises UserError when there are fewer than two pictures.
    """
    if len(labeled) < 2:
        raise UserError(
            f"{len(labeled)} labeled picture is too few to hold one out for validation; give a val list, "
            "more pictures, or data.val_fraction: 0"
        )
    count = min(max(1, round(fraction * len(labeled))), len(labeled) - 1)
    drawn = sorted(range(len(labeled)), key=lambda i: sha256(f"{seed} {labeled[i].image}".encode()).digest())
    chosen = set(drawn[:count])
    kept = [entry for i, entry in enumerate(labeled) if i not in chosen]
    return kept, [labeled[i] for i in sorted(chosen)]


def _by_stem(root: Path, folder: str, suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """All files of `folder` by their path inside it without suffix, each as a path relative to the root."""
    found: dict[str, list[str]] = {}
    for current, folders, files in os.walk(root / folder, followlinks=True):
        folders.sort()
        inside = Path(current).relative_to(root / folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)
            if suffix.lower() in suffixes:
                found.setdefault(prefix + stem, []).append(f"{folder}/{prefix}{file}")
    return found


def _not_in(entries: dict[str, list[Entry]], scanned: list[Entry]) -> list[Entry]:
    named = {entry.image for listed in entries.values() for entry in listed}
    return [entry for entry in scanned if entry.image not in named]


def _classes(root: Path, with_masks: list[Entry]) -> tuple[tuple[str, ...], np.ndarray]:
    for file in CLASS_FILES:
        if (root / file).is_file():
            return read_classes(root / file)
    first = [entry for entry in with_masks if entry.mask][:SCANNED_MASKS]
    values = sorted({int(v) for entry in first for v in np.unique(read_mask(root / entry.mask))} - {IGNORE_INDEX})
    found = f"the first {len(first)} masks hold the values {values}" if first else "there are no masks yet"
    example = EXAMPLE.replace("\n", " | ")
    raise UserError(
        f"{root}: no classes.txt or classes.json; {found} ({IGNORE_INDEX} = ignore). Write classes.txt with one class "
        f"per line from index 0 on, 'name' or 'name red green blue', for example (lines split by |): {example}"
    )
