"""The step after a checkpoint once more: the whole effective batch, train mode and draws as training had them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from scl_core.config import RunConfig
from scl_core.data.batch import Batch
from scl_core.data.loaders import training_loader
from scl_core.data.sources import DataSource, open_data
from scl_core.distributed import World
from scl_core.methods import Method, StepDraws
from scl_core.methods.parts import partner_of
from scl_core.restore import build_method, restore, run_config
from scl_core.runs import RunFolder
from scl_core.seeding import generator_for
from scl_core.train import weighted_sum

UNTRAINED = "untrained"
"""In the place of a checkpoint: the networks before the first step."""


@dataclass(frozen=True)
class Replay:
    """The loss terms of one step, unweighted, and their weights; `logged` is the step's row of `metrics.jsonl`.

    `logged` is None for what is not the step that training took after `checkpoint`: another step or seed, other
    settings, or a row that is not there (yet). `mode` is the student's; the pictures' names are of the whole batch.
    """

    step: int
    seed: int
    checkpoint: int
    terms: dict[str, float]
    weights: dict[str, float]
    loss: float
    logged: dict[str, Any] | None
    names: tuple[str, ...]
    mode: str = "train"

    @property
    def largest_difference(self) -> float | None:
        """The largest distance of a recomputed number from the logged one; None without a row."""
        if self.logged is None:
            return None
        ours = self.terms | {"loss": self.loss}
        return max(abs(value - self.logged[name]) for name, value in ours.items() if self.logged.get(name) is not None)


def replay_step(
    run_dir: str | Path,
    checkpoint: str | int = "last",
    step: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    source: DataSource | None = None,
) -> Replay:
    """Recompute the terms of `step` (the one after the checkpoint where None) with the networks of `checkpoint`.

    `checkpoint` is what `restore` takes, or `UNTRAINED`, the networks before step 1. `seed` None is the run's own;
    `settings` replace settings of the method, by name; `source` is the run's data where it is open already. Nothing
    is trained and nothing written. A run of several processes is recomputed in one: its sums differ in the last digits.
    Raises `UserError` for a run or checkpoint that cannot be read.
    """
    config = run_config(run_dir)
    source = source or open_data(config.data)
    method, taken = method_after(run_dir, config, checkpoint, len(source.class_names))
    method.config = replace(method.config, **settings or {})
    step, seed = step or taken + 1, config.seed if seed is None else seed
    batch = batch_of_step(config, source, method.num_strong, step, seed)
    method.read_labeled(source.pictures("labeled"))
    terms = step_terms(method, batch, StepDraws(seed, step))
    weights = method.weights(step)
    genuine = not settings and seed == config.seed and step == taken + 1
    return Replay(
        step=step,
        seed=seed,
        checkpoint=taken,
        terms={name: float(term) for name, term in terms.items()},
        weights=weights,
        loss=float(weighted_sum(terms, weights)),
        logged=logged_row(run_dir, step) if genuine else None,
        names=batch.names + sum((views.names for views in (batch.unlabeled_a, batch.unlabeled_b) if views), ()),
    )


def method_after(run_dir: str | Path, config: RunConfig, checkpoint: str | int, num_classes: int) -> tuple[Method, int]:
    """The run's method with the networks of a checkpoint, and how many steps those had taken; 0 for `UNTRAINED`."""
    if checkpoint != UNTRAINED:
        restored = restore(run_dir, checkpoint)
        restored.method.go_on()
        return restored.method, restored.step
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_method(config, num_classes), 0


def batch_of_step(config: RunConfig, source: DataSource, num_strong: int, step: int, seed: int) -> Batch:
    """The whole effective batch of a step, as one process makes it; `step` may lie beyond the schedule."""
    loader = training_loader(
        source,
        config.data,
        config.augment,
        replace(config.train, workers=0, steps=max(config.train.steps, step)),
        seed,
        World(rank=0, size=1, device=torch.device("cpu")),
        first_step=step,
        needs_unlabeled=num_strong > 0,
        num_strong=num_strong,
        partner=partner_of(config.method),
    )
    return next(iter(loader))


def step_terms(method: Method, batch: Batch, draws: StepDraws) -> dict[str, torch.Tensor]:
    """The terms of one step as the loop takes it, without a gradient; moves the method's batch norm statistics."""
    method.train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(generator_for(draws.seed, draws.step, 0, "network").initial_seed())
        return method(batch, draws)


def logged_row(run_dir: str | Path, step: int) -> dict[str, Any] | None:
    """The step's row of `metrics.jsonl`, or None."""
    return next((row for row in RunFolder(run_dir).metrics() if row["step"] == step), None)
