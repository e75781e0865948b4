"""The generators of samples: reproducible, and apart from one another."""

import numpy as np
import pytest
import torch

from scl_core.seeding import generator_for, permutation


def draw(*arguments, **keywords) -> list[float]:
    return torch.rand(4, generator=generator_for(*arguments, **keywords)).tolist()


def test_the_same_place_draws_the_same_again():
    assert draw(3, 10, 2, "boxes") == draw(3, 10, 2, "boxes")


def test_seed_step_position_and_stream_each_change_the_draws():
    places = [(0, 1, 2), (1, 1, 2), (0, 2, 1), (0, 1, 3), (0, 2, 2), (2, 1, 0)]
    draws = [tuple(draw(*place)) for place in places] + [tuple(draw(0, 1, 2, stream="boxes"))]
    assert len(set(draws)) == len(draws)


def test_draws_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    draw(0, 1, 2)
    permutation(0, 0, 10, "labeled")
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_of_neighboring_steps_are_uncorrelated():
    draws = np.array([draw(0, step, position) for step in range(100) for position in range(4)])
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.15
    assert abs(draws.mean() - 0.5) < 0.04


def test_permutation_holds_every_picture_once_and_changes_with_epoch_and_stream():
    orders = [permutation(0, 0, 50, "a"), permutation(0, 1, 50, "a"), permutation(0, 0, 50, "b")]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_permutation_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError):
        permutation(0, 0, 5, "a")[0] = 3


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError):
        generator_for(-1, 0, 0)
