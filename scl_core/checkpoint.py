"""Checkpoints that are whole or absent: one function writes them, one reads them, and nothing damaged is ever used."""

import contextlib
import os
import shutil
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scl_core.storage.checkpoint_folders import (
    STEP_FOLDER,
    folder_name,
    prune,
    replaced_path,
    step_folders,
    sweep,
    temporary_path,
)
from scl_core.storage.files import (
    FULL_DISK,
    DamagedFile,
    parse_json,
    read_bytes,
    read_json_or_none,
    refuse_special,
    sync_folder,
    to_json,
    write_json_atomic,
    write_new,
)
from scl_core.storage.manifest import MANIFEST, digest, make_manifest, read_manifest, read_verified, verify
from scl_core.storage.weights import CheckpointError, read_weights, tensors_from_bytes, tensors_to_bytes

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "find_checkpoint",
    "read_checkpoint",
    "read_weights",
    "save_checkpoint",
    "sweep",
    "update_best",
]

STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` optimizer steps: tensors by file and name, other state, and the manifest as written."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    manifest: dict[str, Any]


def save_checkpoint(
    run_dir: str | Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    state: dict[str, Any],
    info: dict[str, Any],
    keep_last: int = 2,
) -> Path:
    """Commit the state after `step`; returns its folder. Whenever this is cut short, the former checkpoint stands.

    `tensors` is one dict of tensors per file ("student", "teacher", "optimizer"), `state` plain values that resuming
    needs, `info` what the manifest should tell (torch, threads, world_size). All files are flushed under a temporary
    name, the folder is renamed and flushed, then `last.json` moves; older checkpoints but the newest `keep_last` and
    the best are removed after the new one has been read back and verified.
    Raises `CheckpointError` when the disk is full (with the bytes needed and free), when a tensor is not finite, and
    where something that is not a checkpoint has its place.
    """
    root = Path(run_dir) / "checkpoints"
    target = root / folder_name(step)
    contents = {f"{name}.safetensors": tensors_to_bytes(part, name) for name, part in tensors.items()}
    contents[STATE] = (to_json(state, indent=1) + "\n").encode()
    temporary = temporary_path(root, step)
    try:
        refuse_targets(root, target)
        commit(temporary, target, contents, step, about_run(run_dir) | info)
        write_json_atomic(root / "last.json", {"step": step})
        verify(target)
        prune(root, step, keep_last)
    except (OSError, DamagedFile) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(explain(error, root, step, sum(map(len, contents.values())))) from error
    return target


def about_run(run_dir: str | Path) -> dict[str, Any]:
    """What a bitwise repetition needs, with the first 12 digits of the SHA-256 of `config.yaml` where there is one."""
    about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "world_size": 1, "config_hash": None}
    with contextlib.suppress(OSError, DamagedFile):
        about["config_hash"] = digest(read_bytes(Path(run_dir) / "config.yaml"))[:12]
    return about


def refuse_targets(root: Path, target: Path) -> None:
    """Refuse links, devices and other things in the places that will be written; make `checkpoints/` at first."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(root)
    for folder in (root, target):
        if os.path.lexists(folder) and not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise DamagedFile(f"{folder} is not a folder and is not replaced")
    for name in ("last.json", "best.json"):
        refuse_special(root / name)


def commit(temporary: Path, target: Path, contents: dict[str, bytes], step: int, info: dict[str, Any]) -> None:
    """Write all files under the temporary name, each flushed, then give the folder its name."""
    shutil.rmtree(temporary, ignore_errors=True)
    os.mkdir(temporary)
    for name, content in contents.items():
        write_new(temporary / name, content)
    files = {name: {"sha256": digest(content), "bytes": len(content)} for name, content in contents.items()}
    write_new(temporary / MANIFEST, make_manifest(step, files, info))
    sync_folder(temporary)
    give_name(temporary, target)


def give_name(temporary: Path, target: Path) -> None:
    """Rename the finished folder; a former checkpoint of the step keeps another name until the new one has its own."""
    replaced = replaced_path(target)
    if target.exists():
        os.rename(target, replaced)
    os.rename(temporary, target)
    sync_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def explain(error: Exception, root: Path, step: int, needed: int) -> str:
    """Why a checkpoint could not be written, for the user."""
    if not root.parent.is_dir():
        return f"checkpoint {step}: the run folder {root.parent} is gone; nothing was written"
    if isinstance(error, OSError) and root.is_dir():
        usage = os.statvfs(root)
        free = usage.f_bavail * usage.f_frsize
        if error.errno in FULL_DISK or free < needed:
            return (
                f"disk full: checkpoint {step} needs {needed} bytes, {free} bytes are free in {root}; "
                "the former checkpoint is unharmed: make room, then resume"
            )
    return f"checkpoint {step} cannot be written: {error}"


def update_best(run_dir: str | Path, step: int, mean_iou: float, network: str) -> bool:
    """Record that checkpoint `step` has the highest mIoU on the validation list so far; of equal ones the later counts.

    Returns whether it is so. Raises `CheckpointError` when there is no checkpoint of that step.
    """
    root = Path(run_dir) / "checkpoints"
    if step not in step_folders(root):
        raise CheckpointError(f"{run_dir} has no checkpoint of step {step} that could be the best")
    best = read_json_or_none(root / "best.json") or {}
    if isinstance(best.get("mean_iou"), (int, float)) and not (mean_iou, step) >= (best["mean_iou"], best["step"]):
        return False
    write_json_atomic(root / "best.json", {"step": step, "mean_iou": mean_iou, "network": network})
    return True


def find_checkpoint(run_dir: str | Path, which: str | int | Path = "last") -> Path:
    """The folder of a checkpoint that is whole: "last", "best", a step, or the path of a folder or a file in it.

    When the last one is damaged the newest whole one is taken, with a `RuntimeWarning` that says why.
    Raises `CheckpointError` when there is none, or when one that was asked for by name is damaged.
    """
    root = Path(run_dir) / "checkpoints"
    if which == "last":
        return newest_whole(root)
    if which == "best":
        step = (read_json_or_none(root / "best.json") or {}).get("step")
        if type(step) is not int:
            raise CheckpointError(f"{run_dir} has no best checkpoint yet: it has not been evaluated and saved")
        return whole(root / folder_name(step), root)
    if isinstance(which, int) or (isinstance(which, str) and which.isdecimal()):
        return whole(root / folder_name(int(which)), root)
    path = Path(which)
    return whole(path if path.is_dir() or not path.exists() else path.parent, root)


def whole(folder: Path, root: Path) -> Path:
    """`folder`, verified. Raises `CheckpointError` that names those that are there."""
    problem = problem_of(folder)
    if problem is None:
        return folder
    there = ", ".join(map(str, sorted(step_folders(root)))) or "none"
    raise CheckpointError(f"{problem}; checkpoints of this run: {there}")


def newest_whole(root: Path) -> Path:
    """What `last.json` names; when that is damaged, the newest that is whole."""
    step = (read_json_or_none(root / "last.json") or {}).get("step")
    found = step_folders(root)
    order = sorted(found, key=lambda number: (number == step, number), reverse=True)
    problems = [] if step in found or not found else [f"last.json names {step}, which is not there"]
    for number in order:
        problem = problem_of(found[number])
        if problem is None:
            if problems:
                warnings.warn(f"{'; '.join(problems)}: using checkpoint {number}", RuntimeWarning, stacklevel=3)
            return found[number]
        problems.append(problem)
    raise CheckpointError(
        f"{root.parent} has no checkpoint that can be used: {'; '.join(problems) or 'none was saved'}"
    )


def problem_of(folder: Path) -> str | None:
    """Why a checkpoint cannot be used, None when it is whole."""
    if os.path.islink(folder) or not folder.is_dir():
        return f"there is no checkpoint {folder}"
    try:
        manifest = verify(folder)
    except (OSError, DamagedFile) as error:
        return f"checkpoint {folder.name} is damaged ({error})"
    if STEP_FOLDER.fullmatch(folder.name) and int(folder.name) != manifest["step"]:
        return f"checkpoint {folder.name} says that it is that of step {manifest['step']}"
    return None


def read_checkpoint(
    folder: str | Path, names: Iterable[str] | None = None, device: str | torch.device = "cpu"
) -> Checkpoint:
    """Read a checkpoint; every byte is verified before it is used. `names` chooses among its files of tensors.

    Raises `CheckpointError` for anything that is missing, changed, or not a finite plain tensor.
    """
    folder = Path(folder)
    wanted = None if names is None else set(names)
    try:
        manifest = read_manifest(folder)
        state = parse_json(read_verified(folder, STATE, manifest))
        tensors = {}
        for file in manifest["files"]:
            name = file.removesuffix(".safetensors")
            if name != file and (wanted is None or name in wanted):
                tensors[name] = tensors_from_bytes(read_verified(folder, file, manifest), str(folder / file))
    except (OSError, KeyError, DamagedFile) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be used: {error}") from error
    if device != "cpu":
        tensors = {name: {key: value.to(device) for key, value in part.items()} for name, part in tensors.items()}
    return Checkpoint(manifest["step"], tensors, state, manifest)
