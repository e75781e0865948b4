"""The names in `checkpoints/`: which checkpoints are there, which go, and what an interrupted save left."""

import os
import re
import shutil
from pathlib import Path

from scl_core.storage.files import read_json_or_none, remove_temporary

STEP_FOLDER = re.compile(r"[0-9]{8,12}")
REPLACED = re.compile(r"\.old-([0-9]{8,12})-[0-9]+")
TEMPORARY = re.compile(r"\.tmp-[0-9]+-[0-9]+")


def folder_name(step: int) -> str:
    """The folder of a step: 8 digits."""
    return f"{step:08d}"


def temporary_path(root: Path, step: int) -> Path:
    """Where this process writes a checkpoint before it gets its name."""
    return root / f".tmp-{step}-{os.getpid()}"


def replaced_path(target: Path) -> Path:
    """Where a checkpoint waits while another one of the same step takes its name."""
    return target.with_name(f".old-{target.name}-{os.getpid()}")


def step_folders(root: Path) -> dict[int, Path]:
    """The checkpoints by step; links and other things are not among them.

    One that was about to be replaced when its process died counts where nothing else has its step.
    """
    waiting, named = {}, {}
    for path in folders(root):
        replaced = REPLACED.fullmatch(path.name)
        if replaced:
            waiting[int(replaced[1])] = path
        elif STEP_FOLDER.fullmatch(path.name):
            named[int(path.name)] = path
    return waiting | named


def folders(root: Path) -> list[Path]:
    """The folders directly inside `root`, links left out."""
    try:
        return [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def prune(root: Path, step: int, keep_last: int) -> None:
    """Remove all but the newest `keep_last` up to `step` and the best; called when `step` is known to be whole.

    Checkpoints after `step` are from before the run was resumed at an earlier one, so they go too.
    """
    best = (read_json_or_none(root / "best.json") or {}).get("step")
    found = step_folders(root)
    history = sorted(number for number in found if number <= step)
    kept = {best, *history[-max(keep_last, 1) :]}
    for number in found.keys() - kept:
        remove_whole(root, number, found[number])


def remove_whole(root: Path, step: int, folder: Path) -> None:
    """Take a checkpoint's name away first, so that nobody finds half of it."""
    aside = temporary_path(root, step)
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(run_dir: str | Path) -> None:
    """Remove what an interrupted save left, and give a checkpoint its name back. For the holder of the run's lock."""
    root = Path(run_dir) / "checkpoints"
    for path in folders(root):
        replaced = REPLACED.fullmatch(path.name)
        if replaced and not (root / replaced[1]).exists():
            os.rename(path, root / replaced[1])
        elif replaced or TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path)
    if root.is_dir():
        remove_temporary(root)
