"""Parts that encoders and decoder share: strides, the convolution with its normalisation, first weights, resizing."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scl_core.models.passes import buffers_kept


class RecomputedBlock(nn.Module):
    """A block of an encoder; with `recompute` it keeps its input alone and is computed again for the gradient.

    A subclass defines `compute`. Running statistics move once, in the first pass.
    """

    recompute = False
    gathered_alone = True  # see `scl_core.sharding.shard`

    def forward(self, x: Tensor) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return self.compute(x)
        return checkpoint(self.compute, x, use_reentrant=False, context_fn=lambda: (nullcontext(), buffers_kept(self)))

    def compute(self, x: Tensor) -> Tensor:
        """What the block does."""
        raise NotImplementedError


def recompute_blocks(network: nn.Module) -> int:
    """Let every block of the network's encoder that can be computed again do so; returns how many there are."""
    blocks = [part for part in network.modules() if isinstance(part, RecomputedBlock)]
    for block in blocks:
        block.recompute = True
    return len(blocks)


class StrideBudget:
    """Hands out (stride, dilation before the block, dilation after it) until the output stride is used up."""

    def __init__(self, output_stride: int, stride_so_far: int):
        self.output_stride, self.stride, self.dilation = output_stride, stride_so_far, 1

    def take(self, stride: int) -> tuple[int, int, int]:
        before = self.dilation
        if self.stride * stride > self.output_stride:
            self.dilation *= stride
            return 1, before, self.dilation
        self.stride *= stride
        return stride, before, self.dilation


def conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    """A 3 x 3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


class AtrousConv(nn.Conv2d):
    """A 3 x 3 convolution of stride 1 that leaves out the taps which see padding alone: the same sums, sooner.

    With a dilation of the map's height or more the upper and lower taps see nothing but zeros, at any place of the map;
    likewise left and right.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight, padding = self.weight, list(self.padding)
        for axis, (side, dilation) in enumerate(zip(x.shape[2:], self.dilation, strict=True)):
            if dilation >= side:
                weight, padding[axis] = weight.narrow(2 + axis, 1, 1), 0
        return F.conv2d(x, weight, self.bias, 1, padding, self.dilation, self.groups)


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution without bias (entry 0), batch norm (1), activation (2); padded so that stride 1 keeps the size."""
    padding = dilation * (kernel // 2)
    kind = AtrousConv if (kernel, stride) == (3, 1) and dilation > 1 else nn.Conv2d
    conv = kind(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), activation(inplace=True))


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Draw first weights: Kaiming normal over the inputs of each convolution, 1 and 0 for each normalisation.

    The inputs are counted, and not the outputs, so that a depthwise convolution starts at the scale of the others.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def kept_channels(channels: int, probability: float, generators: Sequence[torch.Generator], places: int = 1) -> Tensor:
    """Dropout of whole channels as factors, 0 or 1 / (1 - probability): [B, places, channels], on the CPU.

    Drawn for each picture by its own generator, so that it does not depend on the process that makes the draw.
    """
    draws = torch.stack([torch.rand(places, channels, generator=generator) for generator in generators])
    return (draws >= probability) / (1 - probability)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `maps` [B, C, h, w] bilinearly to [B, C, *size], the corner pixels staying where they are."""
    if maps.shape[-2:] == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
