"""Which picture comes when: once per epoch, never paired with itself, whatever the world."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scl_core.data.sampling import evaluation_indices, labeled_index, pair_indices, rank_positions
from scl_core.errors import UserError


def world(rank: int, size: int) -> SimpleNamespace:
    return SimpleNamespace(rank=rank, size=size)


def samples(draw, batch: int, size: int, count: int, seed: int = 0) -> list:
    """The first `count` samples in the order of steps and positions."""
    places = [(number // batch + 1, number % batch) for number in range(count)]
    return [draw(seed, step, position, batch, size) for step, position in places]


@given(size=st.integers(1, 60), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_every_labeled_picture_comes_once_per_epoch(size, batch, seed):
    drawn = samples(labeled_index, batch, size, 3 * size, seed)
    for epoch in range(3):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(size=st.integers(2, 60), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_no_unlabeled_picture_meets_itself_and_each_comes_once_per_epoch_on_either_side(size, batch, seed):
    pairs = samples(pair_indices, batch, size, 3 * size, seed)
    assert all(first != second for first, second in pairs)
    for epoch in range(3):
        for side in zip(*pairs[epoch * size : (epoch + 1) * size], strict=True):
            assert sorted(side) == list(range(size))


def test_all_pairs_occur():
    pairs = Counter(samples(pair_indices, 1, 4, 4 * 300))
    assert len(pairs) == 4 * 3 and min(pairs.values()) > 50


@pytest.mark.parametrize("size", [0, 1])
def test_fewer_than_two_unlabeled_pictures_are_refused(size):
    with pytest.raises(UserError, match=f"needs at least 2 unlabeled pictures to mix, the list has {size}"):
        pair_indices(0, 1, 0, 4, size)


def test_epochs_and_seeds_change_the_order():
    drawn = samples(labeled_index, 4, 20, 40)
    assert drawn[:20] != drawn[20:] and drawn != samples(labeled_index, 4, 20, 40, seed=1)
    assert samples(pair_indices, 4, 20, 20) != samples(pair_indices, 4, 20, 20, seed=1)


@given(share=st.integers(1, 8), size=st.integers(1, 6))
def test_ranks_take_consecutive_positions_and_all_of_them(share, size):
    taken = [position for rank in range(size) for position in rank_positions(share * size, world(rank, size), "x")]
    assert taken == list(range(share * size))


def test_a_batch_that_cannot_be_shared_names_the_setting_and_the_processes():
    with pytest.raises(UserError, match=r"train\.batch_labeled: 5 pictures cannot be shared evenly by 2 processes"):
        rank_positions(5, world(0, 2), "train.batch_labeled")


@given(count=st.integers(0, 50), size=st.integers(1, 6))
def test_each_picture_is_evaluated_by_one_rank(count, size):
    taken = [index for rank in range(size) for index in evaluation_indices(count, world(rank, size))]
    assert sorted(taken) == list(range(count))
