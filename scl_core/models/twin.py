"""A second network that starts from the same encoder as the first and from a head of its own."""

from copy import deepcopy

import torch
from torch import nn

from scl_core.errors import UserError
from scl_core.models.deeplabv3plus import DeepLabV3Plus

ENCODER_NAMES = ("encoder", "backbone")


def with_other_head(network: nn.Module) -> nn.Module:
    """A copy of `network` whose encoder has the same weights and whose other layers are drawn anew.

    The encoder is the part named `encoder` or `backbone`; in a network of the user's own that has neither, every layer
    but the last is kept. Draws come from torch's global generator. Raises `UserError` when nothing can be drawn.
    """
    twin = deepcopy(network)
    for part in head_parts(getattr(twin, "network", twin)):
        for layer in part.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    if isinstance(twin, DeepLabV3Plus):
        twin.draw_head()
    if all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True)):
        raise UserError(
            f"{type(network).__name__} has no layer that can be drawn anew, and two networks with the same weights "
            "teach each other nothing: give it a part named encoder and a convolution behind it"
        )
    return twin


def head_parts(network: nn.Module) -> list[nn.Module]:
    """What is not the encoder, or the last layer with weights where no part has an encoder's name."""
    if any(hasattr(network, name) for name in ENCODER_NAMES):
        return [part for name, part in network.named_children() if name not in ENCODER_NAMES]
    return [part for part in network.modules() if hasattr(part, "reset_parameters")][-1:]
