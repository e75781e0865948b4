import pytest
import torch
from torch.nn.functional import cosine_similarity, one_hot

from scl_core.cutmix import box_owner, sample_boxes
from scl_core.losses import structured
from scl_core.losses.structured import (
    cosine_similarity_matrix,
    similarity_row,
    structured_consistency_loss,
    structured_per_box,
    sum_of_boxes,
)

BOXES = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_probs(*shape, sharpness=1.5):
    return (torch.randn(shape, dtype=torch.float64) * sharpness).softmax(1)


def random_case(pictures=2, classes=4, size=6):
    """Student, teacher, owner and valid pixels of small mixed pictures."""
    owners = [box_owner(sample_boxes(size, size, BOXES, 0.8, "sum", seeded(n)), size, size) for n in range(pictures)]
    student, teacher = random_probs(pictures, classes, size, size), random_probs(pictures, classes, size, size)
    return student, teacher, torch.stack(owners), torch.rand(pictures, size, size) < 0.8


def one_box(student_pixels, teacher_pixels):
    """Arguments for a picture that is a single box; pixels [P, C]."""
    student, teacher = (pixels.T[None, :, None, :] for pixels in (student_pixels, teacher_pixels))
    return student, teacher, torch.zeros(1, 1, len(student_pixels), dtype=torch.long), 1, 1


def by_double_loop(student, teacher, owner, box, valid):
    """Eq. 8's mean over the pairs of one box of one picture, pair by pair."""
    places = [(y, x) for y, x in (owner == box).nonzero().tolist() if valid[y, x]]
    total = 0.0
    for y1, x1 in places:
        for y2, x2 in places:
            of_student = cosine_similarity(student[:, y1, x1], student[:, y2, x2], dim=0)
            of_teacher = cosine_similarity(teacher[:, y1, x1], teacher[:, y2, x2], dim=0)
            total += float((of_student - of_teacher) ** 2)
    return total / max(len(places), 1) ** 2


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_loss_boxes", [0, 2, BOXES])
def test_every_box_against_a_double_loop(num_loss_boxes, masked):
    student, teacher, owner, valid = random_case()
    valid = valid if masked else torch.ones_like(valid)
    values, visible = structured_per_box(student, teacher, owner, BOXES, num_loss_boxes, valid=valid)
    for picture in range(2):
        for column, box in enumerate(range(BOXES - num_loss_boxes, BOXES)):
            expected = by_double_loop(student[picture], teacher[picture], owner[picture], box, valid[picture])
            assert values[picture, column].item() == pytest.approx(expected, rel=1e-9, abs=1e-15)
            assert visible[picture, column] == ((owner[picture] == box) & valid[picture]).sum()
    assert values.shape == visible.shape == (2, num_loss_boxes) and visible.dtype == torch.int64


def test_boxes_are_added_or_averaged_and_pictures_are_averaged():
    student, teacher, owner, valid = random_case()
    values, _ = structured_per_box(student, teacher, owner, BOXES, 3, valid=valid)
    added = structured_consistency_loss(student, teacher, owner, BOXES, 3, valid=valid)
    averaged = structured_consistency_loss(student, teacher, owner, BOXES, 3, valid=valid, box_reduction="mean")
    assert added.item() == pytest.approx(values.sum(1).mean().item())
    assert averaged.item() == pytest.approx(added.item() / 3)
    total, count = sum_of_boxes(values)
    assert count.dtype == torch.int64 and (total / count).item() == pytest.approx(added.item())


def test_two_pixels_by_hand():
    # similarities: student [[1, 0], [0, 1]], teacher all 1; two of four pairs differ by 1
    student, teacher = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert structured_consistency_loss(*one_box(student, teacher)).item() == 0.5


@pytest.mark.parametrize("max_pairs", [None, 3, 20])
def test_gradient(max_pairs):
    student, teacher, owner, valid = random_case()
    student.requires_grad_()

    def loss(probs):
        values, _ = structured_per_box(probs, teacher, owner, BOXES, 4, max_pairs, seeded(3), valid)
        return (values * torch.arange(1, 5)).sum()

    assert torch.autograd.gradcheck(loss, student)


