"""ResNet-18, -50 and -101 as dense encoders (He et al. 2016), with torchvision's parameter names."""

from torch import Tensor, nn

from scl_core.models.layers import RecomputedBlock, StrideBudget, conv3x3, conv_norm, initialise

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
DEEP_STEM_CHANNELS = 128
MULTI_GRID = (1, 2, 4)  # times the last stage's dilation, block by block (Chen et al. 2017, section 3.1.1)


class BasicBlock(RecomputedBlock):
    """ResNet's block of two 3x3 convolutions, added to its (projected) input."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, dilation_before: int, dilation: int):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride, dilation_before)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(channels, channels, 1, dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = projection(in_channels, channels, stride)

    def compute(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + shortcut)


class Bottleneck(RecomputedBlock):
    """ResNet's block of 1x1, 3x3 (which has the stride) and 1x1 convolutions, four times as wide at its end."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, dilation_before: int, dilation: int):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride, dilation_before)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride)

    def compute(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """The 1x1 convolution that brings a block's input to its output's shape, where the channels differ."""
    if in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class ResNet(nn.Module):
    """A ResNet without its classifier: `blocks` of one kind in each of four stages.

    With `deep_stem` three 3x3 convolutions of 64, 64 and 128 channels take the place of the first one of 7x7, as in
    PSPNet and in the networks of CPS, U2PL, UniMatch and PCR; their parameters are named as there.
    With `multi_grid` the last stage's blocks are dilated by 1, 2 and 4 times its dilation, all their 3x3 convolutions.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, int, int, int],
        output_stride: int = 16,
        deep_stem: bool = False,
        multi_grid: bool = False,
    ):
        super().__init__()
        channels = DEEP_STEM_CHANNELS if deep_stem else STAGES[0][0]
        self.conv1 = stem_of_three() if deep_stem else nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        budget = StrideBudget(output_stride, stride_so_far=4)
        for number, ((inner, first_stride), count) in enumerate(zip(STAGES, blocks, strict=True), start=1):
            stage = []
            for index in range(count):
                stride, *dilations = budget.take(first_stride if index == 0 else 1)
                if multi_grid and number == len(STAGES):
                    dilations = [dilations[1] * MULTI_GRID[index]] * 2
                stage.append(block(channels, inner, stride, *dilations))
                channels = inner * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.low_channels, self.deep_channels = STAGES[0][0] * block.expansion, channels
        self.middle_channels = STAGES[2][0] * block.expansion
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [B, 3, H, W] -> low [B, low_channels, H/4, W/4], deep [B, deep_channels, H/stride, W/stride]."""
        low, _, deep = self.three_maps(images)
        return low, deep

    def three_maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` gives, and between them the third stage's map [B, middle_channels, h, w]."""
        low = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        middle = self.layer3(self.layer2(low))
        return low, middle, self.layer4(middle)


def stem_of_three() -> nn.Sequential:
    """3x3 convolutions 3 -> 64 (stride 2) -> 64 -> 128; the last one's normalisation is the network's own `bn1`."""
    return nn.Sequential(
        *conv_norm(3, 64, 3, stride=2), *conv_norm(64, 64, 3), conv3x3(64, DEEP_STEM_CHANNELS, stride=1, dilation=1)
    )
