"""What a rank's batch of a step is made of: which pictures, under which draws, by the seed, the step and the place."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from scl_core.data.augment import AugmentConfig, labeled_sample, unlabeled_sample
from scl_core.data.batch import Batch, Views
from scl_core.data.class_uniform import ClassUniform
from scl_core.data.pictures import PictureList
from scl_core.data.sampling import pair_indices, sample_number, shuffled
from scl_core.errors import UserError
from scl_core.seeding import generator_for


@dataclass(frozen=True)
class Refusal:
    """A user's mistake met in a worker: sent as data, because a worker's exception arrives with its traceback."""

    message: str


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
        with naming(pictures, index, step):
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
        with naming(self.unlabeled, index, step):
            return unlabeled_sample(self.unlabeled.input(index), self.augment, self.crop, generator, self.num_strong)


@contextmanager
def naming(pictures: PictureList, index: int, step: int):
    """Add step and file to an unforeseen error while a picture is prepared; a UserError names its file already."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f"step {step}, picture {pictures.place(index)}: {type(error).__name__}: {error}") from error
