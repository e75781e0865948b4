"""WideResNet-38 as a dense encoder of stride 8: the network of Kim et al. 2020, after Wu et al. 2016 (model A2)."""

from typing import NamedTuple

from torch import Tensor, nn

from scl_core.models.layers import RecomputedBlock, conv3x3, initialise

STEM_CHANNELS = 64
OUTPUT_STRIDE = 8


class Stage(NamedTuple):
    """One row of the network's table."""

    name: str
    blocks: int
    channels: tuple[int, ...]  # of each block's convolutions: two 3x3, or 1x1, 3x3, 1x1
    pooled: bool = False  # a max pooling of stride 2 comes first
    stride: int = 1
    dilation: int = 1
    dropout: float = 0.0


STAGES = (
    Stage("mod2", 3, (128, 128), pooled=True),
    Stage("mod3", 3, (256, 256), pooled=True),
    Stage("mod4", 6, (512, 512), stride=2),
    Stage("mod5", 3, (512, 1024), dilation=2),
    Stage("mod6", 1, (512, 1024, 2048), dilation=4, dropout=0.3),
    Stage("mod7", 1, (1024, 2048, 4096), dilation=4, dropout=0.5),
)


class PreActivationBlock(RecomputedBlock):
    """Batch norm and ReLU before each convolution; added to the input, or to a projection of the activated input.

    Two channels make two 3x3 convolutions, three make 1x1, 3x3, 1x1. Whole channels are dropped before the last
    convolution, in training, by torch's global generator.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], stride: int, dilation: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or in_channels != channels[-1]
        self.projection = nn.Conv2d(in_channels, channels[-1], 1, stride, bias=False) if changes else None
        self.convs = nn.Sequential(*pre_activated(in_channels, channels, stride, dilation, dropout))

    def compute(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.projection is None else self.projection(activated)
        return shortcut + self.convs(activated)


def pre_activated(
    in_channels: int, channels: tuple[int, ...], stride: int, dilation: int, dropout: float
) -> list[nn.Module]:
    """The block's convolutions, batch norm and ReLU between them, dropout before the last."""
    if len(channels) == 2:
        convs = [conv3x3(in_channels, channels[0], stride, dilation), conv3x3(*channels, 1, dilation)]
    else:
        convs = [
            nn.Conv2d(in_channels, channels[0], 1, stride, bias=False),
            conv3x3(channels[0], channels[1], 1, dilation),
            nn.Conv2d(channels[1], channels[2], 1, bias=False),
        ]
    layers: list[nn.Module] = [convs[0]]
    for conv in convs[1:]:
        layers += [nn.BatchNorm2d(conv.in_channels), nn.ReLU(inplace=True), conv]
    return [*layers[:-1], nn.Dropout2d(dropout), layers[-1]] if dropout else layers


class WideResNet38(nn.Module):
    """The trunk without the batch norm after its last block, which the segmenter does not use."""

    low_channels, deep_channels = STAGES[0].channels[-1], STAGES[-1].channels[-1]

    def __init__(self):
        super().__init__()
        self.mod1 = nn.Sequential(conv3x3(3, STEM_CHANNELS, stride=1, dilation=1))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = STEM_CHANNELS
        for stage in STAGES:
            blocks = []
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(PreActivationBlock(channels, stage.channels, stride, stage.dilation, stage.dropout))
                channels = stage.channels[-1]
            self.add_module(stage.name, nn.Sequential(*blocks))
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [B, 3, H, W] -> low [B, 128, H/2, W/2] of the second stage, deep [B, 4096, H/8, W/8]."""
        x = self.mod1(images)
        for stage in STAGES:
            x = getattr(self, stage.name)(self.pool(x) if stage.pooled else x)
            if stage is STAGES[0]:
                low = x
        return low, x
