"""Class-uniform sampling: a share of the labeled crops contains a class that comes as often as any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scl_core.data.augment import AugmentConfig
from scl_core.data.centroids import centroids_of
from scl_core.data.classes import class_numbers
from scl_core.data.pictures import DataSource, PictureList
from scl_core.data.sampling import shuffled
from scl_core.errors import UserError


class Aim(NamedTuple):
    """A pixel that a crop is to contain."""

    from_coarse: bool
    index: int
    row: int
    column: int


@dataclass(frozen=True)
class ClassUniform:
    """Every 1/`share`-th labeled sample goes to a class: each class once a round, each of its places once in turn.

    `places` holds int32 [n, 4] (0 labeled or 1 coarse, picture, row, column) for each class that there is; after step
    `coarse_until` only `fine_places`, those of the labeled list, count.
    """

    share: float
    places: Sequence[np.ndarray]
    fine_places: Sequence[np.ndarray]
    coarse_until: float

    def before(self, number: int) -> int:
        """How many of the samples 0 .. number - 1 went to a class."""
        return int(number * self.share + 1e-9)

    def aims(self, number: int) -> bool:
        """Whether sample `number` goes to a class."""
        return self.before(number + 1) > self.before(number)

    def aim(self, seed: int, step: int, number: int) -> Aim:
        """The place that sample `number`, of step `step`, is to contain; depends on the arguments alone."""
        places = self.places if step <= self.coarse_until else self.fine_places
        turn = self.before(number)
        chosen = shuffled(seed, turn, len(places), "class")
        own = places[chosen]
        coarse, index, row, column = own[shuffled(seed, turn // len(places), len(own), f"class {chosen}")].tolist()
        return Aim(bool(coarse), index, row, column)


def open_class_uniform(
    source: DataSource, labeled: PictureList, augment: AugmentConfig, data_config, steps: int
) -> ClassUniform | None:
    """Find the places of all classes as the settings ask for; None where no sample is to go to a class.

    Masks of the list "coarse" give the places of `data.coarse_classes` alone. Raises UserError when no mask shows a
    class, or when coarse masks are asked for and no class-uniform crops.
    """
    if not augment.class_uniform:
        if "coarse" in source.lists:
            raise UserError("data.coarse_classes serves class-uniform crops alone: set augment.class_uniform, as 0.5")
        return None
    fine = tagged(0, centroids_of(labeled, augment.class_uniform_tile))
    rows = fine
    if "coarse" in source.lists:
        boosted = class_numbers("data.coarse_classes", data_config.coarse_classes, source.class_names)
        coarse = tagged(1, centroids_of(source.lists["coarse"], augment.class_uniform_tile))
        rows = np.concatenate([fine, coarse[np.isin(coarse[:, 2], boosted)]])
    if not len(fine):
        raise UserError("augment.class_uniform: no mask of the labeled pictures shows any class; set it to 0")
    until = steps * getattr(data_config, "coarse_until", 1.0)
    return ClassUniform(augment.class_uniform, by_class(rows), by_class(fine), until)


def tagged(tag: int, centroids: np.ndarray) -> np.ndarray:
    """Put the list's number in front of each place: int32 [n, 4] to [n, 5]."""
    return np.column_stack([np.full(len(centroids), tag, dtype=np.int32), centroids])


def by_class(rows: np.ndarray) -> list[np.ndarray]:
    """Split int32 [n, 5] (list, picture, class, row, column) by class, which the parts [m, 4] no longer name."""
    return [rows[rows[:, 2] == number][:, [0, 1, 3, 4]] for number in np.unique(rows[:, 2])]
