"""MobileNetV2 as a dense encoder (Sandler et al. 2018), with torchvision's parameter names."""

from torch import Tensor, nn

from scl_core.models.layers import RecomputedBlock, StrideBudget, conv_norm, initialise

# Sandler et al. 2018, table 2: expansion, channels, blocks, stride of the first block.
MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOBILENET_LOW_LEVEL = 3


class InvertedResidual(RecomputedBlock):
    """MobileNetV2's block: widen by 1x1, filter each channel by 3x3, narrow by 1x1; added to its input if it fits."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, dilation: int, keeps_size: bool
    ):
        super().__init__()
        hidden = in_channels * expansion
        widen = [conv_norm(in_channels, hidden, activation=nn.ReLU6)] if expansion != 1 else []
        filtered = conv_norm(hidden, hidden, 3, stride, dilation, groups=hidden, activation=nn.ReLU6)
        narrow = [nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.conv = nn.Sequential(*widen, filtered, *narrow)
        self.adds_input = keeps_size and in_channels == out_channels

    def compute(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds_input else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier (Sandler et al. 2018); `width` scales the channels, in multiples of 8."""

    def __init__(self, output_stride: int = 16, width: float = 1.0):
        super().__init__()
        channels = multiple_of_8(32 * width)
        budget = StrideBudget(output_stride, stride_so_far=2)
        layers: list[nn.Module] = [conv_norm(3, channels, 3, stride=2, activation=nn.ReLU6)]
        for expansion, base, blocks, first_stride in MOBILENET_STAGES:
            for block in range(blocks):
                asked = first_stride if block == 0 else 1
                stride, dilation, _ = budget.take(asked)
                out = multiple_of_8(base * width)
                layers.append(InvertedResidual(channels, out, stride, expansion, dilation, keeps_size=asked == 1))
                channels = out
        self.deep_channels = multiple_of_8(1280 * max(1.0, width))
        self.low_channels = multiple_of_8(MOBILENET_STAGES[1][1] * width)
        layers.append(conv_norm(channels, self.deep_channels, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [B, 3, H, W] -> low [B, low_channels, H/4, W/4], deep [B, deep_channels, H/stride, W/stride]."""
        x = images
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index == MOBILENET_LOW_LEVEL:
                low = x
        return low, x


def multiple_of_8(channels: float) -> int:
    """The multiple of 8 next to `channels`, at least 8 and never less than nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
