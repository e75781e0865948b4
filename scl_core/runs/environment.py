"""What a run ran on, found without importing any of it."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "numpy", "pillow", "safetensors", "scikit-image", "psutil", "jsonargparse", "pyyaml")


def describe_environment(threads: int | None = None, world_size: int = 1, **more: Any) -> dict[str, Any]:
    """Versions, machine, threads and world size: with the seed, what a bitwise repetition needs. `more` is added."""
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "threads": threads,
        "world_size": world_size,
        "git_commit": git_commit(),
        **more,
    }


def version(package: str) -> str | None:
    """The installed version of a package, None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The project's commit, with `-dirty` where files differ from it; None outside a repository."""
    if not (PROJECT / ".git").exists():
        return None
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
