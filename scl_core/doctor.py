"""Whether this machine has what the project needs, a line for each thing:  python -m scl_core.doctor"""

import importlib.metadata
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from scl_core.command_line import read_options, run_command
from scl_core.config import load_config
from scl_core.data.memory import memory_words, resident_words
from scl_core.data.sources import open_data, recognise_layout
from scl_core.errors import UserError
from scl_core.launch import PROJECT
from scl_core.predict import refuse_settings
from scl_core.runs import list_runs

USAGE = "python -m scl_core.doctor [--runs FOLDER] [--data FOLDER]"
SIGNS = {"good": "ok      ", "note": "note    ", "bad": "problem "}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MEMORY_GIB, DISK_GIB = 2, 2
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)(?:\s*,\s*<\s*([0-9.]+))?")


@dataclass(frozen=True)
class Finding:
    """One line: "good", a "note" that stops nothing, or "bad", with what to do."""

    level: str
    text: str


def check_python() -> Iterator[Finding]:
    """The interpreter is one that is tested."""
    found = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding("good", f"Python {found}")
    else:
        yield Finding("bad", f"Python {found}: 3.11 to 3.13 are supported; make setup PYTHON=/path/to/python3.12")


def check_packages() -> Iterator[Finding]:
    """Every package of pyproject.toml in a version of its range."""
    wrong, seen = [], []
    for name, low, high in requirements(PROJECT / "pyproject.toml"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        seen.append(f"{name} {version}")
        if numbers(version) < numbers(low) or (high and numbers(version) >= numbers(high)):
            wrong.append(f"{name} {version} is not {low} or later" + (f" and before {high}" if high else ""))
    for problem in wrong:
        yield Finding("bad", f"{problem}: pip install -r requirements.txt")
    if seen:
        yield Finding("good", ", ".join(seen))


def requirements(file: Path) -> list[tuple[str, str, str | None]]:
    """(package, lowest version, first version that is too new or None) of a pyproject.toml; none where it is not."""
    if not file.is_file():
        return []
    lines = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [(found[1], found[2], found[3]) for line in lines if (found := REQUIREMENT.match(line))]


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `2.13.0+cpu` is (2, 13, 0)."""
    return tuple(int(part) for part in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))


def usual_device() -> str:
    """Where training computes when nothing else is asked for."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def check_device() -> Iterator[Finding]:
    """Where training would compute, and that it does."""
    device = usual_device()
    name = torch.cuda.get_device_name(0) if device == "cuda" else device
    try:
        sums = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
        works = bool((sums == 64).all())
    except RuntimeError as error:
        yield Finding("bad", f"{name} does not compute ({str(error).splitlines()[0]}): train with --device cpu")
        return
    yield Finding("good", f"computes on {name}") if works else Finding("bad", f"{name} computes wrong: --device cpu")
    if device == "cpu":
        yield Finding("note", "no GPU: the built-in scenes train in minutes on a CPU, large pictures do not")


def check_threads() -> Iterator[Finding]:
    """Cores and threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("good", f"{cores} usable cores, torch takes {torch.get_num_threads()} threads")
    if torch.get_num_threads() > cores:
        yield Finding("note", f"more threads than cores: set OMP_NUM_THREADS={cores}, or train.threads")


def check_memory() -> Iterator[Finding]:
    """Free memory."""
    free = psutil.virtual_memory().available / 2**30
    low = free < MEMORY_GIB
    advice = ": close programs, or make data.cache_mb and the batches smaller" if low else ""
    yield Finding("note" if low else "good", f"{free:.1f} GiB of memory free{advice}")


def check_browser() -> Iterator[Finding]:
    """A browser for the tests of the app."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        yield Finding("good", f"browser {found}")
    else:
        yield Finding("note", "no Chromium: the browser tests will skip; install it from the system's packages")


def check_runs(folder: Path) -> Iterator[Finding]:
    """The folder of the runs can be written, has room, and can be listed."""
    home = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        yield Finding("bad", f"{folder} cannot be written: choose another with SCL_RUNS or --runs")
        return
    room = shutil.disk_usage(home).free / 2**30
    if room < DISK_GIB:
        yield Finding("note", f"{room:.1f} GiB free below {folder}: checkpoints of large networks may not fit")
    runs = list_runs(folder)
    broken = [run.name for run in runs if run.problem]
    yield Finding("good", f"{folder}: {len(runs)} runs, {room:.0f} GiB free")
    for name in broken:
        yield Finding("note", f"run {name} cannot be read; the Overview page says why")


def check_data(folder: str) -> Iterator[Finding]:
    """The folder holds a data set that can be opened and whose first masks fit."""
    try:
        layout = recognise_layout(folder)
        config, device = load_config((), {"data.root": folder}).data, torch.device(usual_device())
        source = open_data(config)
        source.check_labels(limit=3)
    except (UserError, OSError) as error:
        yield Finding("bad", str(error))
        return
    sizes = ", ".join(f"{len(pictures)} {name}" for name, pictures in source.lists.items())
    yield Finding("good", f"{folder}: {layout} layout, {len(source.class_names)} classes, {sizes}")
    yield Finding("good", resident_words(source, config, device) or memory_words(source))


def examine(runs: Path, data: str | None) -> Iterator[Finding]:
    """All findings, in order; a check that breaks is a finding itself."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        *(check_python, check_packages, check_device, check_threads, check_memory, check_browser),
        lambda: check_runs(runs),
    ]
    if data is not None:
        checks.append(lambda: check_data(data))
    for check in checks:
        yield from check()


def main(argv: Sequence[str]) -> int:
    """The command: 0 all is well, 1 something is missing or broken, 2 the command itself was mistyped."""
    options = read_options(argv, own=("runs", "data"), flags=("help",))
    if "help" in options.own:
        print(f"usage: {USAGE}\nExit status: 0 all is well, 1 a problem was found, 2 the command was mistyped.")
        return 0
    if options.words:
        raise UserError(f"{options.words[0]!r} is not an option; usage: {USAGE}")
    refuse_settings(options, USAGE)
    runs = Path(options.own.get("runs") or os.environ.get("SCL_RUNS") or "runs")
    levels = []
    for finding in examine(runs, options.own.get("data")):
        print(SIGNS[finding.level] + finding.text, flush=True)
        levels.append(finding.level)
    problems = levels.count("bad")
    print(f"{problems} problem{'s' if problems != 1 else ''}" if problems else "everything that is needed is there")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
