"""The encoders by name, with the settings that each has.

An encoder turns images [B, 3, H, W] into two maps: `low`, of stride 4 (of stride 2 in wide_resnet38), and `deep` at
its output stride. Each stage beyond that stride keeps the resolution and dilates its 3x3 convolutions instead, which
leaves every filter's view of the picture as it was (Chen et al. 2018, section 3.1). Sizes are rounded up, so any
picture from 1x1 on will do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from scl_core.errors import UserError
from scl_core.models.mobilenet import MobileNetV2
from scl_core.models.resnet import BasicBlock, Bottleneck, ResNet
from scl_core.models.wide_resnet import OUTPUT_STRIDE, WideResNet38

OUTPUT_STRIDES = (16, 8)


@dataclass(frozen=True)
class EncoderKind:
    """How an encoder is made, the output strides that it has (its own first), and which settings it takes."""

    make: Callable[..., nn.Module]
    output_strides: tuple[int, ...] = OUTPUT_STRIDES
    has_width: bool = False
    has_deep_stem: bool = False
    has_multi_grid: bool = False
    is_papers: bool = False  # the decoder is that of Kim et al. 2020


def resnet(block: type, *blocks: int) -> EncoderKind:
    """A ResNet with so many blocks of one kind in each stage."""
    return EncoderKind(partial(ResNet, block, blocks), has_deep_stem=True, has_multi_grid=True)


ENCODERS: dict[str, EncoderKind] = {
    "mobilenet_v2": EncoderKind(MobileNetV2, has_width=True),
    "resnet18": resnet(BasicBlock, 2, 2, 2, 2),
    "resnet50": resnet(Bottleneck, 3, 4, 6, 3),
    "resnet101": resnet(Bottleneck, 3, 4, 23, 3),
    "wide_resnet38": EncoderKind(WideResNet38, output_strides=(OUTPUT_STRIDE,), is_papers=True),
}


def make_encoder(
    name: str, output_stride: int, width: float = 1.0, deep_stem: bool = False, multi_grid: bool = False
) -> nn.Module:
    """Build the encoder `name` with random weights; UserError for a setting it has not."""
    kind = ENCODERS[name]
    if output_stride not in kind.output_strides:
        strides = " or ".join(map(str, sorted(kind.output_strides)))
        raise UserError(f"model.output_stride {output_stride}: {name} has {strides}")
    if width != 1.0 and not kind.has_width:
        raise UserError(f"model.width {width} is a setting of {having('has_width')}: {name} has the width 1.0 alone")
    if deep_stem and not kind.has_deep_stem:
        raise UserError(f"model.deep_stem is a setting of {having('has_deep_stem')}, and {name} has no such stem")
    if multi_grid and not kind.has_multi_grid:
        raise UserError(
            f"model.multi_grid is a setting of {having('has_multi_grid')}, and {name} has no such dilations"
        )
    settings = {"output_stride": output_stride} if len(kind.output_strides) > 1 else {}
    settings |= {"width": width} if kind.has_width else {}
    settings |= {"deep_stem": deep_stem} if kind.has_deep_stem else {}
    settings |= {"multi_grid": multi_grid} if kind.has_multi_grid else {}
    return kind.make(**settings)


def having(setting: str) -> str:
    """The names of the encoders with a setting."""
    return ", ".join(name for name, kind in ENCODERS.items() if getattr(kind, setting))
