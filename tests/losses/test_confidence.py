import math

import pytest
import torch

from scl_core.losses import confident_consistency_loss, pseudo_label_loss
from scl_core.losses.confidence import (
    confident_consistency_sum,
    confident_count,
    least_entropy,
    pseudo_label_sum,
    pseudo_labels,
)


def random_logits(*shape):
    return 2 * torch.randn(shape, dtype=torch.float64)


def row(*pixels):
    """Logits of one picture of one row, [1, C, 1, W]."""
    return torch.tensor(pixels, dtype=torch.float64).T[None, :, None]


def consistency_by_loop(student, teacher, threshold, per_pixel, valid):
    total, kept, count = 0.0, 0, 0
    for picture, y, x in valid.nonzero().tolist():
        confident = float(teacher[picture, :, y, x].max()) >= threshold
        distance = float((student[picture, :, y, x] - teacher[picture, :, y, x]).square().sum())
        total += distance if confident or not per_pixel else 0.0
        kept += confident
        count += 1
    return total / count * (1 if per_pixel else kept / count)


def pseudo_label_by_loop(logits, labels, confidence, threshold, valid):
    total, count = 0.0, 0
    for picture, y, x in valid.nonzero().tolist():
        count += 1
        if confidence[picture, y, x] >= threshold:
            total -= float(logits[picture, :, y, x].log_softmax(0)[labels[picture, y, x]])
    return total / count


