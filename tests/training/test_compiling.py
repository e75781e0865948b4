"""`train.compile`: the same training by torch's compiler, told, and refused where it cannot be."""

import shutil

import pytest
import torch
from torch._inductor import config as inductor

from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.train import main as train
from scl_core.training.compiling import obstacle, refuse_compiling
from tests.tiny import metrics, tiny_options, tiny_settings

NETWORK = """
import torch

def build(num_classes):
    first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    return torch.nn.Sequential(first, torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, num_classes, 1))
"""


@pytest.mark.skipif(
    not shutil.which("g++"), reason="torch compiles for a CPU with a C++ compiler; this machine has none"
)
def test_compiled_training_has_the_same_losses_and_says_how_long_it_compiled(tmp_path, monkeypatch, capsys):
    (tmp_path / "small_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inductor, "compile_threads", 1)
    rows = {}
    for compiled in (False, True):
        torch.compiler.reset()
        settings = {"train__compile": compiled, "train__stop_at": 2, "method__name": "supervised"}
        options = tiny_options(tmp_path / str(compiled), model__encoder="small_network:build", **settings)
        assert run_command(train, options) == 0, capsys.readouterr().err
        rows[compiled] = metrics(tmp_path / str(compiled))
    for plain, fast in zip(rows[False], rows[True], strict=True):
        assert fast["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    log = (tmp_path / "True" / "log.txt").read_text()
    assert "wait for the compiler" in log and "s of compiling" in log
    assert "train.compile" not in (tmp_path / "False" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("world", "changes", "said"),
    [
        (World(size=2), {}, "use one process"),
        (World(), {"model__checkpoint_activations": True}, "set model.checkpoint_activations to false"),
        (World(device=torch.device("mps")), {}, "use device cpu"),
    ],
)
def test_refused_in_one_line_with_what_to_do(world, changes, said):
    config = load_config([], tiny_settings(train__compile=True, **changes))
    with pytest.raises(UserError, match=said) as caught:
        refuse_compiling(config, world)
    assert "\n" not in str(caught.value)
    refuse_compiling(load_config([], tiny_settings(**changes)), world)


def test_a_machine_without_compiler_is_told_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "install one" in obstacle(load_config([], tiny_settings(train__compile=True)), World())
