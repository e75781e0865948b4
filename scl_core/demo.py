"""The demo of the app: the control and SCL on small drawn scenes, trained one after the other, or as recorded."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scl_core import launch
from scl_core.config import RunConfig, load_config, to_dict
from scl_core.errors import UserError
from scl_core.runs import RunFolder, RunStatus
from scl_core.storage.files import refusal

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
METHODS = ("supervised", "scl")
NAMES = tuple(f"demo-{method}" for method in METHODS)
RECORDED = EXPERIMENTS / "recorded"
WINDOW = 25


def settings(method: str, more: Sequence[str | Path] = ()) -> RunConfig:
    """The settings of the demo's run of this method; those of the files `more` win."""
    return load_config([EXPERIMENTS / "demo" / f"{method}.yaml", *more])


def start(root: str | Path, more: Sequence[str | Path] = ()) -> list[RunFolder]:
    """Start both runs in `root`, the second after the first, and return at once. Raises `UserError` as `launch`."""
    folders = (Path(root) / name for name in NAMES)
    return launch.launch_in_turn(
        {folder: to_dict(settings(method, more)) for folder, method in zip(folders, METHODS, strict=True)}
    )


def copy_recorded(root: str | Path) -> list[str]:
    """Put the recorded pair into a folder of runs; returns their names. What is there already stays as it is.

    Both come or none: raises `UserError` where the folder cannot be written.
    """
    names = [f"{name}-recorded" for name in NAMES]
    missing = {source: name for name, source in zip(names, NAMES, strict=True) if not (Path(root) / name).exists()}
    try:
        for source, name in missing.items():
            shutil.rmtree(Path(root) / f".{name}", ignore_errors=True)
            shutil.copytree(RECORDED / source, Path(root) / f".{name}")
        for name in missing.values():
            (Path(root) / f".{name}").rename(Path(root) / name)
    except OSError as error:
        for name in missing.values():
            shutil.rmtree(Path(root) / f".{name}", ignore_errors=True)
        raise UserError(f"the recorded demo, 6 MB, cannot be copied into {root}: {refusal(error)}") from error
    return names


def statuses(root: str | Path) -> list[RunStatus]:
    """Where both runs stand, in their order."""
    return [RunFolder(Path(root) / name).status() for name in NAMES]


def usual_seconds(method: str) -> np.ndarray:
    """Seconds of each step of the recorded run, [steps] float64, each the median of the steps around it."""
    rows = RunFolder(RECORDED / f"demo-{method}").metrics()
    seconds = np.array([row["seconds"] for row in rows])
    return np.array([np.median(seconds[max(0, i - WINDOW) : i + WINDOW + 1]) for i in range(len(seconds))])


def seconds_left(root: str | Path) -> float | None:
    """About how long both runs still take: the recorded steps that are left, at this machine's speed; None at first.

    The steps after the warm start take longer, so the last steps alone would promise too little.
    """
    usual, left, speeds = [usual_seconds(method) for method in METHODS], 0.0, []
    for name, status, seconds in zip(NAMES, statuses(root), usual, strict=True):
        steps = status.steps or len(seconds)
        done = min(status.step or 0, steps) / steps
        left += (1 - done) * steps * mean(seconds[int(done * len(seconds)) :])
        for row in RunFolder(Path(root) / name).metrics()[-WINDOW:]:
            speeds.append(row["seconds"] / seconds[min(row["step"] * len(seconds) // steps, len(seconds) - 1)])
    return left * float(np.median(speeds[-WINDOW:])) if speeds else None


def mean(seconds: np.ndarray) -> float:
    """The mean, 0 of nothing."""
    return float(seconds.mean()) if len(seconds) else 0.0
