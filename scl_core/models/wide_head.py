"""The decoder of PCR's own network (Xu et al. 2022): wide features, read by a head of three convolutions."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from scl_core.models.deeplabv3plus import DeepLabV3Plus, SegmenterOutput, one_value_told
from scl_core.models.layers import conv_norm, resize
from scl_core.models.passes import network_pass


class WideHeadSegmenter(nn.Module):
    """Encoder and pyramid of DeepLabV3+; the pyramid's map and the low map side by side are the features.

    The pyramid ends in a 3x3 convolution, the low map keeps as many channels as the pyramid's, so the features have
    2 x `decoder_channels`: 512 in the paper. The classifier reads them through two 3x3 convolutions, so it is linear in
    its last layer alone. Weights are Xavier-uniform. Without the paper's dropout of 0.1.
    """

    def __init__(self, segmenter: DeepLabV3Plus):
        """Takes the encoder of `segmenter`, not its weights behind it, and its settings from its layers."""
        super().__init__()
        channels, num_classes = segmenter.classifier.in_channels, segmenter.classifier.out_channels
        self.encoder = segmenter.encoder
        self.pyramid = deepcopy(segmenter.pyramid)
        self.pyramid.join = conv_norm(channels * len(self.pyramid.branches), channels, 3)
        self.low_level = conv_norm(self.encoder.low_channels, channels)
        self.head = nn.Sequential(conv_norm(2 * channels, channels, 3), conv_norm(channels, channels, 3))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        for part in (self.pyramid, self.low_level, self.head, self.classifier):
            draw(part)

    @network_pass
    def forward(self, images: Tensor) -> SegmenterOutput:
        """images [B, 3, H, W] -> logits [B, C, H, W], features [B, 2 x decoder_channels, h, w], the low map's size."""
        with one_value_told(images.shape[-2:]):
            low, deep = self.encoder(images)
            high = resize(self.pyramid(deep), low.shape[-2:])
        features = torch.cat([high, self.low_level(low)], dim=1)
        logits = self.classifier(self.head(features))
        return SegmenterOutput(
            resize(logits.to(torch.promote_types(logits.dtype, torch.float32)), images.shape[-2:]), features
        )


def draw(part: nn.Module) -> None:
    """Xavier-uniform weights and no bias for every convolution of `part`."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
