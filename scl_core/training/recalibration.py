"""Batch norm's running statistics of the teacher, estimated anew on training pictures for evaluations and checkpoints.

A teacher's averaged weights make other activations than its student's weights do, so neither averaged nor copied
statistics quite fit them. Only training pictures are read: the labeled and unlabeled lists, cut to the training crop,
at their own scale and colors. In training itself the teacher has its student's statistics, so what is evaluated or
saved, and how often, changes no step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scl_core.batch_norm import taking_statistics
from scl_core.data.augment import unlabeled_sample
from scl_core.data.loaders import crop_size
from scl_core.data.pictures import DataSource
from scl_core.data.sampling import rank_positions
from scl_core.seeding import generator_for, permutation
from scl_core.sharding import whole

if TYPE_CHECKING:
    from scl_core.training.session import Session

BATCHES = 16
STREAM = "recalibration"


@contextmanager
def recalibrated(session: "Session") -> Iterator[None]:
    """The method's teacher with statistics of its own while inside, where its settings ask for that."""
    method = session.method
    if not method.recalibrates:
        yield
        return
    with whole(method):
        recalibrate(method.teacher.model, calibration_batches(session))
    try:
        yield
    finally:
        method.teacher.take_buffers(method.student)


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterator[Tensor]) -> None:
    """Set each batch norm's running statistics to their means over `batches` [B, 3, H, W]; the network is in eval mode.

    With several processes each gives its share of every batch, and the statistics are those of all together.
    """
    with taking_statistics(network) as norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean
        try:
            for batch in batches:
                network(batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def calibration_batches(session: "Session") -> Iterator[Tensor]:
    """This rank's share of the same few batches at every call: a random choice of the training pictures."""
    config, world = session.config, session.world
    pool = training_pictures(session.source)
    order = permutation(config.seed, 0, len(pool), STREAM)
    train = config.train
    sizes = {"train.batch_labeled": train.batch_labeled, "train.batch_unlabeled": train.batch_unlabeled}
    total = sum(sizes.values())
    crop = crop_size(config.augment, config.data, session.source.pictures("labeled"))
    plain = replace(config.augment, scale_min=1.0, scale_max=1.0, teacher_photometric="clean")
    for number in range(min(BATCHES, ceil(len(pool) / total))):
        views, first = [], number * total
        for name, size in sizes.items():
            for position in rank_positions(size, world, name):
                pictures, index = pool[order[(first + position) % len(pool)]]
                generator = generator_for(config.seed, 0, first + position, STREAM)
                views.append(unlabeled_sample(pictures.input(index), plain, crop, generator, num_strong=0)[0])
            first += size
        yield torch.stack(views).to(world.device)
        session.beat()


def training_pictures(source: DataSource) -> list[tuple]:
    """Every picture that may be trained on, as (list, index)."""
    lists = [source.lists[name] for name in ("labeled", "unlabeled") if name in source.lists]
    return [(pictures, index) for pictures in lists for index in range(len(pictures))]
