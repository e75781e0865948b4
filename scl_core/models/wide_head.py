"""The decoder of PCR's own network (Xu et al. 2022): wide features, read by a head of three convolutions."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scl_core.models.deeplabv3plus import DeepLabV3Plus, SegmenterOutput, one_value_told
from scl_core.models.layers import conv_norm, kept_channels, resize
from scl_core.models.passes import network_pass

DROPPED_PLACES = 4  # behind the pyramid, the head's two wide convolutions, and the auxiliary head's


class AuxiliaryOutput(NamedTuple):
    """What a pass in training returns; `auxiliary` has no channels in a network without an auxiliary head."""

    logits: Tensor  # [B, C, H, W]
    features: Tensor  # [B, D, h, w]
    auxiliary: Tensor  # [B, C, H, W], or [B, 0, H, W]


class WideHeadSegmenter(nn.Module):
    """Encoder and pyramid of DeepLabV3+; the pyramid's map and the low map side by side are the features.

    The pyramid ends in a 3x3 convolution, the low map keeps as many channels as the pyramid's, so the features have
    2 x `decoder_channels`: 512 in the paper. The classifier reads them through two 3x3 convolutions, so it is linear in
    its last layer alone. Weights are Xavier-uniform. Dropout of whole channels, 0.1 in the paper, is given to
    `training_pass` from outside; with `auxiliary` a small head reads the third stage of a ResNet there.
    """

    def __init__(self, segmenter: DeepLabV3Plus, auxiliary: bool = False):
        """Takes the encoder of `segmenter`, not its weights behind it, and its settings from its layers."""
        super().__init__()
        channels, num_classes = segmenter.classifier.in_channels, segmenter.classifier.out_channels
        self.encoder = segmenter.encoder
        self.pyramid = deepcopy(segmenter.pyramid)
        activation = self.pyramid.activation
        self.pyramid.join = conv_norm(channels * len(self.pyramid.branches), channels, 3, activation=activation)
        self.low_level = conv_norm(self.encoder.low_channels, channels)
        self.head = nn.Sequential(conv_norm(2 * channels, channels, 3), conv_norm(channels, channels, 3))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = None
        if auxiliary:
            middle = conv_norm(self.encoder.middle_channels, channels, 3)
            self.auxiliary = nn.Sequential(middle, nn.Conv2d(channels, num_classes, 1))
        for part in (self.pyramid, self.low_level, self.head, self.classifier, self.auxiliary):
            if part is not None:
                draw(part)

    @network_pass
    def forward(self, images: Tensor) -> SegmenterOutput:
        """images [B, 3, H, W] -> logits [B, C, H, W], features [B, 2 x decoder_channels, h, w], the low map's size."""
        with one_value_told(images.shape[-2:]):
            low, deep = self.encoder(images)
        return SegmenterOutput(*self.decode(low, deep, images.shape[-2:]))

    @network_pass
    def training_pass(self, images: Tensor, kept: Tensor | None = None) -> AuxiliaryOutput:
        """`forward` with dropout and the auxiliary head; `kept` [B, `DROPPED_PLACES`, D'] as `draw_kept` gives it."""
        with one_value_told(images.shape[-2:]):
            low, middle, deep = self.maps(images)
        logits, features = self.decode(low, deep, images.shape[-2:], kept)
        if self.auxiliary is None:
            return AuxiliaryOutput(logits, features, logits[:, :0])
        found = dropped(self.auxiliary[0](middle), kept, 3)
        return AuxiliaryOutput(logits, features, at_size(self.auxiliary[1](found), images.shape[-2:]))

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """The encoder's maps; the middle one where the auxiliary head reads it."""
        if self.auxiliary is not None:
            return self.encoder.three_maps(images)
        low, deep = self.encoder(images)
        return low, None, deep

    def decode(
        self, low: Tensor, deep: Tensor, size: tuple[int, int], kept: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, C, H, W] and features from the encoder's two maps; see `training_pass` for `kept`."""
        with one_value_told(size):
            high = dropped(resize(self.pyramid(deep), low.shape[-2:]), kept, 0)
        features = torch.cat([high, self.low_level(low)], dim=1)
        found = features
        for place, convolution in enumerate(self.head, start=1):
            found = dropped(convolution(found), kept, place)
        return at_size(self.classifier(found), size), features

    def draw_kept(self, probability: float, generators: Sequence[torch.Generator]) -> Tensor:
        """Which channels dropout keeps, drawn for each picture by its own generator: [B, `DROPPED_PLACES`, D']."""
        kept = kept_channels(self.classifier.in_channels, probability, generators, DROPPED_PLACES)
        return kept.to(self.classifier.weight)


def dropped(maps: Tensor, kept: Tensor | None, place: int) -> Tensor:
    """Maps [B, D', h, w] times the factors of `kept` [B, places, D'] at `place`; as they are without it."""
    return maps if kept is None else maps * kept[:, place, :, None, None].to(maps.dtype)


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits resized to pictures of `size` (H, W), in float32 at least."""
    return resize(logits.to(torch.promote_types(logits.dtype, torch.float32)), size)


def draw(part: nn.Module) -> None:
    """Xavier-uniform weights and no bias for every convolution of `part`."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
