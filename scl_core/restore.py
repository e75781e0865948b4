"""A run's networks back from disk: for evaluation, prediction and the app."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scl_core.checkpoint import Checkpoint, find_checkpoint, read_checkpoint
from scl_core.config import RunConfig, flatten, load_config
from scl_core.data.sources import DataSource, open_data
from scl_core.errors import UserError
from scl_core.methods import METHODS, Method
from scl_core.models import build_from_config
from scl_core.runs import RunFolder


@dataclass
class Restored:
    """A method as a checkpoint stored it, in eval mode, with what is needed to read its predictions."""

    config: RunConfig
    method: Method
    step: int
    class_names: tuple[str, ...]
    palette: np.ndarray
    list_hash: str

    def network(self, name: str | None = None) -> nn.Module:
        """The network of this name, or the one that counts. Raises `UserError` with the names there are."""
        networks = self.method.evaluated
        if name is not None and name not in networks:
            raise UserError(f"this run has no network {name!r}: choose one of {', '.join(networks)}")
        return networks[name or next(iter(networks))]

    def open_data(self) -> DataSource:
        """The run's data set, opened again."""
        return open_data(self.config.data)

    def require_classes_of(self, source: DataSource) -> None:
        """Raise `UserError` where the data have other classes than those that the networks were trained on."""
        now = tuple(source.class_names)
        if now != self.class_names:
            raise UserError(
                f"the data have {len(now)} classes ({', '.join(now[:3])} …), the networks of step {self.step} know "
                f"{len(self.class_names)} ({', '.join(self.class_names[:3])} …): put back the classes of the training"
            )


def run_config(run_dir: str | Path, overrides: dict[str, Any] | None = None) -> RunConfig:
    """The settings that a run was started with, with dotted `overrides` on top."""
    return load_config((), flatten(RunFolder.open(run_dir).config()) | (overrides or {}))


def build_method(config: RunConfig, num_classes: int) -> Method:
    """The method of these settings with fresh networks, or with those that `model.weights` names."""
    method_class = METHODS[config.method.name]
    smallest = max(1, method_class.smallest_forward(config.method, config.train) // config.train.accumulate)
    student = build_from_config(
        config.model, num_classes, smallest, lambda segmenter: method_class.own_network(segmenter, config.method)
    )
    return method_class(student, config.method, config.train.steps)


def refuse_other_method(stored: Checkpoint, method_name: str) -> None:
    """Raises `UserError` naming both when a checkpoint is not of the run's method."""
    found = stored.state.get("method", method_name)
    if found != method_name:
        raise UserError(
            f"the checkpoint of step {stored.step} is of method {found}, and the run is of method {method_name}: "
            f"give a checkpoint of a {method_name} run"
        )


def fill(method: Method, stored: Checkpoint) -> None:
    """Put a checkpoint's tensors into the networks of `method`. Raises `UserError` where they do not fit."""
    try:
        method.load_tensors(stored.tensors, stored.step)
    except (RuntimeError, KeyError) as error:
        lines = str(error).splitlines()
        told = f"it holds no {error}" if isinstance(error, KeyError) else lines[min(1, len(lines) - 1)].strip(" \t.")
        raise UserError(
            f"the checkpoint of step {stored.step} does not fit the networks that config.yaml describes "
            f"({told[:200]}): put back the settings it was trained with, or choose another run"
        ) from error


def restore(
    run_dir: str | Path,
    checkpoint: str | int = "last",
    device: str | torch.device = "cpu",
    overrides: dict[str, Any] | None = None,
) -> Restored:
    """Load the networks of a run. `checkpoint` is "last", "best", a step or a checkpoint's path.

    Raises `UserError` when there is no checkpoint, when none of them is whole, or for one of another run.
    """
    config = run_config(run_dir, overrides)
    folder = find_checkpoint(run_dir, checkpoint)
    stored = read_checkpoint(folder, names=("student", "teacher"))
    refuse_other_method(stored, config.method.name)
    if Path(run_dir).resolve() not in folder.resolve().parents:
        raise UserError(f"{folder} is a checkpoint of another run than {run_dir}: give that run's own folder")
    classes = tuple(stored.state["class_names"])
    fresh = replace(config, model=replace(config.model, weights=None))
    method = build_method(fresh, len(classes))
    fill(method, stored)
    palette = np.asarray(stored.state["palette"], dtype=np.uint8)
    return Restored(config, method.to(device).eval(), stored.step, classes, palette, stored.state["list_hash"])
