"""The relatives of the structured loss, each against pairs of pixels taken one by one in float64."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from scl_core.losses.structured import structured_per_box
from scl_core.losses.structured_family import class_pair_matrix, pixel_cosine_per_box, pixel_shares
from tests.losses.test_structured import BOXES, random_case

LOSS_BOXES = 4


def pair_differences(student, teacher, places):
    """For pixels [(y, x)] of one picture: the squared differences of their similarities, [P][P]."""
    return [
        [
            float(
                cosine_similarity(student[:, y1, x1], student[:, y2, x2], dim=0)
                - cosine_similarity(teacher[:, y1, x1], teacher[:, y2, x2], dim=0)
            )
            ** 2
            for y2, x2 in places
        ]
        for y1, x1 in places
    ]


def boxes_of(owner, valid):
    """Picture, column and places of every loss box."""
    for picture in range(len(owner)):
        for column in range(LOSS_BOXES):
            shown = (owner[picture] == BOXES - LOSS_BOXES + column) & valid[picture]
            yield picture, column, [(y, x) for y, x in shown.nonzero().tolist()]


def test_shares_of_pixels_against_a_double_loop():
    student, teacher, owner, valid = random_case()
    shares = pixel_shares(student, teacher, owner, BOXES, LOSS_BOXES, valid)
    expected = torch.zeros(owner.shape, dtype=torch.float64)
    for picture, _, places in boxes_of(owner, valid):
        squares = pair_differences(student[picture], teacher[picture], places)
        for (y, x), row in zip(places, squares, strict=True):
            expected[picture, y, x] = sum(row) / len(places) ** 2
    torch.testing.assert_close(shares, expected, rtol=1e-9, atol=1e-15)
    values, _ = structured_per_box(student, teacher, owner, BOXES, LOSS_BOXES, valid=valid)
    torch.testing.assert_close(shares.sum((1, 2)), values.sum(1))


@pytest.mark.parametrize("own_labels", [False, True])
def test_class_pairs_against_a_double_loop(own_labels):
    student, teacher, owner, valid = random_case()
    labels = torch.randint(-1, 3, owner.shape) if own_labels else teacher.argmax(1)
    given = {"labels": labels, "num_classes": 3} if own_labels else {}
    matrix = class_pair_matrix(student, teacher, owner, BOXES, LOSS_BOXES, valid=valid, **given)
    expected = torch.zeros_like(matrix)
    for picture, column, places in boxes_of(owner, valid):
        squares = pair_differences(student[picture], teacher[picture], places)
        classes = [int(labels[picture, y, x]) for y, x in places]
        for first, row in zip(classes, squares, strict=True):
            for second, square in zip(classes, row, strict=True):
                if first >= 0 and second >= 0:
                    expected[picture, column, first, second] += square / len(places) ** 2
    assert (expected > 1e-3).sum() > 5
    torch.testing.assert_close(matrix, expected, rtol=1e-9, atol=1e-15)


def test_class_pairs_add_up_and_weights_make_a_loss():
    student, teacher, owner, valid = random_case()
    student.requires_grad_()
    matrix = class_pair_matrix(student, teacher, owner, BOXES, LOSS_BOXES, valid=valid)
    values, _ = structured_per_box(student, teacher, owner, BOXES, LOSS_BOXES, valid=valid)
    torch.testing.assert_close(matrix.sum((2, 3)), values)
    for mine, its in zip(*(torch.autograd.grad(loss.sum(), student) for loss in (matrix, values)), strict=True):
        torch.testing.assert_close(mine, its)
    weights = torch.rand(4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda probs: (class_pair_matrix(probs, teacher, owner, BOXES, 2, valid=valid) * weights).sum(), student
    )


def test_pixel_cosine_against_a_loop():
    student, teacher, owner, valid = random_case()
    values, visible = pixel_cosine_per_box(student, teacher, owner, BOXES, LOSS_BOXES, valid)
    for picture, column, places in boxes_of(owner, valid):
        cosines = [cosine_similarity(student[picture, :, y, x], teacher[picture, :, y, x], dim=0) for y, x in places]
        expected = sum(1 - float(cosine) for cosine in cosines) / max(len(places), 1)
        assert values[picture, column].item() == pytest.approx(expected, rel=1e-9, abs=1e-15)
        assert visible[picture, column] == len(places)


def test_pixel_cosine_has_a_gradient_also_where_a_vector_has_no_length():
    student, teacher, owner, valid = random_case()
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda probs: pixel_cosine_per_box(probs, teacher, owner, BOXES, 3, valid)[0], student
    )
    short = student.detach().float()
    short[..., :2] = 0
    short.requires_grad_()
    pixel_cosine_per_box(short, teacher.float(), owner, BOXES, 3, valid)[0].sum().backward()
    assert short.grad.isfinite().all() and short.grad.any()
