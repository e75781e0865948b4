import pytest
import torch
from torch import nn

from scl_core.command_line import run_command
from scl_core.restore import restore
from scl_core.train import main as train
from scl_core.training.recalibration import recalibrate
from tests.tiny import assert_bitwise_equal, checkpoint_tensors, metrics, tiny_options, without_times

SETTINGS = {"method__teacher_bn": "recalibrate", "method__ema_time": 0.5, "train__gradient_terms_every": 2}


def buffers(tensors, network):
    return {key: value for key, value in tensors.items() if key.startswith(f"{network}:") and "running" in key}


def test_statistics_are_the_means_over_the_batches():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout2d(0.5)).eval()
    batches = [torch.randn(3, 3, 5, 4) + number for number in range(4)]
    with torch.no_grad():
        values = [network[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    recalibrate(network, iter(batches))
    torch.testing.assert_close(network[1].running_mean, torch.stack([v.mean(1) for v in values]).mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([v.var(1) for v in values]).mean(0))
    assert network[1].momentum == 0.1 and not any(part.training for part in network.modules())


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = tmp_path_factory.mktemp("straight") / "run"
    assert run_command(train, tiny_options(run, **SETTINGS)) == 0
    return run


def test_a_checkpoint_holds_them_and_the_student_keeps_its_own(straight):
    tensors = checkpoint_tensors(straight, 6)
    teacher, student = (list(buffers(tensors, name).values()) for name in ("teacher", "student"))
    assert len(teacher) == len(student) > 10
    assert not any(torch.equal(a, b) for a, b in zip(teacher, student, strict=True) if a.numel() > 1)
    restored = restore(straight).method.teacher.model.state_dict()
    assert all(torch.equal(restored[key.split(":")[1]], value) for key, value in buffers(tensors, "teacher").items())


def test_stopped_and_resumed_is_bitwise_the_uninterrupted_run(straight, tmp_path):
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, train__stop_at=3, **SETTINGS)) == 0
    assert run_command(train, ["--resume", str(run)]) == 0
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(straight, 6))
    assert without_times(metrics(run)) == without_times(metrics(straight))


def test_how_often_it_is_done_changes_no_step(straight, tmp_path):
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, train__evaluate_every=6, train__checkpoint_every=6, **SETTINGS)) == 0
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(straight, 6))
    assert without_times(metrics(run)) == without_times(metrics(straight))
