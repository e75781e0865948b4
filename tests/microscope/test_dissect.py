"""Parts of the structured loss against slow, obvious twins, on the real predictions of two small networks."""

import numpy as np
import pytest
import torch

from scl_core.losses.structured import structured_consistency_loss
from scl_core.microscope.dissect import (
    at_temperature,
    box_statistics,
    confident_share,
    exact_parts,
    hard_disagreement,
    losses_at,
    pixel_gradients,
)
from scl_core.probe import similarity_maps, similarity_rows
from tests.test_probe import Settings, SmallNetwork, draw, last_shown, some_views
from tests.test_probe import make_probe as make


@pytest.fixture(scope="module", params=["mean", "sum"])
def probe(request):
    torch.manual_seed(0)
    networks = SmallNetwork(), SmallNetwork()
    settings = Settings(box_reduction=request.param, max_pairs=40)
    return make(*networks, some_views(0), some_views(1), settings, draw(3), draw(7))


def exact_loss(probe, student=None):
    return structured_consistency_loss(
        probe.student[None].double() if student is None else student,
        probe.teacher[None].double(),
        probe.owner[None],
        6,
        4,
        valid=probe.valid[None],
        box_reduction=probe.box_reduction,
    )


def test_every_part_adds_up_to_the_loss_of_every_pair(probe):
    parts = exact_parts(probe)
    assert parts.loss == pytest.approx(float(exact_loss(probe)), rel=1e-9)
    for part in (parts.shares, parts.class_pairs, sum(parts.boxes.values())):
        assert part.sum() == pytest.approx(parts.loss, rel=1e-9)
    assert set(parts.boxes) == {2, 3, 4, 5}


def test_a_class_pair_is_the_sum_over_its_pairs_of_pixels(probe):
    box = last_shown(probe)
    shown = probe.shown(box.number)
    student, teacher = (
        torch.nn.functional.normalize(p[:, shown].double(), dim=0) for p in (probe.student, probe.teacher)
    )
    squared = (student.T @ student - teacher.T @ teacher).square() / box.visible**2
    classes = probe.teacher[:, shown].argmax(0)
    divisor = 4 if probe.box_reduction == "mean" else 1
    found = exact_parts(probe).boxes[box.number]
    for c in classes.unique().tolist():
        for d in classes.unique().tolist():
            wanted = squared[classes == c][:, classes == d].sum() / divisor
            assert found[c, d] == pytest.approx(float(wanted), abs=1e-12)


def test_hard_disagreement_counts_pairs_one_by_one(probe):
    box = last_shown(probe)
    shown = probe.shown(box.number)
    student, teacher = (p[:, shown].argmax(0) for p in (probe.student, probe.teacher))
    differing = (student[:, None] == student) != (teacher[:, None] == teacher)
    assert hard_disagreement(probe, box.number) == pytest.approx(float(differing.float().mean()), abs=1e-6)
    assert 0 < hard_disagreement(probe, box.number) < 1


def test_the_gradient_is_that_of_finite_differences(probe):
    found = pixel_gradients(probe)
    assert not found[(probe.owner < 2).numpy()].any()
    row, column = np.unravel_index(found.argmax(), found.shape)
    logits, steps = probe.student[None].double().log(), []
    for channel in range(len(probe.student)):
        moved = logits.clone(), logits.clone()
        for side, sign in zip(moved, (1, -1), strict=True):
            side[0, channel, row, column] += sign * 1e-4
        up, down = (float(exact_loss(probe, side.softmax(1))) for side in moved)
        steps.append((up - down) / 2e-4)
    assert np.linalg.norm(steps) == pytest.approx(float(found.max()), rel=1e-3)


def test_a_map_of_the_whole_picture_holds_the_boxs_row(probe):
    box = last_shown(probe)
    row, column = probe.shown(box.number).nonzero()[0].tolist()
    inside = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
    for whole, part in zip(
        similarity_maps(probe, row, column), similarity_rows(probe, box.number, row, column), strict=True
    ):
        assert whole.shape == tuple(probe.owner.shape) and whole[row, column] == pytest.approx(1)
        assert np.allclose(whole[inside][np.isfinite(part)], part[np.isfinite(part)], atol=1e-6)


def test_temperature_one_changes_nothing_and_a_high_one_softens(probe):
    logits = torch.randn(5, 3, 4, generator=draw(0))
    assert torch.allclose(at_temperature(logits.softmax(0), 3.0), (logits / 3).softmax(0), atol=1e-6)
    consistency, structured = losses_at(probe, 1.0)
    assert consistency == pytest.approx(probe.consistency, rel=1e-4)
    assert structured == pytest.approx(float(exact_loss(probe)), rel=1e-4)
    assert losses_at(probe, 10.0)[0] < consistency


def test_the_confident_share_falls_from_one_to_none(probe):
    shares = [confident_share(probe, threshold) for threshold in (0.0, 0.3, 0.6, 1.01)]
    assert shares[0] == 1 and shares[-1] == 0 and shares == sorted(shares, reverse=True)


def test_many_draws_cover_what_was_asked_for():
    settings = Settings(num_boxes=4, total_area=0.5)
    covered, visible = box_statistics(32, 48, settings, seed=1, draws=60)
    assert visible.shape == (60, 4) and covered.mean() == pytest.approx(0.5, abs=0.06)
    assert np.allclose(visible.sum(1) / (32 * 48), covered)
    assert visible[:, -1].mean() > visible[:, 0].mean(), "later boxes hide earlier ones"
