"""The batches of a training run, one per step, made in this process or by workers, from any first step on."""

import atexit
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from scl_core.data.augment import AugmentConfig, labeled_sample, unlabeled_sample
from scl_core.data.batch import Batch, Views
from scl_core.data.class_uniform import ClassUniform, open_class_uniform
from scl_core.data.pictures import DataSource, PictureList
from scl_core.data.sampling import pair_indices, rank_positions, sample_number, shuffled
from scl_core.errors import Fault, UserError
from scl_core.seeding import generator_for

if TYPE_CHECKING:
    from scl_core.distributed import World


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
) -> "TrainingLoader":
    """Return this rank's batches of steps `first_step`, `first_step` + 1, ... `train.steps` (steps count from 1).

    Rank r of W makes positions [r B / W, (r + 1) B / W) of an effective batch of B. A batch depends on the seed, the
    step and those positions alone, so a resumed run gets what an uninterrupted one would. With the `partner` "self" the
    second of a pair of unlabeled pictures is the first one, under draws of its own.
    Reads train.batch_labeled, .batch_unlabeled, .unlabeled_from, .steps, .workers. Raises UserError when a batch
    cannot be shared by the processes, a list is missing, or there are too few unlabeled pictures; iterating raises it
    with the file's name, and Fault when a worker process dies.
    """
    labeled = source.pictures("labeled")
    steps = TrainingSteps(
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
    return TrainingLoader(steps, train.workers, pin_memory=world.device.type == "cuda")


def crop_size(augment: AugmentConfig, data_config, labeled: PictureList) -> tuple[int, int]:
    """Return (height, width) of the training crop: as set, else the input size, else the first labeled picture's."""
    own = (data_config.height, data_config.width)
    if None in own and None in (augment.crop_height, augment.crop_width):
        own = labeled.input(0).shape[:2]
    return augment.crop_height or own[0], augment.crop_width or own[1]


@dataclass(frozen=True)
class TrainingSteps(Dataset):
    """Item k is this rank's batch of step `first_step` + k, or the user's mistake that was met while making it."""

    labeled: PictureList
    unlabeled: PictureList | None
    augment: AugmentConfig
    crop: tuple[int, int]
    seed: int
    num_strong: int
    batch_labeled: int
    batch_unlabeled: int
    label_positions: range
    positions: range
    first_step: int
    last_step: int
    coarse: PictureList | None = None
    uniform: ClassUniform | None = None
    with_itself: bool = False

    def __len__(self) -> int:
        return max(0, self.last_step - self.first_step + 1)

    def __getitem__(self, k: int) -> "Batch | Refusal":
        try:
            return self.batch(self.first_step + k)
        except UserError as error:
            return Refusal(str(error))

    def batch(self, step: int) -> Batch:
        """Make the batch of `step`; raises UserError naming the file that cannot be used."""
        images, labels, names = zip(*(self._labeled(step, position) for position in self.label_positions), strict=True)
        first, second = self._pairs(step) if self.positions else (None, None)
        return Batch(
            torch.stack(images),
            torch.stack(labels),
            names,
            first,
            second,
            tuple(self.positions),
            tuple(self.label_positions),
        )

    def _labeled(self, step: int, position: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        pictures, index, focus = self._choice(step, position)
        generator = generator_for(self.seed, step, position, "labeled")
        with _naming(pictures, index, step):
            image, label = pictures.input(index), pictures.label(index)
            return *labeled_sample(image, label, self.augment, self.crop, generator, focus), pictures.names[index]

    def _choice(self, step: int, position: int) -> tuple[PictureList, int, tuple[int, int] | None]:
        """The labeled (or coarse) picture of a position, and the pixel its crop is to contain.

        Samples that go to no class show each labeled picture once per epoch, as if there were no others.
        """
        number = sample_number(step, position, self.batch_labeled)
        if self.uniform is not None and self.uniform.aims(number):
            aim = self.uniform.aim(self.seed, step, number)
            return self.coarse if aim.from_coarse else self.labeled, aim.index, (aim.row, aim.column)
        number -= self.uniform.before(number) if self.uniform is not None else 0
        return self.labeled, shuffled(self.seed, number, len(self.labeled), "labeled"), None

    def _pairs(self, step: int) -> tuple[Views, Views]:
        size, batch = len(self.unlabeled), self.batch_unlabeled
        pairs = [pair_indices(self.seed, step, position, batch, size) for position in self.positions]
        first, second = zip(*pairs, strict=True)
        second = first if self.with_itself else second
        return self._views(step, first, "unlabeled_a"), self._views(step, second, "unlabeled_b")

    def _views(self, step: int, indices: tuple[int, ...], stream: str) -> Views:
        samples = [self._unlabeled(step, *place, stream) for place in zip(self.positions, indices, strict=True)]
        weak, strong, valid = zip(*samples, strict=True)
        views = tuple(torch.stack(view) for view in zip(*strong, strict=True))
        names = tuple(self.unlabeled.names[index] for index in indices)
        return Views(torch.stack(weak), views, torch.stack(valid), names)

    def _unlabeled(self, step: int, position: int, index: int, stream: str):
        generator = generator_for(self.seed, step, position, stream)
        with _naming(self.unlabeled, index, step):
            return unlabeled_sample(self.unlabeled.input(index), self.augment, self.crop, generator, self.num_strong)


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


@dataclass(frozen=True)
class Refusal:
    """A user's mistake met in a worker: sent as data, because a worker's exception arrives with its traceback."""

    message: str


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


@contextmanager
def _naming(pictures: PictureList, index: int, step: int):
    """Add step and file to an unforeseen error while a picture is prepared; a UserError names its file already."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f"step {step}, picture {pictures.place(index)}: {type(error).__name__}: {error}") from error


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
