"""The runs of a folder at a glance: fast for hundreds, and one broken folder never hides the others."""

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from scl_core.errors import UserError
from scl_core.runs.folder import LAUNCH_FOLDER, RunFolder
from scl_core.runs.notes import FILE as NOTES_FILE
from scl_core.runs.notes import Notes, read_notes
from scl_core.runs.status import RunStatus

RUN_FILES = ("config.yaml", "status.json", "process.json")
KEPT = 16384
LABELED_LINE = re.compile(r"^\[labeled\] (\d{1,9})$", re.MULTILINE)

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunSummary:
    """One run in a list. `last` and `best` are the mIoU on the validation list by network; `name` is safe to show.

    `problem` says why the settings or scores cannot be read; `bad_lines` counts lines of the scores that are no row.
    `epoch` is how often each labeled picture has been drawn so far, on average.
    """

    path: Path
    name: str
    status: RunStatus
    method: str | None = None
    data: str | None = None
    seed: int | None = None
    steps: int | None = None
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    bad_lines: int = 0
    epoch: float | None = None
    notes: Notes = Notes()

    @property
    def counting(self) -> str | None:
        """The network that counts: the first of those that are evaluated."""
        return next(iter(self.best), None)


class RunList(list):
    """A list of `RunSummary`; `skipped` counts the links that were not followed."""

    def __init__(self, runs: Iterable[RunSummary], skipped: int):
        super().__init__(runs)
        self.skipped = skipped


def list_runs(root: str | Path) -> RunList:
    """The runs of a folder, the last by name first, with launches that have no folder yet. Never raises."""
    folders, skipped = set(), 0
    for entry in entries(root):
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            skipped += 1
        elif entry.is_dir(follow_symlinks=False) and any(os.path.lexists(f"{entry.path}/{name}") for name in RUN_FILES):
            folders.add(entry.name)
    for entry in entries(Path(root) / LAUNCH_FOLDER):
        name = entry.name.removesuffix(".yaml")
        if name != entry.name and not os.path.islink(Path(root) / name):
            folders.add(name)
    return RunList((summarise(Path(root) / name) for name in sorted(folders, reverse=True)), skipped)


def entries(folder: str | Path) -> list[os.DirEntry]:
    """The entries of a folder by name; none when it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def summarise(path: str | Path) -> RunSummary:
    """One run in short; what cannot be read is said in `problem`. Never raises."""
    run, problems = RunFolder(path), []
    status = run.status()

    def attempt(reader: Callable[[RunFolder], Value], name: str, otherwise: Value) -> Value:
        try:
            return reader_of(reader, run, name)
        except UserError as error:
            problems.append(str(error))
            return otherwise

    config = attempt(settings_in_short, "config.yaml", {})
    last, best, bad_lines = attempt(scores, "evaluations.jsonl", ({}, {}, 0))
    config = dict(config)  # the one that was read is kept for the next time
    batch = config.pop("batch_labeled", None)
    labeled = attempt(labeled_count, "resolved.txt", 0) if status.step and batch else 0
    more = {
        "steps": status.steps or config.pop("steps", None),
        "epoch": status.step * batch / labeled if labeled else None,
        "notes": attempt(notes_of, NOTES_FILE, Notes()),
        "problem": "; ".join(problems) or None,
    }
    return RunSummary(run.path, run.name, status, **(config | more), last=last, best=best, bad_lines=bad_lines)


def reader_of(reader: Callable[[RunFolder], Value], run: RunFolder, name: str) -> Value:
    """What `reader` finds in a run, read again only when the file `name` has changed."""
    try:
        status = os.lstat(run.path / name)
    except (OSError, ValueError):
        return reader(run)
    return read_once(reader, os.fspath(run.path), (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=KEPT)
def read_once(reader: Callable[[RunFolder], Value], path: str, signature: tuple[int, int, int]) -> Value:
    """What `reader` makes of a run, kept until one of its files changes (`signature`)."""
    return reader(RunFolder(path))


def settings_in_short(run: RunFolder) -> dict[str, Any]:
    """Method, data set, seed and steps, None where the settings do not say."""
    config = run.config()

    def named(section: str, key: str, kind: type) -> Any:
        value = config.get(section)
        value = value.get(key) if isinstance(value, dict) else None
        return value if type(value) is kind else None

    seed = config.get("seed")
    return {
        "method": named("method", "name", str),
        "data": named("data", "name", str),
        "seed": seed if type(seed) is int else None,
        "steps": named("train", "steps", int),
        "batch_labeled": named("train", "batch_labeled", int),
    }


def notes_of(run: RunFolder) -> Notes:
    """What a person wrote about the run."""
    return read_notes(run.path)


def labeled_count(run: RunFolder) -> int:
    """Labeled pictures of the run; 0 where its lists do not say."""
    with contextlib.suppress(UserError):
        found = LABELED_LINE.search(run.resolved())
        return int(found[1]) if found else 0
    return 0


def scores(run: RunFolder) -> tuple[dict[str, float], dict[str, float], int]:
    """Last and best mIoU on the validation list by network, and the number of lines that are no row.

    Only evaluations under the run's own protocol count.
    """
    rows = run.evaluations()
    last: dict[str, float] = {}
    best: dict[str, float] = {}
    for row in rows:
        network, value = str(row.get("network")), row.get("mean_iou")
        if row.get("split") == "val" and not row.get("variant") and isinstance(value, (int, float)):
            last[network] = value
            best[network] = max(value, best.get(network, value))
    return last, best, rows.skipped
