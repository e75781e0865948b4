"""Checkpoints that tell by their tensors of which step they are."""

import warnings
from pathlib import Path

import torch

from scl_core import checkpoint
from scl_core.checkpoint import find_checkpoint, read_checkpoint, save_checkpoint
from scl_core.storage import checkpoint_folders

INFO = {"torch": torch.__version__, "threads": 1, "world_size": 2}


def tensors_of(step: int, size: int = 5) -> dict:
    generator = torch.Generator().manual_seed(step)
    student = {"weight": torch.randn(size, 3, generator=generator), "count": torch.tensor(step)}
    teacher = {"weight": torch.randn(size, 3, generator=generator), "mask": torch.tensor([True, False])}
    return {"student": student, "teacher": teacher, "optimizer": {"0.momentum": torch.full((size,), float(step))}}


def save(run_dir: Path, *steps: int, keep_last: int = 10) -> None:
    for step in steps:
        save_checkpoint(run_dir, step, tensors_of(step), {"step": step, "classes": ["Road"]}, INFO, keep_last)


def folder(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoints" / f"{step:08d}"


def steps_of(run_dir: Path) -> list[int]:
    return sorted(checkpoint_folders.step_folders(run_dir / "checkpoints"))


def assert_holds(run_dir: Path, step: int) -> None:
    """The last checkpoint is that of `step`, to the bit."""
    stored = read_checkpoint(find_checkpoint(run_dir, "last"))
    assert stored.step == step and stored.state == {"step": step, "classes": ["Road"]}
    for name, part in tensors_of(step).items():
        assert part.keys() == stored.tensors[name].keys()
        assert all(torch.equal(tensor, stored.tensors[name][key]) for key, tensor in part.items())


def load_quietly(run_dir: Path) -> checkpoint.Checkpoint:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return read_checkpoint(find_checkpoint(run_dir, "last"))
