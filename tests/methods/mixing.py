"""What the tests of the methods share: a batch without files, a small network, a run that stops and goes on."""

import torch
from torch import nn

from scl_core.command_line import run_command
from scl_core.data.batch import Batch, Views
from scl_core.models.deeplabv3plus import SegmenterOutput
from scl_core.train import main as train
from tests.tiny import assert_bitwise_equal, checkpoint_tensors, metrics, tiny_options, without_times

CLASSES, HEIGHT, WIDTH = 3, 16, 24


class Pointwise(nn.Module):
    """A segmenter of two 1x1 convolutions, with a batch norm on request."""

    def __init__(self, norm: bool = False):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU())
        self.classifier = nn.Conv2d(8, CLASSES, 1)

    def forward(self, images):
        features = self.first(images)
        return SegmenterOutput(self.classifier(features), features)


def small_network(norm: bool = False, seed: int = 0) -> Pointwise:
    torch.manual_seed(seed)
    return Pointwise(norm)


def random_views(seed: int, count: int = 2, num_strong: int = 2) -> Views:
    generator = torch.Generator().manual_seed(seed)
    weak, *strong = torch.randn(1 + num_strong, count, 3, HEIGHT, WIDTH, generator=generator)
    valid = torch.ones(count, HEIGHT, WIDTH, dtype=torch.bool)
    valid[0, :, seed : seed + 3] = False
    return Views(weak, tuple(strong), valid, tuple("xy"[:count]))


def random_batch(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(2, 3, HEIGHT, WIDTH, generator=generator)
    labels = torch.randint(0, CLASSES, (2, HEIGHT, WIDTH), generator=generator)
    places = tuple(range(count))
    return Batch(images, labels, ("l", "m"), random_views(1, count), random_views(5, count), places, (0, 1))


def gradients(loss: torch.Tensor, module: nn.Module) -> list[torch.Tensor]:
    return torch.autograd.grad(loss, list(module.parameters()))


def assert_resumed_equals_uninterrupted(folder, **changes):
    """Three steps at once, and three with a stop after the first; every evaluation, record and tensor is finite."""
    settings = {"train__steps": 3, "train__evaluate_every": 3, "train__log_every": 1} | changes
    whole, parted = folder / "whole", folder / "parted"
    assert run_command(train, tiny_options(whole, **settings)) == 0
    assert run_command(train, tiny_options(parted, train__stop_at=1, **settings)) == 0
    assert run_command(train, ["--resume", str(parted)]) == 0
    assert_bitwise_equal(checkpoint_tensors(parted, 3), checkpoint_tensors(whole, 3))
    rows = without_times(metrics(whole))
    assert without_times(metrics(parted)) == rows and len(rows) == 3
    rounding = 1e-7  # the exact structured loss may be this far below 0 where student and teacher agree
    last = {key: value for key, value in rows[-1].items() if "/" not in key}
    assert all(value is not None and value >= -rounding for value in last.values())
    return last.keys()


def refusal(capsys, folder, **changes) -> str:
    """The one line with which a training of bad settings is refused before a folder is made."""
    assert run_command(train, tiny_options(folder / "run", **changes)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (folder / "run").exists()
    return error
