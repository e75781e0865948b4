"""Matching and MaskFormer's loss: worked values, and each part against loops over queries, regions and pixels."""

from itertools import permutations
from math import exp, log

import pytest
import torch
from torch.nn import functional as F

from scl_core.losses.mask_classification import (
    hungarian_match,
    label_regions,
    mask_losses_sum,
    matching_cost,
    present_classes,
    query_classes_sum,
)
from scl_core.losses.region import Regions

STUDENT = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.float64).view(1, 3, 1, 4)
QUERIES = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3]]], dtype=torch.float64)
LABELS = torch.tensor([[[0, 0, 1, 1]]])


def random_case():
    """Two pictures of 4 classes and 5 queries; class 2 is absent, some pixels are ignored."""
    labels = torch.randint(0, 4, (2, 6, 7))
    labels[labels == 2] = 255
    return torch.randn(2, 5, 5).double(), 2 * torch.randn(2, 5, 6, 7).double(), labels


def focal_of(logit, inside):
    p = 1 / (1 + exp(-logit))
    return 0.25 * (1 - p) ** 2 * -log(p) if inside else 0.75 * p**2 * -log(1 - p)


def mask_losses_by_loop(logits, inside, known):
    """Mean focal loss and dice loss of one mask [h, w] over its known pixels."""
    pixels = [(y, x) for y in range(known.shape[0]) for x in range(known.shape[1]) if known[y, x]]
    focal = sum(focal_of(float(logits[p]), bool(inside[p])) for p in pixels) / len(pixels)
    mask = {p: 1 / (1 + exp(-float(logits[p]))) for p in pixels}
    shared = sum(mask[p] for p in pixels if inside[p])
    dice = 1 - (2 * shared + 1) / (sum(mask.values()) + sum(bool(inside[p]) for p in pixels) + 1)
    return focal, dice


def test_worked_cost_and_matching():
    regions = label_regions(LABELS, 2)
    cost = matching_cost(QUERIES.log(), 80 * (STUDENT - 0.5), regions, focal_weight=0.0)
    expected = torch.tensor([[-0.7, 0.4, -0.35], [0.6, -0.633333, 0.65]], dtype=torch.float64)
    torch.testing.assert_close(cost[0], expected, atol=1e-6, rtol=0)
    match = hungarian_match(cost, regions.present)
    assert match.tolist() == [[0, 1]]
    assert cost[0].gather(1, match[0][:, None]).sum().item() == pytest.approx(-1.333333, abs=1e-6)


def test_cost_against_a_loop():
    class_logits, masks, labels = random_case()
    regions = label_regions(labels, 4)
    cost = matching_cost(class_logits, masks, regions, focal_weight=20.0, dice_weight=1.5)
    soft = Regions(
        regions.classes, regions.present, regions.kept, masks=F.one_hot(regions.labels, 5)[..., :4].permute(0, 3, 1, 2)
    )
    torch.testing.assert_close(matching_cost(class_logits, masks, soft, 20.0, 1.5), cost)
    for picture in range(2):
        for k in (0, 1, 3):
            for j in range(5):
                known = labels[picture] != 255
                focal, dice = mask_losses_by_loop(masks[picture, j], labels[picture] == k, known)
                prob = float(class_logits[picture, j].softmax(0)[k])
                assert cost[picture, k, j].item() == pytest.approx(20 * focal + 1.5 * dice - prob, rel=1e-9)


def test_matching_is_the_best_of_all():
    cost = torch.randn(3, 4, 5).double()
    present = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    match = hungarian_match(cost, present)
    for picture in range(3):
        rows = present[picture].nonzero().flatten()
        best = min(
            sum(float(cost[picture, k, j]) for k, j in zip(rows, columns, strict=True))
            for columns in permutations(range(5), len(rows))
        )
        chosen = match[picture, rows]
        assert len(set(chosen.tolist())) == len(rows)
        assert cost[picture, rows, chosen].sum().item() == pytest.approx(best)
    assert match.dtype == torch.int64 and not match[~present].any()


