"""The optimizers of a training: torch's own, without what makes a start slow."""

import subprocess
import sys

import pytest
import torch

from scl_core.command_line import run_command
from scl_core.config import TrainConfig
from scl_core.methods import METHODS
from scl_core.models import build_segmenter
from scl_core.train import main as train
from scl_core.training.optimizer import (
    build_optimizer,
    limit_gradients,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from tests.conftest import ROOT
from tests.methods.mixing import assert_resumed_equals_uninterrupted
from tests.tiny import assert_bitwise_equal, checkpoint_tensors, tiny_options

SLOW_TO_IMPORT = {"torch._dynamo", "scipy", "skimage", "torch._inductor"}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_first_step_imports_neither_compiler_nor_scipy(tmp_path, name):
    options = tiny_options(tmp_path / "run", train__stop_at=1, train__optimizer=name)
    script = f"import sys; from scl_core.train import main; main({options}); "
    script += f"print(sorted({SLOW_TO_IMPORT} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_steps_are_those_of_torch(name):
    settings = TrainConfig(optimizer=name, learning_rate=0.05, weight_decay=0.1)
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    ours, groups = build_optimizer(layers[0], settings), []
    for layer_parameters, decay in (([layers[1].weight], 0.1), ([layers[1].bias], 0.0)):
        groups.append({"params": layer_parameters, "weight_decay": decay})
    if name == "adamw":
        torchs = torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.999), fused=True)
    else:
        torchs = torch.optim.SGD(groups, lr=0.05, momentum=0.9, fused=True)
    for step in range(4):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        for layer, optimizer in zip(layers, (ours, torchs), strict=True):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
        if step == 1:
            kept = {key: value.clone() for key, value in optimizer_tensors(ours).items()}
            ours = build_optimizer(layers[0], settings)
            load_optimizer_tensors(ours, kept)
    assert torch.equal(layers[0].weight, layers[1].weight) and torch.equal(layers[0].bias, layers[1].bias)


@pytest.mark.parametrize("name", ["scl", "cps"])
def test_the_encoders_have_a_rate_of_their_own(name):
    network = build_segmenter("mobilenet_v2", 3, decoder_channels=8, width=0.25)
    method = METHODS[name](network, METHODS[name].config_class(), steps=4)
    optimizer = build_optimizer(method, TrainConfig(learning_rate=0.5, encoder_rate=0.1))
    networks = [method.student, method.second] if name == "cps" else [method.student]
    slow = {id(parameter) for each in networks for parameter in each.encoder.parameters()}
    for rate in (0.5, 0.2):
        set_learning_rate(optimizer, rate)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                assert group["lr"] == pytest.approx(rate * (0.1 if id(parameter) in slow else 1.0))
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(given) == len(trained) and {id(parameter) for parameter in given} == {id(p) for p in trained}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 1e-4}


def test_a_rate_of_zero_keeps_the_encoder_and_a_run_goes_on_with_it(tmp_path, capsys):
    settings = {"train__encoder_rate": 0.0, "train__gradient_limit": 0.5, "train__optimizer": "adamw"}
    assert_resumed_equals_uninterrupted(tmp_path, method__name="supervised", **settings)
    first, last = (checkpoint_tensors(tmp_path / "whole", step) for step in (2, 3))
    weights = {name for name in first if name.startswith("student:encoder.") and name.endswith("weight")}
    assert_bitwise_equal({name: first[name] for name in weights}, {name: last[name] for name in weights})
    assert not torch.equal(first["student:classifier.weight"], last["student:classifier.weight"])
    own = tiny_options(tmp_path / "own", model__encoder="tests.training.test_optimizer:no_encoder")
    capsys.readouterr()
    assert run_command(train, [*own, "--method.name", "supervised", "--train.encoder_rate", "0.1"]) == 2
    assert "train.encoder_rate 0.1 is for a part named encoder or backbone, which" in capsys.readouterr().err


def no_encoder(num_classes):
    return torch.nn.Conv2d(3, num_classes, 1)


def test_a_gradient_beyond_the_limit_is_scaled_down_and_another_is_left():
    layer = torch.nn.Linear(2, 1)
    optimizer = build_optimizer(layer, TrainConfig())
    for limit, share in ((2.5, 0.5), (10.0, 1.0), (None, 1.0)):
        layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
        limit_gradients(optimizer, torch.tensor(5.0), limit)
        torch.testing.assert_close(layer.weight.grad, share * torch.tensor([[3.0, 0.0]]))
        torch.testing.assert_close(layer.bias.grad, share * torch.tensor([4.0]))
