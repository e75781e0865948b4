"""A network that is not trained here and teaches structure alone: its features of a picture, of any width and size."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scl_core.errors import UserError
from scl_core.models.encoders import ENCODERS, make_encoder
from scl_core.models.passes import network_pass
from scl_core.models.user_module import find_callable, look_up
from scl_core.models.weights import load_weights

SETTING = "method.structured_teacher"


class Features(NamedTuple):
    """What `FrozenNetwork` returns."""

    features: Tensor  # [B, E, h, w]


class FrozenNetwork(nn.Module):
    """Holds the `network` that teaches; it stays in eval mode, and no gradient passes it."""

    def __init__(self, name: str, network: nn.Module):
        super().__init__()
        self.name = name
        self.network = network
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenNetwork":
        """Nothing changes."""
        return super().train(False)

    @torch.no_grad()
    @network_pass
    def forward(self, pictures: Tensor) -> Features:
        """Pictures [B, 3, H, W], normalised as for every network here -> features [B, E, h, w].

        Raises `UserError` when the network fails, or answers with anything but such a map.
        """
        try:
            answer = self.network(pictures)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
            raise UserError(f"{SETTING} {self.name} fails on pictures {list(pictures.shape)}: {reason}") from error
        found = answer if isinstance(answer, Tensor) else look_up(answer, "features")
        if not isinstance(found, Tensor) or found.dim() != 4 or len(found) != len(pictures) or not found.numel():
            what = f"shape {list(found.shape)}" if isinstance(found, Tensor) else type(answer).__name__
            raise UserError(
                f"{SETTING} {self.name}: the network returned {what}: return features [{len(pictures)}, E, h, w], an "
                "object with .features, or a dict with 'features'"
            )
        return Features(found)


class DeepMap(nn.Module):
    """The deep one of an encoder's two maps."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, pictures: Tensor) -> Tensor:
        return self.encoder(pictures)[1]


@lru_cache(maxsize=2)
def frozen_network(name: str, weights: str = "imagenet") -> FrozenNetwork:
    """The network of these settings, made once in a process: the same whenever and wherever it is made.

    `name` is `module:callable` of the user's own, called without arguments and with its own weights, or an encoder of
    this project with `weights`: `imagenet`, a file of the encoder or of a classifier (.safetensors, .pth, .pt).
    Raises `UserError` for a name, a callable or weights that will not do.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for weights that a callable draws; the student's own draws stay as they are
        if ":" in name:
            return FrozenNetwork(name, call_users(name))
        if name not in ENCODERS:
            known = f"choose one of {', '.join(ENCODERS)}, or module:callable of your own"
            raise UserError(f"{SETTING} {name!r} does not exist: {known}")
        network = DeepMap(make_encoder(name, ENCODERS[name].output_strides[0]))
    try:
        load_weights(network, weights, name)
    except UserError as error:
        raise UserError(str(error).replace("model.weights", f"{SETTING}_weights")) from error
    return FrozenNetwork(name, network)


def call_users(name: str) -> nn.Module:
    """What the user's callable returns. Raises `UserError` where that is not a network."""
    try:
        factory = find_callable(name)
    except UserError as error:
        raise UserError(str(error).replace("model.encoder", SETTING)) from error
    try:
        network = factory()
    except Exception as error:
        raise UserError(f"{SETTING} {name}: calling it failed: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{SETTING} {name}: it returned {type(network).__name__}, and not a torch.nn.Module")
    return network


def frozen_features(name: str, weights: str, pictures: Tensor) -> Tensor:
    """What that network makes of pictures [B, 3, H, W], on their device and in their type: [B, E, h, w]."""
    return frozen_network(name, weights).to(pictures.device, pictures.dtype)(pictures).features
