"""One step of any method of the table, on a small folder data set of three classes, without a run folder."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from scl_core.config import load_config
from scl_core.data.batch import Batch
from scl_core.data.loaders import training_loader
from scl_core.distributed import World
from scl_core.methods import METHODS, Method, StepDraws
from scl_core.methods.parts import partner_of
from scl_core.restore import build_method
from scl_core.train import weighted_sum

CROP = 64
SMALL = {"rc2l": {"num_queries": 12, "decoder_layers": 2, "heads": 2}}
"""Settings that make a method's own network small; a method without one needs no entry."""


@dataclass
class Prepared:
    """A method with fresh networks and its first batch."""

    method: Method
    batch: Batch

    def terms(self, step: int = 1) -> dict[str, torch.Tensor]:
        """The loss terms of a step."""
        return self.method(self.batch, StepDraws(0, step))

    def backward(self, step: int = 1, weights: dict[str, float] | None = None) -> dict[str, torch.Tensor]:
        """The terms of a step, and the gradients of their weighted sum in the method's parameters."""
        terms = self.terms(step)
        weighted_sum(terms, self.method.weights(step) if weights is None else weights).backward()
        return terms


def method_settings(name: str, at_once: bool = True, **changes) -> dict[str, object]:
    """Dotted settings of a small run; `changes` of the method's.

    With `at_once` its unlabeled part counts fully from the first step, else by the method's own schedule.
    """
    known = {field.name for field in fields(METHODS[name].config_class)}
    schedule = {key: 0.0 for key in ("start", "ramp") if key in known and at_once}
    of_method = SMALL.get(name, {}) | schedule | changes
    settings = {"model.width": 0.25, "model.decoder_channels": 8, "train.threads": 1, "device": "cpu"}
    return settings | {"method.name": name} | {f"method.{key}": value for key, value in of_method.items()}


def prepare(
    name: str, root: Path, labeled: int = 2, unlabeled: int = 2, steps: int = 60, dtype=torch.float64, **changes
) -> Prepared:
    """The method and the first batch that the real loader makes of the folder `root`, in `dtype`."""
    config = load_config((), {"data.root": root} | method_settings(name, **changes))
    train = replace(config.train, batch_labeled=labeled, batch_unlabeled=unlabeled, steps=steps)
    config = replace(config, train=train)
    source = config.data.open()
    torch.manual_seed(0)
    method = build_method(config, len(source.class_names)).to(dtype)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    strong = method.num_strong
    loader = training_loader(
        source, config.data, config.augment, train, 0, world, 1, strong > 0, strong, partner_of(config.method)
    )
    batch = next(iter(loader))
    return Prepared(method, batch._each(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor))
