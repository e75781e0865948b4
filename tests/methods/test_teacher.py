import copy
from dataclasses import fields

import pytest
import torch

from scl_core.config import load_config
from scl_core.errors import UserError
from scl_core.losses import consistency_loss
from scl_core.methods import METHODS, StepDraws
from scl_core.methods.mean_teacher import MeanTeacher, MeanTeacherConfig
from scl_core.methods.scl import Scl, SclConfig
from scl_core.methods.supervised import Supervised, SupervisedConfig
from scl_core.methods.teacher import decay_of, restart_step
from tests.conftest import build_tiny_folder
from tests.methods.mixing import assert_resumed_equals_uninterrupted, random_batch, small_network
from tests.methods.stepping import CROP, prepare


def moved(method, steps):
    """Let an optimizer's steps be random changes of the student; returns the student's weight after each."""
    seen = []
    for step in steps:
        with torch.no_grad():
            for entry in method.student.state_dict().values():
                entry += torch.randn_like(entry) if entry.is_floating_point() else 1
        method.after_step(step)
        seen.append(next(method.student.parameters()).detach().clone())
    return seen


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_time_constant_is_a_share_of_the_steps():
    assert decay_of(SclConfig(ema_time=0.015), 65_000) == pytest.approx(1 - 1 / 975)
    assert decay_of(SclConfig(ema_time=0.5, ema_decay=0.1), 4) == pytest.approx(0.5)
    assert decay_of(SclConfig(ema_decay=0.9), 1000) == 0.9
    assert decay_of(SclConfig(ema_time=0.001), 10) == 0.0  # less than a step: the student itself
    assert Supervised(small_network(), SupervisedConfig(ema_time=0.1), 100).teacher.decay == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"ema_time": 0.1, "start": 0.25}, 5),
        ({"ema_time": 0.1}, 0),
        ({"start": 0.25}, 0),
        ({"ema_time": 0.1, "start": 1.0}, 0),
    ],
)
def test_the_teacher_begins_again_where_the_unlabeled_part_does(settings, step):
    assert restart_step(SclConfig(**settings), 20) == step


@pytest.mark.parametrize("warmup", [False, True])
def test_it_is_copied_then_and_averages_from_there(warmup):
    method = Scl(small_network(), SclConfig(ema_time=0.2, start=0.25, ema_warmup=warmup), steps=20)
    moved(method, range(1, 5))
    assert not same(method.teacher.model, method.student)
    average = moved(method, [5])[0]
    assert same(method.teacher.model, method.student)
    for k, weight in enumerate(moved(method, range(6, 12)), start=1):
        decay = min(1 - 1 / (k + 1), 0.75) if warmup else 0.75
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(next(method.teacher.model.parameters()), average)


@pytest.mark.parametrize("step", [3, 5, 8])
def test_a_checkpoint_goes_on_with_the_same_average(step):
    config = SclConfig(ema_time=0.2, start=0.25)
    straight, resumed = (Scl(small_network(), config, steps=20) for _ in range(2))
    moved(straight, range(1, step + 1))
    resumed.load_tensors(straight.tensors(), step)
    assert resumed.teacher.updates == straight.teacher.updates


def test_copied_statistics_are_the_students():
    method = Scl(small_network(norm=True), SclConfig(teacher_bn="copy", ema_warmup=False), steps=10)
    moved(method, range(1, 4))
    teacher, student = dict(method.teacher.model.named_buffers()), dict(method.student.named_buffers())
    assert any("running_var" in name for name in student)
    assert all(torch.equal(teacher[name], student[name]) for name in student)
    assert not torch.equal(next(method.teacher.model.parameters()), next(method.student.parameters()))


def test_own_statistics_move_by_a_pass_of_the_teacher_and_by_nothing_else():
    method, batch = (
        MeanTeacher(small_network(norm=True), MeanTeacherConfig(teacher_bn="own", ramp=0.0), 10),
        random_batch(),
    )
    moved(method, [1])
    twin = copy.deepcopy(method.teacher.model)
    values = twin.first[0](torch.cat([batch.images, batch.unlabeled_a.weak])).transpose(0, 1).flatten(1)
    norm = twin.first[1]
    norm.running_mean = 0.9 * norm.running_mean + 0.1 * values.mean(1)
    norm.running_var = 0.9 * norm.running_var + 0.1 * values.var(1)
    terms = method(batch, StepDraws(4, 2))
    found = method.teacher.model.first[1]
    torch.testing.assert_close((found.running_mean, found.running_var), (norm.running_mean, norm.running_var))
    assert not found.training and all(parameter.grad is None for parameter in method.teacher.parameters())
    student = method.student(torch.cat([batch.images, batch.unlabeled_a.strong[0]])).logits[2:].softmax(1)
    labels = twin(batch.unlabeled_a.weak).logits.softmax(1)
    expected = consistency_loss(student, labels, batch.unlabeled_a.valid)
    torch.testing.assert_close(terms["consistency"], expected)
    before, weight = found.running_mean.clone(), method.teacher.model.classifier.weight.clone()
    moved(method, [2])
    assert torch.equal(found.running_mean, before) and found.num_batches_tracked == 1
    assert not torch.equal(method.teacher.model.classifier.weight, weight)


WITH_TEACHER = [name for name in METHODS if "teacher_bn" in {f.name for f in fields(METHODS[name].config_class)}]


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_every_method_with_an_averaged_teacher_can_let_it_have_statistics_of_its_own(name, tmp_path):
    root = build_tiny_folder(tmp_path / "data", 5, 6, CROP, CROP)
    changes = {"ema_decay": 0.9} if name == "supervised" else {}
    prepared = prepare(name, root, teacher_bn="own", **changes)
    statistics = [entry for entry in prepared.method.teacher.model.named_buffers() if "running_mean" in entry[0]]
    before = [entry.clone() for _, entry in statistics]
    prepared.backward()
    assert statistics and not any(torch.equal(now, then) for (_, now), then in zip(statistics, before, strict=True))
    assert not any(part.training for part in prepared.method.teacher.model.modules())


@pytest.mark.parametrize("name", ["fixmatch", "unimatch", "cps"])
def test_a_method_without_such_a_teacher_refuses_it_and_names_those_that_have_one(name):
    with pytest.raises(UserError) as refused:
        load_config([], {"method.name": name, "method.teacher_bn": "own"})
    said = f"unknown setting method.teacher_bn of method {name}, it is one of {', '.join(WITH_TEACHER)}; the nearest is"
    assert said in str(refused.value)


def test_a_run_with_own_statistics_resumed_equals_uninterrupted(tmp_path):
    assert_resumed_equals_uninterrupted(tmp_path, method__name="scl", method__teacher_bn="own", method__ramp=0.0)
