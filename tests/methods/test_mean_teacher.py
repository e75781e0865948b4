"""Mean teacher: worked values, what it must not move, its settings, a run that goes on."""

import pytest
import torch

from scl_core.losses import consistency_loss
from scl_core.methods import StepDraws
from scl_core.methods.mean_teacher import MeanTeacher, MeanTeacherConfig
from tests.methods.mixing import random_batch, refusal, small_network

DRAWS = StepDraws(seed=4, step=1)


def method_with(**settings):
    method = MeanTeacher(small_network(), MeanTeacherConfig(ramp=0.0, **settings), steps=10)
    method.teacher.model.load_state_dict(small_network(seed=1).state_dict())
    return method


def test_worked_value():
    student, teacher = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    student[0, 0, 0, 1] = teacher[0, 0, 0, 0] = 2.0
    assert consistency_loss(student.softmax(1), teacher.softmax(1)).item() == pytest.approx(0.290013, abs=5e-7)


def test_consistency_is_that_of_the_two_views():
    method, batch = method_with(), random_batch()
    views = batch.unlabeled_a
    student, teacher = method.student(views.strong[0]), method.teacher.model(views.weak)
    expected = consistency_loss(student.logits.softmax(1), teacher.logits.softmax(1), views.valid)
    assert method(batch, DRAWS)["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_labeled_pictures_join_where_they_have_a_label():
    method, batch = method_with(on_labeled=True), random_batch()
    batch.labels[0, :5] = 255
    views = batch.unlabeled_a
    pictures = torch.cat([views.strong[0], batch.images]), torch.cat([views.weak, batch.images])
    student, teacher = method.student(pictures[0]), method.teacher.model(pictures[1])
    valid = torch.cat([views.valid, batch.labels != 255])
    expected = consistency_loss(student.logits.softmax(1), teacher.logits.softmax(1), valid)
    assert method(batch, DRAWS)["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_equal_teacher_gives_no_loss_and_no_gradient():
    method, batch = method_with(), random_batch()
    method.teacher.model.load_state_dict(method.student.state_dict())
    batch.unlabeled_a.strong = (batch.unlabeled_a.weak,)
    loss = method(batch, DRAWS)["consistency"]
    loss.backward()
    assert loss.item() < 1e-12
    assert all(parameter.grad.abs().max() < 1e-6 for parameter in method.student.parameters())


def test_teacher_gets_no_gradient():
    method = method_with(on_labeled=True)
    sum(method(random_batch(), DRAWS).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad.any() for parameter in method.student.parameters())


@pytest.mark.parametrize(("decay", "same_as"), [(1.0, "before"), (0.0, "student")])
def test_decay_one_freezes_the_teacher_and_zero_copies_the_student(decay, same_as):
    method = method_with(ema_decay=decay, ema_warmup=False)
    expected = {
        "before": [parameter.clone() for parameter in method.teacher.model.parameters()],
        "student": list(method.student.parameters()),
    }[same_as]
    method.after_step(1)
    assert all(map(torch.equal, method.teacher.model.parameters(), expected))


def test_void_labels_and_one_picture_give_finite_terms():
    batch = random_batch(count=1)
    batch.labels.fill_(255)
    terms = method_with(on_labeled=True)(batch, DRAWS)
    assert terms["supervised"] == 0 and all(term.isfinite() and term >= 0 for term in terms.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__ema_decay": 1.5}, "method.ema_decay"),
        ({"method__num_boxes": 2}, "unknown setting method.num_boxes of method mean_teacher"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, method__name="mean_teacher", **changes)
