"""How long a training step takes on this CPU, before the first one: small steps are timed, and extrapolated."""

import os
import statistics
import time

import torch

from scl_core.config import RunConfig
from scl_core.data.loaders import crop_size
from scl_core.data.sources import DataSource
from scl_core.distributed import choose_device
from scl_core.methods import Method, StepDraws
from scl_core.models.passes import Passes, computing
from scl_core.training.optimizer import build_optimizer
from scl_core.training.small_steps import blank_batch, from_small_steps, part_of_batch, prepared, steps_on_labels

ENOUGH_SECONDS = 1.0  # of steps of one size; the first is taken in any case
MOST_STEPS = 5
SIDES = 96, 192  # of the crops that are timed, far enough apart that chance is not multiplied


def step_seconds(method: Method, config: RunConfig, source: DataSource, processes: int) -> float | None:
    """Seconds of one process's part of a step on this CPU, their mean over the training; None on an accelerator.

    Steps of the warm start on labels alone and late ones, in which every term counts, are timed apart.
    Steps of noise are taken with the threads that the training would have, so loading, the exchange between processes
    and what else the machine will do come on top. They train `method`: give one that nobody needs.
    """
    if choose_device(config.device, processes).type != "cpu":
        return None
    pictures = part_of_batch(config.train, processes, method.num_strong > 0)
    crop = crop_size(config.augment, config.data, source.pictures("labeled"))
    early = steps_on_labels(method) / method.steps if method.num_strong else 0.0
    shares, before = {method.steps: 1 - early} | ({1: early} if early else {}), torch.get_num_threads()
    torch.set_num_threads(threads_of(config.train, processes))
    try:
        timers = {step: StepTimer(method, config, len(source.class_names), step) for step in shares}
        return sum(
            share * from_small_steps(timers[step].seconds, pictures, crop, config.train.accumulate, SIDES)
            for step, share in shares.items()
        )
    finally:
        torch.set_num_threads(before)


class StepTimer:
    """Takes one step of a method's schedule again and again, and tells how long it lasts."""

    def __init__(self, method: Method, config: RunConfig, num_classes: int, step: int):
        self.method, self.number, self.num_classes = prepared(method), step, num_classes
        self.optimizer = build_optimizer(method, config.train)
        self.passes = Passes(torch.bfloat16 if config.train.precision == "bf16" else None, config.train.accumulate)

    def seconds(self, pictures: tuple[int, int], crop: tuple[int, int]) -> float:
        """The median of a few steps on (labeled, unlabeled) pictures; the first, which warms up, counts if alone."""
        batch = blank_batch(*pictures, crop, self.num_classes, self.method.num_strong)
        taken: list[float] = []
        while not taken or (sum(taken) < ENOUGH_SECONDS and len(taken) < MOST_STEPS):
            begun = time.perf_counter()
            self.step(batch)
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken[1:] or taken)

    def step(self, batch) -> None:
        """What a training does between two batches."""
        self.optimizer.zero_grad(set_to_none=True)
        with computing(self.passes):
            terms = self.method(batch, StepDraws(0, self.number))
        weights = self.method.weights(self.number)
        sum(weights[name] * term for name, term in terms.items() if name in weights).backward()
        self.optimizer.step()
        self.method.after_step(self.number)


def threads_of(train, processes: int) -> int:
    """CPU threads of each process of a training: as set, else the usable cores shared by the processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return train.threads or max(1, cores // processes)
