"""The statistics of forked pairs, against slow obvious code and known results."""

import itertools

import numpy as np
import pytest
import torch

from experiments.pairs import (
    contrast,
    holm,
    mean_iou,
    pairs_needed,
    picture_interval,
    sign_flip_p_value,
    t_interval,
)
from scl_core.metrics import mean_iou as library_mean_iou


def row(pair, arm, score, blocks=(((1, 2, 2), (3, 4, 4)),)):
    return {"pair": pair, "arm": arm, "mean_iou": score, "blocks": blocks}


def test_sign_flips_are_counted_one_by_one():
    values = [0.4, -0.1, 0.7, 0.2]
    extreme = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= abs(sum(values)) - 1e-12
        for signs in itertools.product((-1, 1), repeat=4)
    ]
    assert sign_flip_p_value(values) == pytest.approx(np.mean(extreme))
    assert sign_flip_p_value([0.3] * 6) == pytest.approx(2 / 64)


def test_t_interval_of_a_textbook_sample():
    low, high = t_interval([1.0, 2.0, 3.0, 4.0])
    assert (low + high) / 2 == pytest.approx(2.5)
    assert (high - low) / 2 == pytest.approx(3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2, rel=1e-5)
    assert t_interval([1.0]) is None


def test_holm_steps_down_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_pairs_needed_is_the_smallest_number():
    n = pairs_needed(0.6)
    half = [3.0 * 0 + t_half(0.6, k) for k in (n - 1, n)]
    assert half[0] > 0.4 >= half[1]


def t_half(deviation, n):
    centred = np.resize([1.0, -1.0], n) if n % 2 == 0 else np.append(np.resize([1.0, -1.0], n - 1), 0.0)
    low, high = t_interval(list(centred / np.std(centred, ddof=1) * deviation))
    return (high - low) / 2


def test_mean_iou_of_sums_is_the_librarys():
    confusion = np.random.default_rng(0).integers(0, 50, (5, 5))
    confusion[3] = confusion[:, 3] = 0  # a class that is nowhere
    sums = np.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)], 1)
    assert float(mean_iou(sums)) == pytest.approx(library_mean_iou(torch.from_numpy(confusion)))


def test_blocks_drawn_again_bracket_the_difference():
    generator = np.random.default_rng(1)
    labeled = generator.integers(500, 1000, (20, 3))
    good, poor = labeled * 8 // 10, labeled * 6 // 10
    blocks = [np.stack([right, labeled, labeled], -1) for right in (good, poor)]
    whole = 100 * (mean_iou(blocks[0].sum(0)) - mean_iou(blocks[1].sum(0)))
    low, high = picture_interval([tuple(blocks)])
    assert low < whole < high and high - low < 3
    assert picture_interval([(blocks[0], blocks[0])]) == (0.0, 0.0)


def test_a_contrast_is_taken_inside_pairs_that_have_both_arms():
    rows = [row(0, "a", 0.5), row(0, "b", 0.4), row(1, "a", 0.3), row(2, "b", 0.9), row(3, "a", 0.2), row(3, "b", 0.3)]
    found = contrast(rows, "a", "b")
    assert found.differences == pytest.approx((10.0, -10.0)) and found.mean == pytest.approx(0.0)
    assert contrast(rows, "a", "c") is None
