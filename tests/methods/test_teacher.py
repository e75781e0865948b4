import pytest
import torch

from scl_core.methods.scl import Scl, SclConfig
from scl_core.methods.supervised import Supervised, SupervisedConfig
from scl_core.methods.teacher import decay_of, restart_step
from tests.methods.mixing import small_network


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
