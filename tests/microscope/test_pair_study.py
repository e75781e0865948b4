"""Drawn pairs against every pair: the draw is the loss's own, the estimate is unbiased, more pairs point straighter."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scl_core.losses.structured import structured_consistency_loss
from scl_core.microscope.pair_study import directions, kept_pairs, study
from tests.test_probe import Settings, SmallNetwork, draw, last_shown, some_views
from tests.test_probe import make_probe as make


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    student, teacher = SmallNetwork(), SmallNetwork()
    probe = make(student, teacher, some_views(0), some_views(1), Settings(), draw(3), draw(7))
    return SimpleNamespace(probe=probe, student=student)


def test_kept_pairs_are_those_of_the_loss(case):
    probe = case.probe
    loss = structured_consistency_loss(
        probe.student[None], probe.teacher[None], probe.owner[None], 6, 4, 50, draw(11), probe.valid[None]
    )
    others = [
        kept_pairs(probe, box.number, 50, draw(11), most=50) for box in probe.report if box.in_loss and box.visible
    ]
    total = 0.0
    for kept in (item.kept for item in others):
        sides = [
            [probs[:, kept[:, side, 0], kept[:, side, 1]] for side in (0, 1)]
            for probs in (probe.student, probe.teacher)
        ]
        one, two = (torch.cosine_similarity(*pair, dim=0) for pair in sides)
        total += float((one - two).square().mean())
    assert total == pytest.approx(float(loss), rel=1e-4)


def test_dropped_pairs_are_of_the_box_and_not_kept(case):
    number = last_shown(case.probe).number
    found = kept_pairs(case.probe, number, 200, draw(1))
    kept = {tuple(pair.flatten()) for pair in found.kept}
    assert len(found.kept) == 200 and 0 < found.distinct <= 200 < found.every
    assert len(found.dropped) and not kept & {tuple(pair.flatten()) for pair in found.dropped}
    shown = case.probe.shown(number).numpy()
    assert shown[found.dropped[..., 0], found.dropped[..., 1]].all()


def test_a_box_with_few_pairs_keeps_all(case):
    number = last_shown(case.probe).number
    found = kept_pairs(case.probe, number, 10**9, draw(1))
    assert found.distinct == found.every == case.probe.report[number].visible ** 2 and not len(found.dropped)


def test_more_pairs_are_nearer_to_the_exact_loss(case):
    few, many = (study(case.probe, pairs, case.student, draws=40) for pairs in (20, 1000))
    assert few.exact == many.exact and many.values.std() < 0.5 * few.values.std()
    assert abs(few.values.mean() - few.exact) < 4 * few.values.std() / np.sqrt(40)
    assert many.over_pixels.mean() > few.over_pixels.mean() + 0.1
    assert many.over_parameters.mean() > few.over_parameters.mean() + 0.1
    assert (len(few.over_pixels), len(few.over_parameters)) == (20, 4)


def test_enough_pairs_are_every_pair(case):
    found = study(case.probe, 10**9, case.student, draws=5)
    assert np.allclose(found.values, found.exact)
    assert np.allclose(found.over_pixels, 1) and np.allclose(found.over_parameters, 1, atol=1e-5)


def test_directions_grow_straight_with_the_pairs(case):
    pixels, parameters = directions(case.probe, (20, 1000, 10**9), case.student)
    assert list(pixels) == sorted(pixels) and pixels[-1] == pytest.approx(1)
    assert parameters[0] < parameters[1] and parameters[2] == pytest.approx(1, abs=1e-5)
    assert not len(directions(case.probe, (20,))[1])


def test_without_a_network_the_parameters_are_left_out(case):
    assert not len(study(case.probe, 20, draws=3).over_parameters)
