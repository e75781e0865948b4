"""The numbered checks of Chen et al. 2021's loss on two pixels of two classes, and a loop over pixels."""

from math import exp, log

import pytest
import torch

from scl_core.cutmix import cutmix
from scl_core.losses import cross_pseudo_loss
from scl_core.losses.cross_pseudo import cross_pseudo_sum, hard_labels, label_loss


def pixels(*logits):
    """One picture of a row of pixels: float64 [1, C, 1, n]."""
    return torch.tensor(logits, dtype=torch.float64).T[None, :, None]


A = pixels((2, 0), (0, 1))
B = pixels((0, 1), (0, 2))


def by_loop(logits_1, logits_2):
    total, count = 0.0, 0
    for picture in range(len(logits_1)):
        for y in range(logits_1.shape[2]):
            for x in range(logits_1.shape[3]):
                first, second = (z[picture, :, y, x].tolist() for z in (logits_1, logits_2))
                for own, other in ((first, second), (second, first)):
                    total += log(sum(map(exp, own))) - own[other.index(max(other))]
                count += 1
    return total / count


def test_value():
    assert label_loss(A, hard_labels(B), None).item() / 2 == pytest.approx(1.220095, abs=1e-6)
    assert label_loss(B, hard_labels(A), None).item() / 2 == pytest.approx(0.720095, abs=1e-6)
    assert cross_pseudo_loss(A, B).item() == pytest.approx(1.940190, abs=1e-6)


def test_gradient_is_that_of_cross_entropy_alone():
    first, second = A.clone().requires_grad_(), B.clone().requires_grad_()
    cross_pseudo_loss(first, second).backward()
    expected_first = pixels((0.440399, -0.440399), (0.134471, -0.134471))
    expected_second = pixels((-0.365529, 0.365529), (0.059601, -0.059601))
    torch.testing.assert_close(first.grad, expected_first, atol=1e-6, rtol=0)
    torch.testing.assert_close(second.grad, expected_second, atol=1e-6, rtol=0)


def test_the_producer_of_labels_has_no_gradient():
    first, second = A.clone().requires_grad_(), B.clone().requires_grad_()
    label_loss(first, hard_labels(second), None).backward()
    assert second.grad is None and first.grad.any()


def test_swapping_the_networks_changes_nothing():
    assert cross_pseudo_loss(A, B).item() == cross_pseudo_loss(B, A).item()


def test_the_scale_of_the_label_producer_does_not_matter():
    assert torch.equal(hard_labels(7 * B), hard_labels(B))
    assert label_loss(A, hard_labels(7 * B), None).item() == label_loss(A, hard_labels(B), None).item()
    assert label_loss(7 * B, hard_labels(A), None).item() != label_loss(B, hard_labels(A), None).item()


def test_two_equal_networks_train_themselves():
    assert cross_pseudo_loss(A, A).item() == pytest.approx(0.440190, abs=1e-6)
    assert cross_pseudo_loss(A, A).item() == pytest.approx(-2 * A.softmax(1).amax(1).log().mean().item())


def test_labels_can_be_mixed_instead_of_logits():
    first, second = pixels((2, 0), (1, 3)), pixels((0, 1), (4, 1))
    owner = torch.tensor([[0, -1]])
    mixed = cutmix(hard_labels(first), hard_labels(second), owner)
    assert mixed.flatten().tolist() == [1, 1]
    assert torch.equal(mixed, hard_labels(cutmix(first, second, owner)))


def test_against_a_loop_over_pixels():
    first, second = torch.randn(2, 2, 4, 3, 5, dtype=torch.float64)
    assert cross_pseudo_loss(first, second).item() == pytest.approx(by_loop(first, second), rel=1e-12)


def test_padding_is_left_out():
    valid = torch.tensor([[[True, False]]])
    total, count = cross_pseudo_sum(A, B, hard_labels(A), hard_labels(B), valid)
    assert total.item() == pytest.approx(2.126928 + 1.313262, abs=1e-6) and int(count) == 1
    total, count = cross_pseudo_sum(A, B, hard_labels(A), hard_labels(B), torch.zeros_like(valid))
    assert total.item() == 0.0 and int(count) == 0


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="differ in shape"):
        cross_pseudo_loss(A, B[..., :1])
    with pytest.raises(ValueError, match="valid is"):
        cross_pseudo_sum(A, B, hard_labels(A), hard_labels(B), torch.ones(1, 1, 3, dtype=torch.bool))
