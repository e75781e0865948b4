"""MobileNetV2 and ResNet-18 as dense encoders, with torchvision's parameter names, so that its files load as they are.

An encoder turns images [B, 3, H, W] into two maps: `low` at stride 4 and `deep` at its output stride. Each stage
beyond that stride keeps the resolution and dilates its 3x3 convolutions instead, which leaves every filter's view of
the picture as it was (Chen et al. 2018, section 3.1). Sizes are rounded up, so any picture from 1x1 on will do.
"""

from collections.abc import Callable

from torch import Tensor, nn

from scl_core.errors import UserError
from scl_core.models.layers import conv_norm, initialise

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
RESNET_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


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


class InvertedResidual(nn.Module):
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

    def forward(self, x: Tensor) -> Tensor:
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


class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 convolutions, added to its (projected) input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dilation_before: int, dilation: int):
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride, dilation_before)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_channels, out_channels, 1, dilation)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet18(nn.Module):
    """ResNet-18 without its classifier (He et al. 2016)."""

    low_channels, deep_channels = 64, 512

    def __init__(self, output_stride: int = 16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        budget = StrideBudget(output_stride, stride_so_far=4)
        channels = 64
        for number, (out, first_stride) in enumerate(RESNET_STAGES, start=1):
            blocks = [BasicBlock(channels, out, *budget.take(first_stride)), BasicBlock(out, out, *budget.take(1))]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            channels = out
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [B, 3, H, W] -> low [B, 64, H/4, W/4], deep [B, 512, H/stride, W/stride]."""
        low = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        return low, self.layer4(self.layer3(self.layer2(low)))


def conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


def multiple_of_8(channels: float) -> int:
    """The multiple of 8 next to `channels`, at least 8 and never less than nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def resnet18(output_stride: int, width: float) -> nn.Module:
    if width != 1.0:
        raise UserError(f"model.width {width} is a setting of mobilenet_v2: resnet18 has the width 1.0 alone")
    return ResNet18(output_stride)


ENCODERS: dict[str, Callable[[int, float], nn.Module]] = {"mobilenet_v2": MobileNetV2, "resnet18": resnet18}
