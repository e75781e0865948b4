"""The relatives of the structured loss, each against pairs of pixels taken one by one in float64."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from scl_core.losses import structured, structured_family
from scl_core.losses.structured import structured_per_box
from scl_core.losses.structured_family import (
    batch_pairs_loss,
    centred_logits,
    class_area_weights,
    class_pair_matrix,
    class_weighted_per_box,
    pixel_cosine_per_box,
    pixel_shares,
    same_width,
    soften,
    weighted_per_box,
    window_per_picture,
)
from tests.losses.test_structured import BOXES, random_case

LOSS_BOXES = 4


@pytest.fixture(params=["box by box", "by tiles"])
def way(request, monkeypatch):
    """How a CPU computes, and how a GPU does; tiles so small that every box has several."""
    monkeypatch.setattr(structured, "TILE", 4)
    monkeypatch.setattr(structured_family, "without_host", lambda device: request.param == "by tiles")


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


@pytest.mark.usefixtures("way")
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


@pytest.mark.usefixtures("way")
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


@pytest.mark.usefixtures("way")
def test_weights_of_class_pairs_against_a_double_loop():
    student, teacher, owner, valid = random_case()
    labels, weights = torch.randint(-1, 3, owner.shape), torch.rand(3, 3, dtype=torch.float64)
    student.requires_grad_()
    given = (owner, BOXES, LOSS_BOXES, weights, labels, valid)
    values = class_weighted_per_box(student, teacher, *given)
    for picture, column, places in boxes_of(owner, valid):
        squares = pair_differences(student[picture].detach(), teacher[picture], places)
        classes, weighted, total = [int(labels[picture, y, x]) for y, x in places], 0.0, 0.0
        for first, row in zip(classes, squares, strict=True):
            for second, square in zip(classes, row, strict=True):
                weight = float(weights[first, second]) if first >= 0 and second >= 0 else 0.0
                weighted, total = weighted + weight * square, total + weight
        assert values[picture, column].item() == pytest.approx(weighted / (total or 1), rel=1e-9, abs=1e-15)
    assert torch.autograd.gradcheck(lambda probs: class_weighted_per_box(probs, teacher, *given), student)
    ones = class_weighted_per_box(student, teacher, *given[:3], torch.ones(4, 4), teacher.argmax(1), valid)
    plain, _ = structured_per_box(student, teacher, owner, BOXES, LOSS_BOXES, valid=valid)
    torch.testing.assert_close(ones, plain)


def test_channels_of_zeros_change_no_similarity():
    student, teacher = torch.rand(2, 4, 3, 3), torch.rand(2, 7, 3, 3)
    padded, same = same_width(student, teacher)
    assert padded.shape == same.shape and padded.dtype == torch.float64
    for before, after in ((student, padded), (teacher, same)):
        vectors, wide = (torch.nn.functional.normalize(maps[0].flatten(1).double(), dim=0) for maps in (before, after))
        torch.testing.assert_close(vectors.T @ vectors, wide.T @ wide)
    assert same_width(student, student) == (student, student)


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


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("width", [4, 7])
def test_weighted_centred_and_of_another_width_against_matrices_of_pairs(width, centred):
    student, _, owner, valid = random_case()
    teacher, weights = torch.randn(2, width, 6, 6, dtype=torch.float64), torch.rand(2, 6, 6, dtype=torch.float64)
    student.requires_grad_()
    values = weighted_per_box(student, teacher, owner, BOXES, LOSS_BOXES, valid, weights, centred)
    for picture, column, places in boxes_of(owner, valid):
        if not places:
            assert values[picture, column] == 0
            continue
        rows, columns = zip(*places, strict=True)
        weight, similarities = weights[picture, rows, columns], []
        for maps in (student, teacher):
            vectors = torch.nn.functional.normalize(maps[picture][:, rows, columns], dim=0)
            if centred:
                vectors = vectors - (vectors @ weight / weight.sum())[:, None]
            similarities.append(vectors.T @ vectors)
        both = weight[:, None] * weight[None, :]
        expected = (both * (similarities[0] - similarities[1]) ** 2).sum() / both.sum()
        assert values[picture, column].item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-14)
    assert torch.autograd.gradcheck(
        lambda probs: weighted_per_box(probs, teacher, owner, BOXES, 2, valid, weights, centred), student
    )


@pytest.mark.parametrize(("radius", "width"), [(1, 4), (2, 4), (9, 4), (1, 6)])
def test_window_against_a_double_loop(radius, width):
    student, teacher, _, valid = random_case(pictures=2, size=5)
    teacher = teacher if width == 4 else torch.randn(2, width, 5, 5, dtype=torch.float64)
    student.requires_grad_()

    def window(probs):
        return window_per_picture(*same_width(probs, teacher), radius, valid)

    values = window(student)
    for picture in range(2):
        places = [(y, x) for y, x in valid[picture].nonzero().tolist()]
        squares = pair_differences(student[picture].detach(), teacher[picture], places)
        near = [
            squares[i][j]
            for i, (y1, x1) in enumerate(places)
            for j, (y2, x2) in enumerate(places)
            if abs(y1 - y2) <= radius and abs(x1 - x2) <= radius
        ]
        assert values[picture].item() == pytest.approx(sum(near) / len(near), rel=1e-9)
    assert torch.autograd.gradcheck(window, student)


@pytest.mark.parametrize("width", [4, 6])
def test_pairs_of_the_batch_join_pictures_and_ranks(width):
    student, teacher, _, valid = random_case(pictures=3)
    teacher = teacher if width == 4 else torch.randn(3, width, 6, 6, dtype=torch.float64)
    student.requires_grad_()

    def of_batch(ours, theirs, *others, **named):
        return batch_pairs_loss(*same_width(ours, theirs), *others, **named)

    vectors = [torch.nn.functional.normalize(maps.transpose(0, 1)[:, valid], dim=0) for maps in (student, teacher)]
    expected = (vectors[0].T @ vectors[0] - vectors[1].T @ vectors[1]).square().mean()
    assert of_batch(student, teacher, valid).item() == pytest.approx(expected.item(), rel=1e-9)
    (wanted,) = torch.autograd.grad(expected, student)
    shares = [slice(0, 1), slice(1, 3)]
    sent = [[], []]
    for rank, part in enumerate(shares):
        of_batch(
            student[part], teacher[part], valid[part], lambda tensor, rank=rank: sent[rank].append(tensor) or tensor
        )
    sums = [sum(both).detach() for both in zip(*sent, strict=True)]
    got = torch.zeros_like(student)
    for part in shares:
        answer = iter(sums).__next__
        loss = of_batch(student[part], teacher[part], valid[part], lambda _, answer=answer: answer(), ranks=2)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
        got += torch.autograd.grad(loss, student)[0] / 2
    torch.testing.assert_close(got, wanted)


def test_temperature_and_logits_from_probabilities():
    logits = torch.randn(2, 4, 3, 3, dtype=torch.float64) * 4
    torch.testing.assert_close(soften(logits.softmax(1), 2.5), (logits / 2.5).softmax(1))
    torch.testing.assert_close(centred_logits(logits.softmax(1)), logits - logits.mean(1, keepdim=True))


def test_class_area_weights_count_pixel_by_pixel():
    _, teacher, owner, valid = random_case()
    weights, classes = class_area_weights(teacher, owner, BOXES, valid), teacher.argmax(1)
    for picture, y, x in ((owner >= 0) & valid).nonzero().tolist():
        same = (owner[picture] == owner[picture, y, x]) & (classes[picture] == classes[picture, y, x]) & valid[picture]
        assert weights[picture, y, x].item() == pytest.approx(1 / same.sum().item())
