"""Runs out of sight: an archived run lies in `.archive` beside the others, whole, and can come back."""

import contextlib
import os
from pathlib import Path

from scl_core.errors import UserError
from scl_core.runs.folder import RunFolder
from scl_core.runs.listing import entries

ARCHIVE_FOLDER = ".archive"


def archive(run_dir: str | Path) -> str:
    """Move a run into the archive; returns the name that it has there, with a number where the name is taken.

    Raises `UserError` for a run at work, and where the folder cannot be moved. A launch that never made its folder is
    forgotten: there is nothing to keep.
    """
    run = RunFolder(run_dir)
    status = run.status()
    if status.active:
        raise UserError(f"run {run.name} is {status.state}: stop it before it goes to the archive")
    with contextlib.suppress(OSError):
        os.unlink(run.launch_file(".yaml"))
    if not run.path.is_dir():
        return ""
    folder = run.path.parent / ARCHIVE_FOLDER
    with moving(run), run.lock():
        folder.mkdir(exist_ok=True)
        target = free_place(folder / run.path.name)
        os.rename(run.path, target)
    return target.name


def bring_back(root: str | Path, name: str) -> str:
    """Move an archived run back among the others; returns its name there, with a number where the name is taken.

    Raises `UserError` where there is none of this name, or it cannot be moved.
    """
    source = Path(root) / ARCHIVE_FOLDER / name
    if name not in archived(root):
        raise UserError(f"run {name} is not in the archive {source.parent}")
    target = free_place(Path(root) / name)
    with moving(RunFolder(source)):
        os.rename(source, target)
    return target.name


def archived(root: str | Path) -> list[str]:
    """The names in the archive, the last by name first."""
    found = entries(Path(root) / ARCHIVE_FOLDER)
    return sorted((entry.name for entry in found if entry.is_dir(follow_symlinks=False)), reverse=True)


def free_place(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, … that is free."""
    number = 1
    place = path
    while os.path.lexists(place):
        number += 1
        place = path.with_name(f"{path.name}-{number}")
    return place


@contextlib.contextmanager
def moving(run: RunFolder):
    """What goes wrong inside, in a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"run {run.name} cannot be moved: {error.strerror}") from error
