"""What all data sets of picture files share: their settings, the check of the root, and opening lists of entries."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scl_core.data.images import MAX_PIXELS
from scl_core.data.lists import Entry, check_files, missing_files, require_masks
from scl_core.data.memory import cache_setting, open_cache, resident_setting
from scl_core.data.pictures import DataSource, FileList
from scl_core.errors import UserError
from scl_core.settings import setting


@dataclass
class FileSettings:
    """Settings of a data set of picture files."""

    name: str = setting("", "Which data set.")
    root: str | None = setting(None, "Folder of the data set; paths in lists are relative to it.")
    height: int | None = setting(None, "Input height in pixels; none: each picture's own.", low=1)
    width: int | None = setting(None, "Input width in pixels; none: each picture's own.", low=1)
    max_pixels: int = setting(MAX_PIXELS, "Largest picture that is decoded, in pixels.", low=1)
    cache: str = cache_setting()
    cache_mb: int = setting(512, "Memory for decoded pictures at input size, in MiB per process.", low=0)
    resident: str = resident_setting()


def open_root(root: str | None) -> Path:
    """Return the root as a path; UserError when it is not set, not there, no folder, or empty."""
    if not root:
        raise UserError("data.root is not set; give the folder of the data set (--data.root DIR)")
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"data.root: {root} {'is not a folder' if folder.exists() else 'does not exist'}")
    if not any(folder.iterdir()):
        raise UserError(f"data.root: {root} is an empty folder; put the data set there or give another")
    return folder


def input_size(config: FileSettings) -> tuple[int, int] | None:
    """Return (height, width) of the network's input, None for own sizes; UserError when only one is set."""
    if (config.height is None) != (config.width is None):
        raise UserError("data.height and data.width go together: set both, or none for the pictures' own size")
    return None if config.height is None else (config.height, config.width)


def open_lists(
    config: FileSettings,
    class_names: tuple[str, ...],
    palette: np.ndarray,
    entries: dict[str, list[Entry]],
    root: Path | None = None,
    list_class: type[FileList] = FileList,
) -> DataSource:
    """Open a data set from the entries of its lists ("labeled", and where known "unlabeled", "val", "test").

    Paths are relative to `root`, by default the settings' own; `list_class` may decode masks in its own way.
    Masks named in "unlabeled" are taken out of it; the "train" list keeps those that are there.
    Raises UserError for a missing file or mask, and for a picture both trained on and evaluated on.
    """
    root, size = root or Path(config.root), input_size(config)
    cache = open_cache(config)
    used = {name: listed for name, listed in entries.items() if listed}
    known = used.get("unlabeled", [])
    used["unlabeled"] = [entry.without_mask() for entry in known]
    for name, listed in used.items():
        if name != "unlabeled":
            require_masks(listed)
        check_files(root, listed)
    _refuse_leaks(used)
    used["train"] = _with_masks(root, used["labeled"], known)
    lists = {
        name: list_class(root, listed, len(class_names), size, cache, config.max_pixels)
        for name, listed in used.items()
        if listed
    }
    return DataSource(config.name, class_names, palette, lists, cache)


def _with_masks(root: Path, labeled: list[Entry], known: list[Entry]) -> list[Entry]:
    absent = missing_files(root, known)
    taken = {entry.image for entry in labeled}
    return labeled + [e for e in known if e.mask and e.mask not in absent and e.image not in taken]


def _refuse_leaks(entries: dict[str, list[Entry]]) -> None:
    for trained in ("labeled", "coarse", "unlabeled"):
        for evaluated in ("val", "test"):
            ours = {entry.image for entry in entries.get(trained, [])}
            shared = [entry for entry in entries.get(evaluated, []) if entry.image in ours]
            if shared:
                where = f" ({shared[0].origin})" if shared[0].origin else ""
                raise UserError(
                    f"{len(shared)} pictures are both in the {trained} and in the {evaluated} list, the first is "
                    f"{shared[0].image}{where}; a picture that is trained on cannot be evaluated on"
                )