@pytest.mark.parametrize("per_pixel", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_consistency_against_a_loop(per_pixel, threshold):
    student, teacher = (random_logits(2, 3, 5, 6).softmax(1) for _ in range(2))
    valid = torch.rand(2, 5, 6) < 0.7
    got = confident_consistency_loss(student, teacher, threshold, per_pixel, valid)
    expected = consistency_by_loop(student, teacher, threshold, per_pixel, valid)
    assert got.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_pseudo_labels_against_a_loop(threshold):
    logits, (labels, confidence) = random_logits(2, 3, 5, 6), pseudo_labels(random_logits(2, 3, 5, 6))
    valid = torch.rand(2, 5, 6) < 0.7
    got = pseudo_label_loss(logits, labels, confidence, threshold, valid)
    assert got.item() == pytest.approx(pseudo_label_by_loop(logits, labels, confidence, threshold, valid), rel=1e-12)


def test_worked_values_of_the_soft_loss():
    student, teacher = row((0, 0), (2, 0)).softmax(1), row((2, 0), (0, 0)).softmax(1)
    assert confident_consistency_loss(student, teacher, 0.0).item() == pytest.approx(0.290013, abs=5e-7)
    assert teacher.amax(1).flatten().tolist() == pytest.approx([0.880797, 0.5], abs=5e-7)
    for per_pixel in (False, True):  # both pixels lose the same, so that the two masks agree
        got = confident_consistency_loss(student, teacher, 0.8, per_pixel)
        assert got.item() == pytest.approx(0.145006, abs=1e-6)


def test_worked_values_of_the_hard_loss():
    """Confidences (.96, .5) and cross entropies (2, 4): the doubtful pixel counts in the denominator."""
    gaps = [math.log(math.expm1(loss)) for loss in (2.0, 4.0)]
    logits, labels = row(*((0.0, gap) for gap in gaps)), torch.zeros(1, 1, 2, dtype=torch.int64)
    confidence = torch.tensor([[[0.96, 0.5]]])
    assert pseudo_label_loss(logits, labels, confidence, 0.95).item() == pytest.approx(1.0)
    assert pseudo_label_loss(logits, labels, confidence, 0.0).item() == pytest.approx(3.0)


@pytest.mark.parametrize("padded", [0, 1])
def test_a_padded_pixel_leaves_numerator_and_denominator(padded):
    gaps = [math.log(math.expm1(loss)) for loss in (2.0, 4.0)]
    logits, labels = row(*((0.0, gap) for gap in gaps)), torch.zeros(1, 1, 2, dtype=torch.int64)
    valid = torch.tensor([[[padded != 0, padded != 1]]])
    total, count = pseudo_label_sum(logits, labels, torch.ones(1, 1, 2), 0.9, valid)
    assert (total.item(), count.item()) == (pytest.approx([4.0, 2.0][padded]), 1)


def test_range_of_a_pixel():
    certain = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    assert confident_consistency_loss(certain, 1 - certain, 0.97).item() == 2.0
    student, teacher = random_logits(1, 4, 30, 30).softmax(1), random_logits(1, 4, 30, 30).softmax(1)
    assert 0 <= confident_consistency_loss(student, teacher, 0.0, per_pixel=True).item() <= 2


@pytest.mark.parametrize("per_pixel", [False, True])
def test_equal_predictions_give_no_loss_and_no_gradient(per_pixel):
    logits = random_logits(1, 3, 4, 4).requires_grad_()
    loss = confident_consistency_loss(logits.softmax(1), logits.detach().softmax(1), 0.1, per_pixel)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0.0 and not gradient.any()


def test_no_gradient_reaches_the_label_side():
    student, weak = (random_logits(1, 3, 4, 4).requires_grad_() for _ in range(2))
    (confident_consistency_loss(student.softmax(1), weak.softmax(1), 0.5)).backward()
    pseudo_label_loss(student, *pseudo_labels(weak), 0.5).backward()
    assert weak.grad is None and student.grad.any()


def test_gradients_by_differences():
    student = random_logits(1, 3, 3, 3).requires_grad_()
    teacher = random_logits(1, 3, 3, 3)
    valid = torch.rand(1, 3, 3) < 0.7
    assert torch.autograd.gradcheck(lambda s: confident_consistency_loss(s, teacher.softmax(1), 0.6, True), student)
    assert torch.autograd.gradcheck(lambda s: pseudo_label_loss(s, *pseudo_labels(teacher), 0.6, valid), student)


def test_nothing_valid_gives_zero_with_a_connected_gradient():
    logits, nothing = random_logits(1, 3, 4, 4).requires_grad_(), torch.zeros(1, 4, 4, dtype=torch.bool)
    teacher = random_logits(1, 3, 4, 4)
    for loss in (
        confident_consistency_loss(logits.softmax(1), teacher.softmax(1), 0.5, valid=nothing),
        confident_consistency_loss(logits.softmax(1), teacher.softmax(1), 0.5, True, nothing),
        pseudo_label_loss(logits, *pseudo_labels(teacher), 0.5, nothing),
    ):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0.0 and not gradient.any()


def test_padding_without_a_number_does_not_reach_the_loss():
    logits = random_logits(1, 3, 2, 2)
    logits[..., 1] = torch.nan
    valid = torch.tensor([[[True, False], [True, False]]])
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert pseudo_label_loss(logits, labels, torch.ones(1, 2, 2), 0.5, valid).isfinite()


def test_sums_of_parts_make_the_whole():
    student, teacher = random_logits(3, 3, 4, 4).softmax(1), random_logits(3, 3, 4, 4).softmax(1)
    valid = torch.rand(3, 4, 4) < 0.7
    parts = (slice(0, 1), slice(1, 3))
    sums = [confident_consistency_sum(student[p], teacher[p], 0.6, valid[p]) for p in parts]
    total, count = map(sum, zip(*sums, strict=True))
    assert (total / count).item() == pytest.approx(
        confident_consistency_loss(student, teacher, 0.6, True, valid).item(), rel=1e-12
    )
    kept = sum(confident_count(teacher[p], 0.6, valid[p])[0] for p in parts)
    assert kept == confident_count(teacher, 0.6, valid)[0]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="logits"):
        pseudo_label_loss(random_logits(1, 3, 2, 2), torch.zeros(1, 2, 3, dtype=torch.int64), torch.ones(1, 2, 2), 0.5)


def test_least_entropy_by_hand():
    """Entropies over log 2 of (.5, .5), (.9, .1), (1, 0), (.8, .2): 1, .469, 0, .722."""
    probs = torch.tensor([[[[0.5, 0.9, 1.0, 0.8]], [[0.5, 0.1, 0.0, 0.2]]]])
    every = torch.ones(1, 1, 4, dtype=torch.bool)
    for share, kept in (
        (1.0, [1, 1, 1, 1]),
        (0.75, [0, 1, 1, 1]),
        (0.6, [0, 1, 1, 1]),
        (0.5, [0, 1, 1, 0]),
        (0.1, [0, 0, 1, 0]),
    ):
        assert least_entropy(probs, every, share).int().tolist() == [[kept]]
    some = torch.tensor([[[True, True, False, True]]])
    assert least_entropy(probs, some, 0.5).int().tolist() == [[[0, 1, 0, 1]]]
    assert not least_entropy(probs, torch.zeros_like(every), 0.5).any()
