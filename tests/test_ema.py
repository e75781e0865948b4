import copy

import pytest
import torch
from torch import nn

from scl_core.ema import EmaTeacher


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def disturb(module: nn.Module) -> None:
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor += torch.randn_like(tensor) if tensor.is_floating_point() else 3


def same_state(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == like and torch.equal(a, b) for (name, a), (like, b) in pairs)


def test_floats_are_averaged_integers_copied():
    student = network()
    teacher = EmaTeacher(student, decay=0.9)
    before = copy.deepcopy(teacher.model.state_dict())
    disturb(student)
    teacher.update(student)
    for name, tensor in teacher.model.state_dict().items():
        new = student.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * new if tensor.is_floating_point() else new
        torch.testing.assert_close(tensor, expected)
    assert teacher.model[1].num_batches_tracked == 3


def test_many_updates_against_a_plain_loop_in_float64():
    student = network().double()
    teacher = EmaTeacher(student, decay=0.7)
    weight = student[0].weight.detach().clone()
    for _ in range(20):
        disturb(student)
        teacher.update(student)
        weight = 0.7 * weight + 0.3 * student[0].weight.detach()
    assert teacher.model[0].weight.dtype == torch.float64
    torch.testing.assert_close(teacher.model[0].weight, weight, rtol=1e-13, atol=1e-13)


def test_warmup_is_the_plain_mean_until_the_decay_takes_over():
    student = nn.Linear(1, 1, bias=False).double()
    teacher = EmaTeacher(student, decay=0.75, warmup=True)
    values, expected = [4.0, 2.0, 9.0, 1.0, 5.0, 7.0], 0.0
    for k, value in enumerate(values):
        nn.init.constant_(student.weight, value)
        teacher.update(student)
        decay = min(1 - 1 / (k + 1), 0.75)
        expected = decay * expected + (1 - decay) * value
        assert teacher.model.weight.item() == pytest.approx(expected)
        if k < 4:
            assert teacher.model.weight.item() == pytest.approx(sum(values[: k + 1]) / (k + 1))


@pytest.mark.parametrize(
    ("update", "decay"), [(0, 0.0), (1, 0.5), (2, 2 / 3), (9, 0.9), (98, 98 / 99), (99, 0.99), (500, 0.99)]
)
def test_the_decay_of_u2pl_and_pcr(update, decay):
    student = nn.Linear(1, 1, bias=False).double()
    teacher = EmaTeacher(student, decay=0.99, warmup=True)
    teacher.updates.fill_(update)
    nn.init.constant_(teacher.model.weight, 1.0), nn.init.constant_(student.weight, 0.0)
    teacher.update(student)
    assert teacher.model.weight.item() == pytest.approx(decay, abs=1e-12)


def test_the_first_warm_update_copies_the_student_exactly():
    student = network()
    teacher = EmaTeacher(student, warmup=True)
    disturb(student)
    teacher.update(student)
    assert same_state(teacher.model, student)


def test_a_restored_teacher_continues_where_it_stopped():
    student = network()
    straight = EmaTeacher(student, decay=0.99, warmup=True)
    for _ in range(3):
        disturb(student)
        straight.update(student)
    resumed = EmaTeacher(network(), decay=0.99, warmup=True)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    disturb(student)
    straight.update(student)
    resumed.update(student)
    assert int(resumed.updates) == 4
    assert same_state(resumed, straight)


def test_the_teacher_is_frozen_and_stays_in_eval_mode_inside_a_training_module():
    student = network().train()
    holder = nn.ModuleDict({"student": student, "teacher": EmaTeacher(student)}).train()
    assert student.training and not any(module.training for module in holder["teacher"].modules())
    assert not any(parameter.requires_grad for parameter in holder["teacher"].parameters())
    running_mean = holder["teacher"].model[1].running_mean.clone()
    holder["teacher"].model(torch.randn(4, 3, 5, 5))
    assert torch.equal(holder["teacher"].model[1].running_mean, running_mean)


def test_the_student_is_left_alone_and_alone_has_a_gradient():
    student = network()
    teacher = EmaTeacher(student, decay=0.5)
    disturb(student)
    before = copy.deepcopy(student)
    teacher.update(student)
    assert same_state(student, before)
    (student(torch.randn(2, 3, 4, 4)) - teacher.model(torch.randn(2, 3, 4, 4))).sum().backward()
    assert student[0].weight.grad is not None and teacher.model[0].weight.grad is None


def test_a_shared_weight_moves_once():
    student = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    student[1].weight = student[0].weight
    nn.init.zeros_(student[0].weight)
    teacher = EmaTeacher(student, decay=0.5)
    nn.init.ones_(student[0].weight)
    teacher.update(student)
    assert (teacher.model[0].weight == 0.5).all()


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="0.bias"):
        EmaTeacher(nn.Sequential(nn.Linear(2, 2, bias=False))).update(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        EmaTeacher(network(), decay=decay)


def test_buffers_may_be_copied_instead():
    student = network()
    teacher = EmaTeacher(student, decay=0.9, buffers="copy")
    weight = student[0].weight.detach().clone()
    disturb(student)
    teacher.update(student)
    assert torch.equal(teacher.model[1].running_var, student[1].running_var)
    torch.testing.assert_close(teacher.model[0].weight, 0.9 * weight + 0.1 * student[0].weight.detach())


def test_it_can_begin_again_or_take_the_buffers_alone():
    student = network()
    teacher = EmaTeacher(student, decay=0.9)
    disturb(student)
    teacher.take_buffers(student)
    assert torch.equal(teacher.model[1].running_mean, student[1].running_mean)
    assert not torch.equal(teacher.model[0].weight, student[0].weight)
    teacher.restart(student)
    assert same_state(teacher.model, student) and teacher.updates == 1