def test_no_gradient_for_the_teacher_or_outside_the_boxes():
    student, teacher, owner, valid = random_case()
    student.requires_grad_(), teacher.requires_grad_()
    structured_consistency_loss(student, teacher, owner, BOXES, 3, valid=valid).backward()
    compared = (owner >= BOXES - 3) & valid
    assert teacher.grad is None
    assert (student.grad.movedim(1, -1)[~compared] == 0).all() and (student.grad.movedim(1, -1)[compared] != 0).any()


@pytest.mark.parametrize("max_pairs", [None, 20])
@pytest.mark.parametrize("masked", [False, True])
def test_the_way_of_a_gpu_gives_the_same(monkeypatch, masked, max_pairs):
    student, teacher, owner, valid = random_case(size=12)
    monkeypatch.setattr(structured, "TILE", 8)
    results = []
    for tiles in (False, True):
        monkeypatch.setattr(structured, "without_host", lambda device, tiles=tiles: tiles)
        probs = student.clone().requires_grad_()
        mask = valid if masked else None
        values, visible = structured_per_box(probs, teacher, owner, BOXES, 4, max_pairs, seeded(1), mask)
        (values * torch.arange(1, 5)).sum().backward()
        results.append((values, visible, probs.grad))
    assert len(set(results[0][1][0].tolist())) > 1, "boxes of different sizes, so that padding matters"
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("band", [1, 7, 50])
def test_bands_change_nothing(monkeypatch, band):
    student, teacher, owner, valid = random_case(size=12)
    owner[0] = torch.randint(-1, BOXES, (12, 12))  # scattered pixels, no rectangles
    results = []
    for pixels in (10**6, band):
        monkeypatch.setattr(structured, "BAND", pixels)
        probs = student.clone().requires_grad_()
        values, _ = structured_per_box(probs, teacher, owner, BOXES, 4, valid=valid)
        (values * torch.arange(1, 5)).sum().backward()
        results.append((values, probs.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("storage", ["channels last", "transposed"])
def test_storage_order_changes_nothing(storage):
    student, teacher, owner, _ = random_case()
    expected = torch.autograd.functional.vjp(
        lambda probs: structured_consistency_loss(probs, teacher, owner, BOXES, 3), student
    )
    stored = student.contiguous(memory_format=torch.channels_last)
    if storage == "transposed":
        stored = student.mT.contiguous().mT
    got = torch.autograd.functional.vjp(
        lambda probs: structured_consistency_loss(probs, teacher, owner, BOXES, 3), stored
    )
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("difference", [1e-1, 1e-3, 1e-5])
def test_float32_keeps_its_digits_close_to_the_teacher(difference):
    logits = torch.randn(1, 19, 40, 40, dtype=torch.float64)
    moved = logits + difference * torch.randn_like(logits)
    student, teacher = moved.softmax(1).float(), logits.softmax(1).float()
    owner = torch.zeros(1, 40, 40, dtype=torch.long)
    exact = structured_consistency_loss(student.double(), teacher.double(), owner, 1, 1)
    assert structured_consistency_loss(student, teacher, owner, 1, 1).item() == pytest.approx(exact.item(), rel=1e-4)


def test_the_drawn_pairs_are_unbiased():
    student, teacher, owner, valid = random_case(pictures=1, size=12)
    exact, visible = structured_per_box(student, teacher, owner, BOXES, BOXES, valid=valid)
    generator, pairs, repeats = seeded(7), 5, 1000
    draws = torch.stack(
        [
            structured_per_box(student, teacher, owner, BOXES, BOXES, pairs, generator, valid)[0][0]
            for _ in range(repeats)
        ]
    )
    assert (visible[0] ** 2 > pairs).sum() >= 3
    standard_error = draws.std(0) / repeats**0.5
    assert ((draws.mean(0) - exact[0]).abs() <= 4 * standard_error + 1e-12).all()
    assert (draws.std(0)[visible[0] ** 2 > pairs] > 0).all()


def test_pairs_enough_for_a_box_are_all_of_them():
    student, teacher, owner, _ = random_case()
    exact, visible = structured_per_box(student, teacher, owner, BOXES, BOXES)
    enough = int(visible.max()) ** 2
    drawn, _ = structured_per_box(student, teacher, owner, BOXES, BOXES, enough, seeded())
    assert torch.equal(drawn, exact)
    fewer, _ = structured_per_box(student, teacher, owner, BOXES, BOXES, enough - 1, seeded())
    assert not torch.equal(fewer, exact)


def test_a_draw_belongs_to_its_generator_whatever_the_batch():
    student, teacher, owner, _ = random_case(pictures=3, size=12)
    whole, _ = structured_per_box(student, teacher, owner, BOXES, 4, 10, [seeded(n) for n in range(3)])
    alone, _ = structured_per_box(student[2:], teacher[2:], owner[2:], BOXES, 4, 10, seeded(2))
    torch.testing.assert_close(whole[2:], alone)
    again, _ = structured_per_box(student, teacher, owner, BOXES, 4, 10, [seeded(n) for n in range(3)])
    assert torch.equal(again, whole)


def test_a_box_with_more_pairs_than_an_int32_holds():
    count = 70_000
    drawn = structured.draw_pairs(count, 9000, seeded())
    assert drawn.dtype == torch.int64 and drawn.shape == (2, 9000)
    assert drawn.min() >= 0 and drawn.max() < count
    assert torch.allclose(drawn.double().mean(1) / count, torch.full((2,), 0.5, dtype=torch.float64), atol=0.01)
    probs = torch.rand(1, 3, 200, 350).softmax(1)
    loss = structured_consistency_loss(
        probs, probs.flip(1), torch.zeros(1, 200, 350, dtype=torch.long), 1, 1, 9000, seeded()
    )
    assert loss.isfinite()


def test_a_whole_picture_is_exact_without_a_matrix_of_its_pairs():
    # 65,536 pixels: the matrices of their pairs would need 34 GB
    student, teacher = random_probs(1, 3, 256, 256).float(), random_probs(1, 3, 256, 256).float()
    owner = torch.zeros(1, 256, 256, dtype=torch.long)
    exact = structured_consistency_loss(student, teacher, owner, 1, 1)
    drawn = structured_consistency_loss(student, teacher, owner, 1, 1, 200_000, seeded())
    assert drawn.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize("max_pairs", [None, 20])
def test_identical_predictions_give_exactly_zero_with_a_zero_gradient(max_pairs):
    probs, _, owner, _ = random_case()
    student = probs.float().requires_grad_()
    loss = structured_consistency_loss(student, student.detach().clone(), owner, BOXES, 4, max_pairs, seeded())
    loss.backward()
    assert loss.item() == 0.0 and (student.grad == 0).all()


def test_renamed_classes_and_constant_outputs_are_no_difference():
    student, teacher, owner, _ = random_case()
    renamed = structured_consistency_loss(student, student[:, [2, 0, 3, 1]], owner, BOXES, BOXES)
    constants = (probs[:, :, :1, :1].expand_as(probs) for probs in (student, teacher))
    assert renamed.item() == pytest.approx(0, abs=1e-14)
    assert structured_consistency_loss(*constants, owner, BOXES, BOXES).item() == pytest.approx(0, abs=1e-14)


def test_lengths_of_the_predictions_do_not_matter():
    student, teacher, owner, _ = random_case()
    lengths = torch.rand(2, 1, 6, 6, dtype=torch.float64) * 100 + 0.01
    got = structured_consistency_loss(student * lengths, teacher, owner, BOXES, 3)
    assert got.item() == pytest.approx(structured_consistency_loss(student, teacher, owner, BOXES, 3).item(), rel=1e-9)


def test_hard_labels_give_one_minus_the_rand_index():
    maps = torch.randint(0, 3, (2, 50))
    student, teacher = one_hot(maps, 3).double()
    same = [labels[:, None] == labels[None, :] for labels in maps]
    disagreeing = (same[0] != same[1]).double().mean()
    assert structured_consistency_loss(*one_box(student, teacher)).item() == pytest.approx(disagreeing.item())


@pytest.mark.parametrize("max_pairs", [None, 1, 4])
def test_a_covered_box_and_a_box_of_one_pixel_add_exactly_nothing(max_pairs):
    student, teacher, _, _ = random_case(pictures=1)
    owner = box_owner(torch.tensor([[0, 0, 6, 3], [2, 1, 1, 1], [1, 1, 3, 2], [5, 5, 1, 1]]), 6, 6)[None]
    student.requires_grad_()
    values, visible = structured_per_box(student, teacher, owner, 4, 4, max_pairs, seeded())
    assert visible.tolist() == [[12, 0, 6, 1]]
    assert (values[0, [1, 3]] == 0).all() and (values[0, [0, 2]] > 0).all()
    (gradient,) = torch.autograd.grad(values[0, [1, 3]].sum(), student)
    assert (gradient == 0).all()


EMPTY = {
    "no pairs": {"max_pairs": 0},
    "no loss boxes": {"num_loss_boxes": 0},
    "nothing valid": {"valid": torch.zeros(2, 6, 6, dtype=torch.bool)},
    "no boxes": {"owner": torch.full((2, 6, 6), -1), "num_boxes": 0, "num_loss_boxes": 0},
    "nothing visible": {"owner": torch.full((2, 6, 6), -1)},
}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("case", EMPTY)
def test_whatever_is_empty_gives_zero_with_a_connected_gradient(case, reduction):
    student, teacher, owner, _ = random_case()
    student.requires_grad_()
    options = {"owner": owner, "num_boxes": BOXES, "num_loss_boxes": 3, "box_reduction": reduction} | EMPTY[case]
    loss = structured_consistency_loss(student, teacher, **options)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(student.grad, torch.zeros_like(student))


def test_an_empty_batch_gives_zero():
    nothing = torch.zeros(0, 3, 4, 4, requires_grad=True)
    loss = structured_consistency_loss(nothing, nothing, torch.zeros(0, 4, 4, dtype=torch.long), 2, 2)
    loss.backward()
    assert loss.item() == 0.0 and nothing.grad.shape == nothing.shape


@pytest.mark.parametrize("max_pairs", [None, 30])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-8])
def test_vectors_without_a_length_give_no_nan(value, max_pairs):
    dtype = torch.float16 if value == 1e-8 else torch.float32
    student, teacher, owner, _ = random_case()
    student, teacher = student.to(dtype), teacher.to(dtype)
    student[..., :3] = value
    student.requires_grad_()
    loss = structured_consistency_loss(student, teacher, owner, BOXES, BOXES, max_pairs, seeded())
    loss.backward()
    assert loss.isfinite() and loss >= 0 and student.grad.isfinite().all()
    assert (student.grad[..., :3] == 0).all()


