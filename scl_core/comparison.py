"""Two evaluations of the same pictures against each other, from their confusion matrices alone: numpy, no pictures."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Differences:
    """IoU differences, second minus first: of each class float64 [C], and of the mean; with the ends of an interval.

    NaN where a class is absent, and for the ends also where too few resamples have it.
    """

    classes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: float
    mean_low: float
    mean_high: float


def overlaps(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union in pixels, int64 [n, C] each, of matrices [n, C, C] or, with void, [n, C, C + 1]."""
    classes = confusions.shape[1]
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    return hits, confusions.sum(2) + confusions[:, :, :classes].sum(1) - hits


def support(confusions: np.ndarray) -> np.ndarray:
    """Labeled pixels of each class over all pictures, int64 [C]."""
    return confusions.sum(axis=(0, 2))


def ratio(hits: np.ndarray, unions: np.ndarray) -> np.ndarray:
    """IoU, float64; NaN where the union is empty."""
    return np.divide(hits, unions, out=np.full(np.shape(hits), np.nan), where=np.asarray(unions) > 0)


def mean_of_present(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis without its NaN; NaN where all are."""
    present = np.isfinite(values)
    count = present.sum(-1)
    total = np.where(present, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def usual_block(pictures: int) -> int:
    """A block length that grows with the cube root of the number of pictures, as is usual for the block bootstrap."""
    return max(1, round(pictures ** (1 / 3)))


def block_weights(pictures: int, block: int, draws: int, seed: int) -> np.ndarray:
    """How often each picture is in each resample, int64 [draws, n]; every row sums to n.

    A resample is put together from blocks of `block` neighbouring pictures of the list that start anywhere and go on
    from its beginning at its end (circular block bootstrap, Politis and Romano 1992); the last one is cut to fit.
    Raises ValueError for a block shorter than 1 picture.
    """
    if block < 1:
        raise ValueError(f"a block of {block} pictures is none")
    block = min(block, max(pictures, 1))
    random = np.random.default_rng(seed)
    starts = random.integers(0, max(pictures, 1), (draws, -(-pictures // block)))
    members = ((starts[:, :, None] + np.arange(block)) % max(pictures, 1)).reshape(draws, -1)[:, :pictures]
    rows = np.arange(draws)[:, None] * pictures
    return np.bincount((rows + members).ravel(), minlength=draws * pictures).reshape(draws, pictures)


def compare_scores(
    first: np.ndarray,
    second: np.ndarray,
    block: int = 1,
    draws: int = 1000,
    seed: int = 0,
    coverage: float = 0.95,
) -> Differences:
    """IoU differences of two evaluations, and a paired block-bootstrap interval over the pictures.

    `first`, `second`: int64 [n, C, C or C + 1] of the same n pictures in the same order; both are resampled alike.
    The interval says how far the difference depends on which pictures were taken, nothing about another training seed.
    A class that fewer than half of the resamples have gets no interval. Raises ValueError where the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"matrices of {list(first.shape)} and {list(second.shape)} are not of the same pictures")
    found = class_difference(first, second, np.ones((1, len(first)), dtype=np.int64))[0]
    drawn = class_difference(first, second, block_weights(len(first), block, draws, seed))
    low, high = interval(drawn[:, :-1], coverage)
    mean_low, mean_high = interval(drawn[:, -1:], coverage)
    return Differences(found[:-1], low, high, float(found[-1]), float(mean_low[0]), float(mean_high[0]))


def class_difference(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Second minus first IoU of each class, and of their means last: float64 [draws, C + 1] for weights [draws, n]."""
    values = [ratio(*(weights @ counts for counts in overlaps(confusions))) for confusions in (first, second)]
    means = [mean_of_present(value)[:, None] for value in values]
    return np.concatenate([values[1] - values[0], means[1] - means[0]], axis=1)


def interval(drawn: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends between which `coverage` of the draws [draws, C] lie, NaN for columns that are NaN in most of them."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    for column, values in enumerate(drawn.T):
        finite = values[np.isfinite(values)]
        if 2 * len(finite) >= max(len(values), 1):
            ends[:, column] = np.quantile(finite, [(1 - coverage) / 2, (1 + coverage) / 2])
    return ends[0], ends[1]


def picture_scores(confusions: np.ndarray) -> np.ndarray:
    """Each picture's own mean IoU over the classes that it or its prediction has, float64 [n]; NaN for none."""
    return mean_of_present(ratio(*overlaps(confusions)))


def worst_first(scores: np.ndarray) -> np.ndarray:
    """The order from the lowest score on, int64 [n]; NaN last, equal ones as they stand."""
    return np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")


def pictures_with(confusions: np.ndarray, truth: int, predicted: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that hold a confusion, the most of it first, and how many pixels each: int64 [m], [m]."""
    counts = confusions[:, truth, predicted]
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    return order, counts[order]


def shares(confusion: np.ndarray, axis: int) -> np.ndarray:
    """Each row (`axis=1`) or column (`axis=0`) of a matrix as shares of its sum, float64; NaN where that is 0."""
    total = confusion.sum(axis=axis, keepdims=True)
    return np.divide(confusion, total, out=np.full(confusion.shape, np.nan), where=total > 0)
