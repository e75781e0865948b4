"""DeepLabV3+: an encoder, atrous spatial pyramid pooling, and a light decoder (Chen et al. 2018).

With `plain_projections` it is the variant of Kim et al. 2020: the 1x1 convolutions that narrow the pyramid and the low
map have no normalisation and no ReLU, the classifier no bias, and the picture's mean is the pyramid's first branch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scl_core.errors import UserError
from scl_core.models.layers import conv_norm, initialise, resize
from scl_core.models.passes import network_pass

RATES_AT_STRIDE_16 = (6, 12, 18)


class SegmenterOutput(NamedTuple):
    """What every segmenter returns."""

    logits: Tensor  # [B, C, H, W], at the input's size, before softmax
    features: Tensor  # [B, D, h, w], what the classifier reads, at the size of the encoder's low map


class ImagePool(nn.Module):
    """The mean over the picture, projected, at every place of the map.

    Its map has one value a channel and picture, so batch norm has nothing to compare it with when the batch is one
    picture: `one_picture` normalises over the channels of that picture instead (GroupNorm of one group).
    """

    def __init__(self, in_channels: int, out_channels: int, one_picture: bool, activation: type[nn.Module] = nn.ReLU):
        super().__init__()
        norm = nn.GroupNorm(1, out_channels) if one_picture else nn.BatchNorm2d(out_channels)
        conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.project = nn.Sequential(conv, norm, activation(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])


class AtrousPyramid(nn.Module):
    """One 1x1, three dilated 3x3 branches and the picture's mean, joined by a 1x1 convolution.

    The dilations are 6, 12, 18 at output stride 16 and twice that at 8; `leaky`: ReLUs let a hundredth of what is
    negative pass. There is no dropout: a draw inside the network
    would depend on the process that makes it.
    """

    gathered_alone = True  # see `scl_core.sharding.shard`

    def __init__(
        self,
        in_channels: int,
        channels: int,
        output_stride: int,
        one_picture: bool,
        plain_projections: bool = False,
        leaky: bool = False,
    ):
        super().__init__()
        self.activation = nn.LeakyReLU if leaky else nn.ReLU
        rates = [rate * 16 // output_stride for rate in RATES_AT_STRIDE_16]
        atrous = [conv_norm(in_channels, channels, 3, dilation=rate, activation=self.activation) for rate in rates]
        pool = ImagePool(in_channels, channels, one_picture, self.activation)
        convs = [conv_norm(in_channels, channels, activation=self.activation), *atrous]
        self.branches = nn.ModuleList([pool, *convs] if plain_projections else [*convs, pool])
        self.join = narrowing(channels * len(self.branches), channels, plain_projections, self.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([branch(x) for branch in self.branches], dim=1))


def narrowing(in_channels: int, channels: int, plain: bool, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A 1x1 convolution to fewer channels: alone, or with its normalisation and activation."""
    if plain:
        return nn.Conv2d(in_channels, channels, 1, bias=False)
    return conv_norm(in_channels, channels, activation=activation)


class DeepLabV3Plus(nn.Module):
    """Encoder, pyramid and decoder; the decoder adds the encoder's low map to the pyramid's.

    That map is narrowed to a quarter of `decoder_channels`, to 48 at most: 48 of 256 in the paper.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        output_stride: int,
        decoder_channels: int,
        one_picture: bool = False,
        plain_projections: bool = False,
        leaky_pyramid: bool = False,
    ):
        super().__init__()
        low_channels = min(48, decoder_channels // 4)
        self.encoder = encoder
        self.pyramid = AtrousPyramid(
            encoder.deep_channels, decoder_channels, output_stride, one_picture, plain_projections, leaky_pyramid
        )
        self.low_level = narrowing(encoder.low_channels, low_channels, plain_projections)
        self.decoder = nn.Sequential(
            conv_norm(decoder_channels + low_channels, decoder_channels, 3),
            conv_norm(decoder_channels, decoder_channels, 3),
        )
        self.classifier = nn.Conv2d(decoder_channels, num_classes, 1, bias=not plain_projections)
        self.draw_head()

    def draw_head(self) -> None:
        """First weights of everything but the encoder."""
        for part in (self.pyramid, self.low_level, self.decoder):
            initialise(part)
        nn.init.kaiming_normal_(self.classifier.weight, mode="fan_in", nonlinearity="linear")
        if self.classifier.bias is not None:
            nn.init.zeros_(self.classifier.bias)

    @network_pass
    def forward(self, images: Tensor) -> SegmenterOutput:
        """images [B, 3, H, W], H and W at least 1 -> logits [B, C, H, W], features [B, decoder_channels, h, w].

        h and w are those of the low map: H/4 and W/4, or H/2 and W/2 with wide_resnet38.
        Raises `UserError` when batch norm has one value a channel to learn from: one picture of one deep cell.
        """
        return self.decode(*self.encode(images), images.shape[-2:])

    @network_pass
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's maps, low [B, D, h, w] and deep [B, E, h', w']: what `decode` reads."""
        with one_value_told(images.shape[-2:]):
            return self.encoder(images)

    @network_pass
    def decode(self, low: Tensor, deep: Tensor, size: tuple[int, int]) -> SegmenterOutput:
        """What `forward` makes of the encoder's two maps, as they are or perturbed, for pictures of `size` (H, W)."""
        with one_value_told(size):
            high = resize(self.pyramid(deep), low.shape[-2:])
        features = self.decoder(torch.cat([high, self.low_level(low)], dim=1))
        return SegmenterOutput(self.classify(features, size), features)

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """features [B, decoder_channels, h, w] -> logits [B, C, H, W] of pictures of `size` (H, W)."""
        logits = self.classifier(features)
        return resize(logits.to(torch.promote_types(logits.dtype, torch.float32)), size)


@contextmanager
def one_value_told(size: tuple[int, int]) -> Iterator[None]:
    """Turn batch norm's complaint about one value a channel into a `UserError` that names the picture's size."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"one picture of {size[0]}x{size[1]} leaves batch norm a single value per channel to train on: "
            "use a larger crop or more pictures a step"
        ) from error