def test_a_box_never_exceeds_the_largest_squared_difference():
    signs = torch.randn(1, 3, 40, 50)
    values, _ = structured_per_box(signs, -signs.roll(1, 2), torch.zeros(1, 40, 50, dtype=torch.long), 1, 1)
    assert 0 <= values.item() <= 4
    student, teacher = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert structured_consistency_loss(*one_box(student, teacher)).item() == pytest.approx(2.0)


def test_autocast_and_half_inputs_are_computed_in_float32():
    student, teacher, owner, _ = random_case()
    student, teacher = student.bfloat16(), teacher.bfloat16()
    expected = structured_consistency_loss(student.double(), teacher.double(), owner, BOXES, 3).item()
    student.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = structured_consistency_loss(student, teacher, owner, BOXES, 3)
    loss.backward()
    assert loss.dtype == torch.float32 and student.grad.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(expected, rel=1e-5)


MISTAKES = {
    "num_loss_boxes is 6": {"num_loss_boxes": 6},
    "num_loss_boxes is -1": {"num_loss_boxes": -1},
    "max_pairs is -1": {"max_pairs": -1},
    "box_reduction is 'max'": {"box_reduction": "max"},
    "not below num_boxes = 2": {"num_boxes": 2, "num_loss_boxes": 1},
    r"owner is \[6, 6\]": {"owner": torch.zeros(6, 6, dtype=torch.long)},
    r"valid is \[1, 6, 6\]": {"valid": torch.ones(1, 6, 6, dtype=torch.bool)},
    r"teacher \[2, 3, 6, 6\]": {"teacher": random_probs(2, 3, 6, 6)},
    "3 generators for 2 pictures": {"generator": [torch.Generator() for _ in range(3)]},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_refused(message):
    student, teacher, owner, _ = random_case()
    options = {"teacher": teacher, "owner": owner, "num_boxes": BOXES, "num_loss_boxes": 3} | MISTAKES[message]
    with pytest.raises(ValueError, match=message):
        structured_consistency_loss(student, **options)


def test_similarities_for_the_eye():
    probs = random_probs(1, 4, 1, 30)[0, :, 0]
    matrix = cosine_similarity_matrix(probs)
    expected = cosine_similarity(probs[:, :, None], probs[:, None, :], dim=0)
    torch.testing.assert_close(matrix, expected)
    torch.testing.assert_close(similarity_row(probs, 7), expected[7])
