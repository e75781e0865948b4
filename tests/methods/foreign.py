"""Networks of a user's own that teach structure alone, for `method.structured_teacher`."""

import torch
from torch import nn

FOREIGN = "tests.methods.foreign:small"
WIDTH = 7


def small() -> nn.Module:
    """Seven channels at a quarter of the size, with a batch norm and a dropout whose two modes differ."""
    layers = nn.Conv2d(3, WIDTH, 5, stride=4, padding=2), nn.BatchNorm2d(WIDTH), nn.Tanh(), nn.Dropout(0.5)
    return nn.Sequential(*layers)


class Picky(nn.Module):
    """Answers with what `form` says, which is not always features."""

    def __init__(self, form: str):
        super().__init__()
        self.form, self.convolution = form, nn.Conv2d(3, 4, 1)

    def forward(self, pictures):
        features = self.convolution(pictures)
        if self.form == "fails":
            raise RuntimeError("size must be\na multiple of 14")
        return {"dict": {"features": features}, "vector": features.mean((2, 3)), "name": "features"}[self.form]


def in_a_dict() -> nn.Module:
    return Picky("dict")


def with_a_vector() -> nn.Module:
    return Picky("vector")


def with_a_name() -> nn.Module:
    return Picky("name")


def that_fails() -> nn.Module:
    return Picky("fails")


def no_network() -> str:
    return "a word"


def not_there() -> nn.Module:
    return torch.load("nowhere.pt")
