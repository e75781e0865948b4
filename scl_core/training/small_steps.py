"""Steps small enough to be taken for a forecast: noise of a batch's shape, and the line to the whole batch."""

from collections.abc import Callable
from math import gcd

import torch

from scl_core.data.batch import Batch, Views
from scl_core.methods import Method

SMALL_SIDES = (96, 128)  # of the crops that are tried; on smaller ones the weights' own temporaries count for more
SMALL_STEP = 1 << 17  # pixels of a step that is tried as it is


def from_small_steps(
    of_step: Callable[[tuple[int, int], tuple[int, int]], float],
    pictures: tuple[int, int],
    crop: tuple[int, int],
    accumulate: int,
    sides: tuple[int, int] = SMALL_SIDES,
) -> float:
    """What `of_step` gives for (labeled, unlabeled) pictures and a crop: asked where it is small, else a line to it."""
    pixels = crop[0] * crop[1]
    if pixels * sum(pictures) <= SMALL_STEP:
        return of_step(pictures, crop)
    shrink = shrinking(*pictures, accumulate)
    few = pictures[0] // shrink, pictures[1] // shrink
    found = [of_step(few, (side, side)) for side in sides]
    first, second = (side * side for side in sides)
    slope = max(0.0, (found[1] - found[0]) / (second - first))
    return found[1] + slope * (pixels * shrink - second)


def part_of_batch(train, processes: int, mixes: bool) -> tuple[int, int]:
    """Labeled and unlabeled pictures of one process."""
    return max(1, train.batch_labeled // processes), max(1, train.batch_unlabeled // processes) if mixes else 0


def steps_on_labels(method: Method) -> int:
    """How many steps go by before the first with an unlabeled part; all of them where the method has none."""
    return int((getattr(method.config, "start", 0.0) if method.num_strong else 1.0) * method.steps)


def shrinking(labeled: int, unlabeled: int, accumulate: int) -> int:
    """By what the pictures can be divided so that every micro batch keeps two of each kind, in the same proportion."""
    common = gcd(labeled, unlabeled) if unlabeled else labeled
    smallest = min(labeled, unlabeled) if unlabeled else labeled
    divisors = (d for d in range(common, 0, -1) if common % d == 0)
    fits = (d for d in divisors if smallest // d >= 2 * accumulate and smallest // d % accumulate == 0)
    return next(fits, 1)


def prepared(method: Method) -> Method:
    """As in a late step: with prototypes, where there are any, so that no labeled picture is read for them."""
    for name, buffer in method.named_buffers():
        if name == "prototypes":
            buffer.normal_()
    return method.train()


def blank_batch(labeled: int, unlabeled: int, crop: tuple[int, int], num_classes: int, num_strong: int) -> Batch:
    """Noise of the shape of a batch."""
    labels = torch.randint(num_classes, (labeled, *crop))
    views = [noise_views(unlabeled, crop, num_strong) if unlabeled else None for _ in range(2)]
    images = torch.randn(labeled, 3, *crop)
    return Batch(images, labels, ("",) * labeled, *views, tuple(range(unlabeled)), tuple(range(labeled)))


def noise_views(count: int, crop: tuple[int, int], num_strong: int) -> Views:
    """Noise of the shape of one side of the unlabeled pairs, all of it valid."""
    weak, *strong = (torch.randn(count, 3, *crop) for _ in range(1 + num_strong))
    return Views(weak, tuple(strong), torch.ones(count, *crop, dtype=torch.bool), ("",) * count)
