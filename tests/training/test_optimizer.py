"""The optimizers of a training: torch's own, without what makes a start slow."""

import subprocess
import sys

import pytest
import torch

from scl_core.config import TrainConfig
from scl_core.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from tests.conftest import ROOT
from tests.tiny import tiny_options

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
