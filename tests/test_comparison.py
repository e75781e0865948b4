"""Comparison of two evaluations: fast sums against slow ones, and intervals that say what they should."""

import numpy as np
import pytest
import torch

from scl_core import comparison
from scl_core.metrics import boundary_band, per_class_iou


def drawn_matrices(pictures: int = 12, classes: int = 4, seed: int = 0, void: bool = False) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 50, (pictures, classes, classes + void), dtype=np.int64)


@pytest.mark.parametrize("void", [False, True])
def test_iou_is_that_of_the_metric(void):
    matrices = drawn_matrices(void=void)
    hits, unions = comparison.overlaps(matrices)
    expected = per_class_iou(torch.from_numpy(matrices.sum(0))).numpy()
    np.testing.assert_allclose(comparison.ratio(hits.sum(0), unions.sum(0)), expected)
    assert comparison.support(matrices).tolist() == matrices.sum((0, 2)).tolist()


def test_every_resample_is_made_of_neighbours():
    weights = comparison.block_weights(pictures=10, block=4, draws=50, seed=1)
    assert weights.shape == (50, 10) and (weights.sum(1) == 10).all()
    for row in weights:
        taken = np.flatnonzero(row)
        assert all(row[(i - 1) % 10] or row[(i + 1) % 10] for i in taken), row


def test_the_interval_of_one_block_over_all_pictures_is_a_point():
    first, second = drawn_matrices(seed=0), drawn_matrices(seed=1)
    found = comparison.compare_scores(first, second, block=len(first))
    np.testing.assert_allclose(found.low, found.classes)
    np.testing.assert_allclose(found.high, found.classes)


def test_bootstrap_agrees_with_a_slow_one():
    first, second = drawn_matrices(seed=0), drawn_matrices(seed=1)
    found = comparison.compare_scores(first, second, block=2, draws=200, seed=3)
    weights = comparison.block_weights(len(first), 2, 200, 3)
    slow = []
    for row in weights:
        picked = [number for number, count in enumerate(row) for _ in range(count)]
        scores = [per_class_iou(torch.from_numpy(m[picked].sum(0))).numpy() for m in (first, second)]
        slow.append(scores[1] - scores[0])
    np.testing.assert_allclose(found.low, np.quantile(slow, 0.025, axis=0))
    np.testing.assert_allclose(found.high, np.quantile(slow, 0.975, axis=0))
    whole = [per_class_iou(torch.from_numpy(m.sum(0))).numpy() for m in (first, second)]
    np.testing.assert_allclose(found.classes, whole[1] - whole[0])
    assert found.mean_low <= found.mean <= found.mean_high


def test_longer_blocks_widen_the_interval_where_neighbours_are_alike():
    random = np.random.default_rng(0)
    level = np.repeat(random.integers(10, 90, 12), 10)
    first = np.stack([[[50, 50], [50, 50]]] * 120)
    second = np.stack([[[x, 100 - x], [100 - x, x]] for x in level])
    widths = []
    for block in (1, 10):
        found = comparison.compare_scores(first, second, block)
        widths.append(found.mean_high - found.mean_low)
    assert widths[1] > 1.5 * widths[0]


def test_an_absent_class_has_no_difference_and_a_rare_one_no_interval():
    first, second = drawn_matrices(seed=0), drawn_matrices(seed=1)
    for matrices in (first, second):
        matrices[:, 3, :] = matrices[:, :, 3] = 0
        matrices[1:, 2, :] = 0
        matrices[1:, :, 2] = 0
    found = comparison.compare_scores(first, second, block=8)
    assert np.isnan(found.classes[3]) and np.isnan(found.low[3])
    assert np.isfinite(found.classes[:3]).all() and np.isfinite(found.mean)


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match="same pictures"):
        comparison.compare_scores(drawn_matrices(4), drawn_matrices(5))
    with pytest.raises(ValueError, match="0 pictures"):
        comparison.block_weights(4, 0, 1, 0)


def test_pictures_by_score_and_by_confusion():
    matrices = np.zeros((3, 2, 2), dtype=np.int64)
    matrices[0] = [[4, 0], [1, 3]]
    matrices[1] = [[0, 4], [4, 0]]
    order, counts = comparison.pictures_with(matrices, truth=1, predicted=0)
    assert order.tolist() == [1, 0] and counts.tolist() == [4, 1]
    scores = comparison.picture_scores(matrices)
    assert np.isnan(scores[2])
    assert comparison.worst_first(scores).tolist() == [1, 0, 2]


def test_shares_add_up_and_are_absent_for_absent_classes():
    confusion = np.array([[3, 1], [0, 0]])
    rows, columns = comparison.shares(confusion, 1), comparison.shares(confusion, 0)
    assert rows[0].tolist() == [0.75, 0.25] and np.isnan(rows[1]).all()
    assert columns.tolist() == [[1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_the_band_is_where_a_slow_search_finds_another_class(pixels):
    random = np.random.default_rng(pixels)
    label = np.kron(random.integers(0, 3, (4, 5)), np.ones((4, 4), dtype=np.int64))
    label[random.random(label.shape) < 0.05] = 255
    expected = np.zeros(label.shape, dtype=bool)
    for row, column in np.argwhere(label != 255):
        window = label[max(row - pixels, 0) : row + pixels + 1, max(column - pixels, 0) : column + pixels + 1]
        expected[row, column] = ((window != label[row, column]) & (window != 255)).any()
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(boundary_band(torch.from_numpy(label), pixels).numpy(), expected)


def test_a_picture_of_one_class_has_no_band():
    assert not boundary_band(torch.full((5, 6), 2)).any()
    with pytest.raises(ValueError, match="0 pixels"):
        boundary_band(torch.zeros(3, 3), 0)
