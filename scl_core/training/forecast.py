"""What a training step will need, told before the first one: small steps are watched or timed, and extrapolated."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scl_core.config import RunConfig
from scl_core.data.loaders import crop_size
from scl_core.data.sources import DataSource, open_data
from scl_core.methods import Method, StepDraws
from scl_core.methods.structure import open_structured_teacher
from scl_core.models.passes import Passes, computing
from scl_core.restore import build_method
from scl_core.sharding import gathered_bytes
from scl_core.training.small_steps import blank_batch, from_small_steps, part_of_batch, prepared
from scl_core.training.step_time import step_seconds

OPTIMIZER_COPIES = {"sgd": 1, "adamw": 2}


@dataclass(frozen=True)
class Forecast:
    """Bytes that one process will have allocated at the peak of a step; `seconds` that it takes, where asked for."""

    weights: int  # of every network, teachers and statistics included
    optimizer: int
    gradients: int
    activations: int  # everything else, batch and loss included
    seconds: float | None = None

    @property
    def peak(self) -> int:
        """The gradients grow while the activations go, so the larger of the two counts."""
        return self.weights + self.optimizer + max(self.gradients, self.activations)

    def __str__(self) -> str:
        parts = f"weights {size(self.weights)}, optimizer {size(self.optimizer)}, pictures {size(self.activations)}"
        return f"about {size(self.peak)} a process ({parts})"


def forecast(config: RunConfig, source: DataSource | None = None, processes: int = 1, timed: bool = False) -> Forecast:
    """The memory of one process of a training with these settings, without training; a second or two.

    `source` is the opened data set, if it is at hand. The same on every device: kernels' own workspace is not seen.
    With `timed` also the seconds of a step, which takes some more: see `scl_core.training.step_time`.
    """
    source = source or open_data(config.data)
    with torch.random.fork_rng([]):
        method = build_method(replace(config, model=replace(config.model, weights=None)), len(source.class_names))
        found = forecast_method(method, config, source, processes)
        return replace(found, seconds=step_seconds(method, config, source, processes)) if timed else found


def forecast_method(method: Method, config: RunConfig, source: DataSource, processes: int) -> Forecast:
    """The same for a method that is built already; it is copied, and neither changed nor moved."""
    foreign = open_structured_teacher(config.method)  # so that its weights are not taken for a step's
    with torch.random.fork_rng([]):
        tried = prepared(deepcopy(method).cpu())
        pictures = part_of_batch(config.train, processes, method.num_strong > 0)
        crop = crop_size(config.augment, config.data, source.pictures("labeled"))
        activations = activation_bytes(tried, config, pictures, crop, len(source.class_names))
    gradients = nbytes(p for p in tried.parameters() if p.requires_grad)
    weights, split = nbytes([*tried.parameters(), *tried.buffers()]), processes if config.train.shard else 1
    copies = OPTIMIZER_COPIES[config.train.optimizer] if config.train.optimizer != "sgd" or config.train.momentum else 0
    if split > 1:
        weights = weights // split + gathered_bytes(tried)
    if foreign is not None:  # which every process has whole
        weights += nbytes([*foreign.parameters(), *foreign.buffers()])
    return Forecast(weights, copies * gradients // split, gradients // split, activations)


def activation_bytes(
    method: Method, config: RunConfig, pictures: tuple[int, int], crop: tuple[int, int], num_classes: int
) -> int:
    """The peak of a step beside weights, optimizer and gradients."""

    def peak(few: tuple[int, int], small: tuple[int, int]) -> int:
        return watched_step(method, config, few, small, num_classes)

    return round(from_small_steps(peak, pictures, crop, config.train.accumulate))


def watched_step(
    method: Method, config: RunConfig, pictures: tuple[int, int], crop: tuple[int, int], num_classes: int
) -> int:
    """The most bytes that one step on crops of (height, width) holds beside weights, optimizer and gradients."""
    with watching(method) as memory:
        batch = blank_batch(*pictures, crop, num_classes, method.num_strong)
        passes = Passes(torch.bfloat16 if config.train.precision == "bf16" else None, config.train.accumulate)
        with computing(passes):
            terms = method(batch, StepDraws(0, config.train.steps))
        weights = method.weights(config.train.steps)
        sum(weights[name] * term for name, term in terms.items() if name in weights).backward()
    method.zero_grad(set_to_none=True)
    return memory.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of every storage that an operation makes, for as long as it lives."""

    def __init__(self):
        super().__init__()
        self.live = self.gradients = self.peak = 0
        self.known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """What torch asks its modes; True would import the compiler to keep it out, more than a second."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.count(leaf.untyped_storage())
        self.peak = max(self.peak, self.live - self.gradients)
        return out

    def count(self, storage: torch.UntypedStorage) -> None:
        """Add a storage that is new, and take it off again when it is freed."""
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.live += storage.nbytes()
            weakref.finalize(storage, self.forget, key, storage.nbytes())

    def forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


@contextmanager
def watching(method: nn.Module) -> Iterator[LiveBytes]:
    """Count while inside; what exists already (weights) is not counted, nor are finished gradients."""
    memory = LiveBytes()
    memory.known |= {tensor.untyped_storage()._cdata for tensor in (*method.parameters(), *method.buffers())}

    def finished(parameter: Tensor) -> None:
        memory.gradients += parameter.nbytes

    hooks = [p.register_post_accumulate_grad_hook(finished) for p in method.parameters() if p.requires_grad]
    try:
        with memory:
            yield memory
    finally:
        for hook in hooks:
            hook.remove()


def nbytes(tensors) -> int:
    """The bytes of some tensors together."""
    return sum(tensor.nbytes for tensor in tensors)


def size(count: float) -> str:
    """Bytes for people: `1.3 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
