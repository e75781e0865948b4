"""List files: one picture (and its mask) per line, relative to the data's root, in the forms that public splits use."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scl_core.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One picture of a list: paths relative to the root, and where it was written (empty when found by a scan)."""

    image: str
    mask: str | None = None
    origin: str = ""

    @property
    def line(self) -> str:
        """The entry as written in resolved.txt: picture, and after a tab its mask."""
        return self.image if self.mask is None else f"{self.image}\t{self.mask}"

    def without_mask(self) -> "Entry":
        return Entry(self.image, None, self.origin)


def read_list(path: str | Path) -> list[Entry]:
    """Read a list file: "image" or "image mask" per line, between them a tab or spaces, leading slashes dropped.

    Names that contain spaces need the tab. Empty lines are skipped.
    Raises UserError with file and line for an empty list, a third column, a path out of the root, a repeated picture.
    """
    entries, first_line = [], {}
    for number, text in enumerate(_lines_of(path), start=1):
        if not text.strip():
            continue
        origin = f"{path} line {number}"
        entry = _parse(text, origin)
        if entry.image in first_line:
            raise UserError(f"{origin}: {entry.image} is already in line {first_line[entry.image]}; list it once")
        first_line[entry.image] = number
        entries.append(entry)
    if not entries:
        raise UserError(f"{path}: the list is empty; write one picture per line, or remove the file")
    return entries


def check_files(root: str | Path, entries: list[Entry]) -> None:
    """Check that every picture and mask of the entries is a file under `root`; folders are scanned once each.

    Raises UserError with list, line and path of the first that is missing, and how many more are.
    """
    missing = missing_files(root, entries)
    if not missing:
        return
    for entry in entries:
        for what, path in (("picture", entry.image), ("mask", entry.mask)):
            if path in missing:
                more = f" (and {len(missing) - 1} more files are missing)" if len(missing) > 1 else ""
                where = f"{entry.origin}: " if entry.origin else ""
                raise UserError(f"{where}no {what} {path} in {root}{more}; mend the list or data.root")


def missing_files(root: str | Path, entries: list[Entry]) -> set[str]:
    """Return the relative paths of pictures and masks that are no file under `root`."""
    by_folder = defaultdict(set)
    for entry in entries:
        for path in filter(None, (entry.image, entry.mask)):
            folder, _, name = path.rpartition("/")
            by_folder[folder].add(name)
    missing = set()
    for folder, names in by_folder.items():
        absent = names - _file_names(Path(root) / folder)
        missing.update(f"{folder}/{name}" if folder else name for name in absent)
    return missing


def require_masks(entries: list[Entry]) -> None:
    """Raise UserError with list and line for the first entry that names no mask."""
    for entry in entries:
        if entry.mask is None:
            raise UserError(f"{entry.origin}: {entry.image} has no mask; write 'picture mask' on the line")


def _lines_of(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: the list cannot be read ({error.strerror})") from None


def _parse(text: str, origin: str) -> Entry:
    columns = [column.strip() for column in (text.split("\t") if "\t" in text else text.split())]
    columns = [column for column in columns if column]
    if len(columns) > 2:
        raise UserError(
            f"{origin}: {len(columns)} columns where 'picture' or 'picture mask' is expected; "
            "put a tab between the two when a name contains spaces"
        )
    paths = [_inside_root(column, origin) for column in columns]
    return Entry(paths[0], paths[1] if len(paths) == 2 else None, origin)


def _inside_root(column: str, origin: str) -> str:
    path = PurePosixPath(column.lstrip("/"))
    if ".." in path.parts:
        raise UserError(f"{origin}: {column} leads out of the data's root; paths are relative to it")
    return str(path)


def _file_names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as items:
            return {item.name for item in items if item.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
