"""What forked pairs say: mean difference, t interval, sign-flip test, Holm, blocks of pictures, pairs needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 2000
PRIMARY = (("scl_whole", "consistency_matched"), ("scl_whole", "scl_boxes"))
SECONDARY = (
    ("scl_whole", "supervised"),
    ("scl_whole", "supervised_cutmix"),
    ("scl_boxes", "consistency"),
    ("scl_boxes", "scl_random_sets"),
    ("scl_boxes", "scl_pixel_cosine"),
    ("scl_boxes", "scl_same_pictures"),
    ("consistency", "supervised"),
)


@dataclass(frozen=True)
class Contrast:
    """One arm less another over n pairs, in points of mIoU; intervals are 95 % and None where n is 1."""

    first: str
    second: str
    differences: tuple[float, ...]
    t_interval: tuple[float, float] | None
    p_value: float
    picture_interval: tuple[float, float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.differences))

    @property
    def deviation(self) -> float:
        """Standard deviation of the pairs; NaN for one."""
        return float(np.std(self.differences, ddof=1)) if len(self.differences) > 1 else float("nan")


def contrast(rows: Sequence[Mapping], first: str, second: str) -> Contrast | None:
    """The contrast of two arms over the pairs that have both; None when no pair has."""
    by_arm = {arm: {row["pair"]: row for row in rows if row["arm"] == arm} for arm in (first, second)}
    shared = sorted(by_arm[first].keys() & by_arm[second].keys())
    if not shared:
        return None
    both = [(by_arm[first][pair], by_arm[second][pair]) for pair in shared]
    differences = [100 * (a["mean_iou"] - b["mean_iou"]) for a, b in both]
    return Contrast(
        first,
        second,
        tuple(differences),
        t_interval(differences),
        sign_flip_p_value(differences),
        picture_interval([(np.asarray(a["blocks"]), np.asarray(b["blocks"])) for a, b in both]),
    )


def t_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """Student's interval for the mean of paired differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(LEVEL)
    return float(low), float(high)


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Two-sided exact p-value: the share of all 2^n choices of signs whose mean is at least as far from 0."""
    values = np.asarray(differences, dtype=np.float64)
    signs = (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1) * 2 - 1
    means = np.abs(signs @ values)
    return float(np.mean(means >= abs(values.sum()) - 1e-12))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given: step down, never falling, at most 1."""
    order = np.argsort(p_values)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def picture_interval(pairs: Sequence[tuple[np.ndarray, np.ndarray]], seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean difference when blocks of pictures are drawn again within each pair.

    `pairs` holds for both arms of each pair integer [blocks, C, 3]: right, labeled and predicted pixels.
    """
    generator = np.random.default_rng(seed)
    totals = np.zeros(DRAWS)
    for first, second in pairs:
        drawn = generator.integers(len(first), size=(DRAWS, len(first)))
        counts = np.stack([np.bincount(row, minlength=len(first)) for row in drawn])
        totals += 100 * (mean_iou(np.tensordot(counts, first, 1)) - mean_iou(np.tensordot(counts, second, 1)))
    low, high = np.percentile(totals / len(pairs), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def mean_iou(sums: np.ndarray) -> np.ndarray:
    """Mean IoU of [..., C, 3] over the classes that are labeled or predicted: [...]."""
    right, labeled, predicted = np.moveaxis(sums.astype(np.float64), -1, 0)
    union = labeled + predicted - right
    iou = np.divide(right, union, out=np.full_like(right, np.nan), where=union > 0)
    return np.nanmean(iou, axis=-1)


def pairs_needed(deviation: float, half_width: float = 0.4) -> int:
    """The smallest n for which the t interval of pairs of this standard deviation is +- `half_width` or less."""
    n = 2
    while stats.t.ppf(0.5 + LEVEL / 2, n - 1) * deviation / np.sqrt(n) > half_width:
        n += 1
    return n
