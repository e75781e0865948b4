"""The batches of a training run, one per step, made in this process or by workers, from any first step on."""

import atexit
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, get_worker_info

from scl_core.data.augment import AugmentConfig
from scl_core.data.batch import Batch
from scl_core.data.class_uniform import open_class_uniform
from scl_core.data.memory import is_resident, training_pixels
from scl_core.data.pictures import DataSource, PictureList
from scl_core.data.resident import ResidentLoader, ResidentSteps
from scl_core.data.sampling import rank_positions
from scl_core.data.steps import Refusal, TrainingSteps, crop_size
from scl_core.errors import Fault, UserError

if TYPE_CHECKING:
    from scl_core.distributed import World

__all__ = ["TrainingLoader", "crop_size", "prepare_worker", "training_loader"]


def training_loader(
    source: DataSource,
    data_config,
    augment: AugmentConfig,
    train,
    seed: int,
    world: "World",
    first_step: int,
    needs_unlabeled: bool,
    num_strong: int,
    partner: str = "other",
) -> "TrainingLoader | ResidentLoader":
    """Return this rank's batches of steps `first_step`, `first_step` + 1, ... `train.steps` (steps count from 1).

    Rank r of W makes positions [r B / W, (r + 1) B / W) of an effective batch of B. A batch depends on the seed, the
    step and those positions alone, so a resumed run gets what an uninterrupted one would. With the `partner` "self" the
    second of a pair of unlabeled pictures is the first one, under draws of its own. Where `data.resident` holds, the
    batches are made on the device, and no workers are started.
    Reads train.batch_labeled, .batch_unlabeled, .unlabeled_from, .steps, .workers. Raises UserError when a batch
    cannot be shared by the processes, a list is missing, or there are too few unlabeled pictures; iterating raises it
    with the file's name, and Fault when a worker process dies.
    """
    labeled = source.pictures("labeled")
    resident = is_resident(source, data_config, world.device)
    steps = (ResidentSteps if resident else TrainingSteps)(
        labeled=labeled,
        unlabeled=_pool(source, train.unlabeled_from) if needs_unlabeled else None,
        augment=augment,
        crop=crop_size(augment, data_config, labeled),
        seed=seed,
        num_strong=num_strong,
        with_itself=partner == "self",
        batch_labeled=train.batch_labeled,
        batch_unlabeled=train.batch_unlabeled,
        label_positions=rank_positions(train.batch_labeled, world, "train.batch_labeled"),
        positions=rank_positions(train.batch_unlabeled if needs_unlabeled else 0, world, "train.batch_unlabeled"),
        first_step=first_step,
        last_step=train.steps,
        coarse=source.lists.get("coarse"),
        uniform=open_class_uniform(source, labeled, augment, data_config, train.steps),
    )
    pin_memory = world.device.type == "cuda"
    if resident:
        return ResidentLoader(steps, TrainingLoader(steps, 0, pin_memory), training_pixels(source), world.device)
    return TrainingLoader(steps, train.workers, pin_memory)


class TrainingLoader:
    """Iterates over the batches of `steps` in order; each iteration starts again at the first.

    Batches for an accelerator are page-locked and, where no workers make them, made ahead in a thread: there the CPU
    is idle while the network works. On a CPU a thread would take the network's cores.
    """

    def __init__(self, steps: TrainingSteps, workers: int, pin_memory: bool):
        self._in_a_thread = pin_memory and not workers
        self._loader = DataLoader(
            steps,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            pin_memory=pin_memory,
            worker_init_fn=prepare_worker,
            generator=torch.Generator(),  # its own, so that loading draws nothing from torch's global generator
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        with _running(self._loader) as items:
            for item in self._ahead(items) if self._in_a_thread else iter(partial(_next, items), None):
                if isinstance(item, Refusal):
                    raise UserError(item.message)
                yield item

    @staticmethod
    def _ahead(items: Iterator) -> Iterator["Batch | Refusal"]:
        """Make the next batch in a thread while the network works on this one."""
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(_next, items)
            while (item := coming.result()) is not None:
                coming = thread.submit(_next, items)
                yield item


@contextmanager
def _running(loader: DataLoader):
    """Yield the loader's iterator and stop its workers afterwards, also when the process ends while it is in use.

    The workers ignore SIGTERM, so Python, which at its end sends that to children and waits, would wait for ever.
    """
    items = iter(loader)
    stop = getattr(items, "_shutdown_workers", lambda: None)  # there only with workers
    atexit.register(stop)
    try:
        yield items
    finally:
        stop()
        atexit.unregister(stop)


def _next(items: Iterator) -> Batch | Refusal | None:
    """The next item, None at the end; a worker that died, perhaps in the middle of sending, is a Fault."""
    try:
        return next(items, None)
    except (EOFError, ConnectionError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
            raise
        raise Fault(
            f"a loader worker was lost, often killed for want of memory ({type(error).__name__}: {error}); "
            "resume the run, with fewer train.workers or a smaller data.cache_mb"
        ) from error


def prepare_worker(worker: int) -> None:
    """Set up a loader worker: stop signals are the trainer's to handle; one thread; a share of the cache."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    info = get_worker_info()
    cache = info.dataset.labeled.cache
    cache.limit_bytes = cache.used_bytes + (cache.limit_bytes - cache.used_bytes) // info.num_workers


def _pool(source: DataSource, name: str) -> PictureList:
    """The list that unlabeled pictures are drawn from; its masks, if it has any, are not read."""
    unlabeled = source.lists.get(name)
    if unlabeled is None or len(unlabeled) < 2:
        count = 0 if unlabeled is None else len(unlabeled)
        raise UserError(
            f"{source.name} data has {count} unlabeled pictures, but this method needs at least 2 unlabeled pictures "
            "to mix; add pictures, or choose --method.name supervised"
        )
    return unlabeled


def _as_it_is(item):
    return item
