import pytest
import torch

from scl_core.losses.consistency import consistency_loss, consistency_sum


def random_probs(*shape):
    return torch.randn(shape, dtype=torch.float64).softmax(1)


def by_double_loop(student, teacher, valid):
    total, count = 0.0, 0
    for picture in range(len(student)):
        for y in range(student.shape[2]):
            for x in range(student.shape[3]):
                if valid[picture, y, x]:
                    difference = student[picture, :, y, x] - teacher[picture, :, y, x]
                    total += float((difference * difference).sum())
                    count += 1
    return total / count


@pytest.mark.parametrize("masked", [False, True])
def test_against_a_double_loop(masked):
    student, teacher = random_probs(2, 4, 6, 6), random_probs(2, 4, 6, 6)
    valid = torch.rand(2, 6, 6) < 0.6 if masked else torch.ones(2, 6, 6, dtype=torch.bool)
    got = consistency_loss(student, teacher, valid if masked else None)
    assert got.item() == pytest.approx(by_double_loop(student, teacher, valid), rel=1e-12)


def test_opposite_certain_predictions_give_two():
    student = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    assert consistency_loss(student, 1 - student).item() == 2.0


def test_gradient_and_that_the_teacher_has_none():
    student = random_probs(2, 3, 4, 4).requires_grad_()
    teacher = random_probs(2, 3, 4, 4).requires_grad_()
    valid = torch.rand(2, 4, 4) < 0.5
    assert torch.autograd.gradcheck(lambda s: consistency_loss(s, teacher, valid), student)
    consistency_loss(student, teacher, valid).backward()
    assert teacher.grad is None
    assert (student.grad[~valid.unsqueeze(1).expand_as(student)] == 0).all()


def test_identical_predictions_give_exactly_zero():
    probs = random_probs(1, 5, 6, 6).float()
    assert consistency_loss(probs, probs.clone()).item() == 0.0


def test_no_valid_pixel_gives_zero_with_a_connected_gradient():
    student = random_probs(1, 3, 4, 4).requires_grad_()
    loss = consistency_loss(student, random_probs(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(student.grad, torch.zeros_like(student))


def test_padding_without_a_number_does_not_reach_the_loss():
    student = random_probs(1, 3, 2, 2)
    student[..., 1] = torch.nan
    valid = torch.tensor([[[True, False], [True, False]]])
    assert consistency_loss(student, random_probs(1, 3, 2, 2), valid).isfinite()


def test_sums_of_parts_make_the_whole():
    student, teacher, valid = random_probs(3, 4, 5, 5), random_probs(3, 4, 5, 5), torch.rand(3, 5, 5) < 0.5
    parts = [consistency_sum(student[part], teacher[part], valid[part]) for part in (slice(0, 1), slice(1, 3))]
    total, count = map(sum, zip(*parts, strict=True))
    assert count.dtype == torch.int64
    assert (total / count).item() == pytest.approx(consistency_loss(student, teacher, valid).item(), rel=1e-12)


def test_half_precision_is_computed_in_float32():
    student, teacher = random_probs(1, 4, 6, 6).half(), random_probs(1, 4, 6, 6).half()
    got = consistency_loss(student, teacher)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(consistency_loss(student.double(), teacher.double()).item(), rel=1e-6)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="student"):
        consistency_loss(random_probs(1, 3, 2, 2), random_probs(1, 4, 2, 2))
    with pytest.raises(ValueError, match="valid"):
        consistency_loss(random_probs(1, 3, 2, 2), random_probs(1, 3, 2, 2), torch.ones(2, 2, dtype=torch.bool))