def test_matching_survives_what_is_not_finite_and_refuses_too_many_regions():
    cost = torch.tensor([[[torch.nan, torch.inf], [0.0, 1.0]]])
    assert sorted(hungarian_match(cost, torch.ones(1, 2, dtype=torch.bool))[0].tolist()) == [0, 1]
    with pytest.raises(ValueError, match="3 regions cannot be matched with 2 queries"):
        hungarian_match(torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool))


def test_mask_losses_against_a_loop():
    _, masks, labels = random_case()
    present = present_classes(labels, 4)
    assert present.tolist() == [[True, True, False, True]] * 2
    match = torch.tensor([[4, 0, 0, 2], [1, 3, 0, 0]])
    focal, dice, count = mask_losses_sum(masks, labels, present, match)
    expected = [
        mask_losses_by_loop(masks[b, match[b, k]], labels[b] == k, labels[b] != 255)
        for b in range(2)
        for k in (0, 1, 3)
    ]
    assert count.item() == 6
    assert (focal.item(), dice.item()) == pytest.approx(tuple(map(sum, zip(*expected, strict=True))), rel=1e-9)


def test_masks_are_compared_at_the_size_of_the_labels():
    masks, labels = torch.randn(1, 2, 3, 4).double(), torch.randint(0, 2, (1, 9, 10))
    present, match = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[1, 0]])
    resized = F.interpolate(masks, size=(9, 10), mode="bilinear", align_corners=True)
    assert mask_losses_sum(masks, labels, present, match) == mask_losses_sum(resized, labels, present, match)


def test_query_classes_against_cross_entropy():
    class_logits, _, _ = random_case()
    present, match = torch.tensor([[True, True, False, True], [False] * 4]), torch.tensor([[4, 0, 0, 2], [0] * 4])
    total, weight = query_classes_sum(class_logits, present, match, 0.1)
    target = torch.tensor([1, 4, 3, 4, 0])
    weights = torch.tensor([1.0, 1, 1, 1, 0.1], dtype=torch.float64)
    expected = F.cross_entropy(class_logits[0], target, weights, reduction="sum")
    torch.testing.assert_close(total, expected)
    assert weight.item() == pytest.approx(3.2)  # the second picture, without any label, teaches nothing


def test_gradients():
    class_logits, masks, labels = random_case()
    class_logits, masks = class_logits.requires_grad_(), masks[:, :, :3, :4].contiguous().requires_grad_()
    labels, present, match = (
        labels[:, :3, :4],
        torch.tensor([[True, False, False, True]] * 2),
        torch.tensor([[4, 0, 0, 2]] * 2),
    )

    def losses(class_logits, masks):
        return *mask_losses_sum(masks, labels, present, match)[:2], query_classes_sum(class_logits, present, match)[0]

    assert torch.autograd.gradcheck(losses, (class_logits, masks))
    assert not matching_cost(class_logits, masks, label_regions(labels, 4)).requires_grad


def test_ignored_pictures_give_zero_with_a_connected_gradient():
    class_logits, masks, labels = random_case()
    class_logits, masks = class_logits.requires_grad_(), masks.requires_grad_()
    present = present_classes(torch.full_like(labels, 255), 4)
    match = hungarian_match(matching_cost(class_logits, masks, label_regions(torch.full_like(labels, 255), 4)), present)
    focal, dice, count = mask_losses_sum(masks, torch.full_like(labels, 255), present, match)
    total, weight = query_classes_sum(class_logits, present, match)
    loss = focal + dice + total
    loss.backward()
    assert (loss.item(), count.item(), weight.item()) == (0.0, 0, 0.0)
    assert not masks.grad.any() and not class_logits.grad.any()


def test_large_logits_stay_finite():
    labels = torch.tensor([[[0, 1]]])
    masks = torch.tensor([[[[-500.0, 500]], [[500, -500]]]], requires_grad=True)
    present = present_classes(labels, 2)
    focal, dice, _ = mask_losses_sum(masks, labels, present, torch.tensor([[0, 1]]))
    (focal + dice).backward()
    assert focal.isfinite() and dice.isfinite() and masks.grad.isfinite().all()
