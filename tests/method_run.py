"""A real run of a few steps for the tests of the Method pages, and the probe that the library computes for it."""

from dataclasses import replace
from pathlib import Path

import torch

from scl_core.command_line import run_command
from scl_core.data.loaders import training_loader
from scl_core.distributed import World
from scl_core.probe import STREAMS, Probe, make_probe
from scl_core.restore import restore
from scl_core.seeding import generator_for
from scl_core.train import main as train

NAME = "small-scl"
OPTIONS = {
    "data.height": 48,
    "data.width": 64,
    "data.labeled": 2,
    "data.unlabeled": 6,
    "data.val": 1,
    "data.test": 1,
    "model.width": 0.25,
    "model.decoder_channels": 16,
    "method.num_boxes": 5,
    "method.num_loss_boxes": 4,
    "train.steps": 3,
    "train.batch_labeled": 2,
    "train.batch_unlabeled": 2,
    "train.learning_rate": 0.1,
    "train.threads": 1,  # more wait for each other for minutes where the machine has other work
}


def train_small_run(runs: Path, **changes: object) -> Path:
    """Train a run of three steps on drawn scenes in this process; `changes` has dots as double underscores."""
    options = OPTIONS | {key.replace("__", "."): value for key, value in changes.items()}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    assert run_command(train, ["--run_dir", str(runs / NAME), "--device", "cpu", *arguments]) == 0
    return runs / NAME


def library_probe(run_dir: Path, step: int = 3, pair: int = 1, checkpoint: int | str = 2) -> Probe:
    """That pair (the pages' first view) taken apart by that checkpoint, without any code of the app."""
    restored = restore(run_dir, checkpoint)
    config = restored.config
    world = World(rank=0, size=1, device=torch.device("cpu"))
    train = replace(config.train, workers=0)
    source = restored.open_data()
    batches = training_loader(source, config.data, config.augment, train, config.seed, world, step, True, 1)
    batch = next(iter(batches))
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        views.weak, views.valid = views.weak[pair : pair + 1], views.valid[pair : pair + 1]
        views.strong = tuple(view[pair : pair + 1] for view in views.strong)
    draws = (generator_for(config.seed, step, pair, stream) for stream in STREAMS)
    method = restored.method
    return make_probe(method.student, method.teacher.model, batch.unlabeled_a, batch.unlabeled_b, config.method, *draws)
