"""A segmenter from its settings: the encoder's name picks the network."""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from scl_core.batch_norm import freeze_batch_norm
from scl_core.errors import UserError
from scl_core.models.deeplabv3plus import DeepLabV3Plus
from scl_core.models.encoders import ENCODERS, OUTPUT_STRIDES, make_encoder
from scl_core.models.layers import recompute_blocks
from scl_core.models.twin import ENCODER_NAMES
from scl_core.models.user_module import load_user_segmenter
from scl_core.models.weights import load_weights
from scl_core.settings import setting

FROZEN = ("none", "encoder", "all")


@dataclass
class ModelConfig:
    """Settings of the segmentation network."""

    encoder: str = setting(
        "mobilenet_v2", f"Encoder of the network: {', '.join(ENCODERS)}, or module:callable of your own."
    )
    width: float = setting(1.0, "Channels of mobilenet_v2, as a share of the published ones.", low=0.1, high=4.0)
    output_stride: int | None = setting(
        None,
        "Input pixels a side of one deep cell; empty = 16 (8 for wide_resnet38, which has no other).",
        choices=(None, *OUTPUT_STRIDES),
    )
    deep_stem: bool = setting(False, "Begin a resnet with three 3x3 convolutions instead of one of 7x7.")
    multi_grid: bool = setting(
        False, "Dilate the blocks of a resnet's last stage by 1, 2 and 4 times its dilation, as CPS and PCR do."
    )
    decoder_channels: int = setting(256, "Channels of pyramid and decoder.", low=8)
    leaky_pyramid: bool = setting(False, "Leaky ReLU of slope 0.01 in the pyramid, as the network of CPS has.")
    frozen_batch_norm: str = setting(
        "none",
        "Batch norms that keep the running statistics of model.weights and use them in training too: none, the "
        "encoder's, as CutMix-Seg has them, or all. Their scale and shift are trained.",
        choices=FROZEN,
    )
    checkpoint_activations: bool = setting(
        False,
        "Keep the inputs of the encoder's blocks alone and compute the blocks again for the gradient.",
    )
    weights: str | None = setting(
        None, "First weights: imagenet, a file (.safetensors, .pth, .pt), or the folder of a run; empty = random."
    )


def build_segmenter(
    encoder: str,
    num_classes: int,
    output_stride: int | None = None,
    decoder_channels: int = 256,
    width: float = 1.0,
    *,
    deep_stem: bool = False,
    multi_grid: bool = False,
    leaky_pyramid: bool = False,
    effective_batch: int | None = None,
) -> nn.Module:
    """Build a segmentation network with random weights.

    `encoder` is a name of `ENCODERS`, or `module:callable` of the user's own. The network maps images [B, 3, H, W] of
    any size to `.logits` [B, num_classes, H, W] and `.features` [B, D, h, w]. `output_stride` is 16 or 8, by default 16
    (wide_resnet38 has 8 alone, and the decoder of Kim et al. 2020); `deep_stem`, `multi_grid`: settings of the resnets;
    `leaky_pyramid`: leaky ReLU there.
    `effective_batch` is the number of pictures in one training call over all processes: with one picture the pyramid's
    mean is normalised over its channels, with a warning.
    Raises `UserError` for an unknown encoder or a setting it has not.
    """
    if ":" in encoder:
        return load_user_segmenter(encoder, num_classes)
    if encoder not in ENCODERS:
        nearest = difflib.get_close_matches(encoder, ENCODERS, n=1, cutoff=0.0)[0]
        known = f"choose one of {', '.join(ENCODERS)}, or module:callable of your own"
        raise UserError(f"model.encoder {encoder!r} does not exist; the nearest is {nearest}: {known}")
    kind = ENCODERS[encoder]
    stride = output_stride or kind.output_strides[0]
    backbone = make_encoder(encoder, stride, width, deep_stem, multi_grid)
    one_picture = effective_batch == 1
    if one_picture:
        warnings.warn(
            "one picture a step: the pyramid's image mean uses GroupNorm, for batch norm needs two or more pictures",
            UserWarning,
            stacklevel=2,
        )
    return DeepLabV3Plus(backbone, num_classes, stride, decoder_channels, one_picture, kind.is_papers, leaky_pyramid)


def build_from_config(
    config: ModelConfig,
    num_classes: int,
    effective_batch: int | None = None,
    own_network: Callable[[nn.Module], nn.Module] = lambda segmenter: segmenter,
) -> nn.Module:
    """Build the segmenter of `config`, let `own_network` make another of it, and load the weights that `config` names.

    Weights may fit either; those of the segmenter fill what the other shares with it, its encoder. Raises `UserError`
    as its parts do.
    """
    segmenter = build_segmenter(
        config.encoder,
        num_classes,
        config.output_stride,
        config.decoder_channels,
        config.width,
        deep_stem=config.deep_stem,
        multi_grid=config.multi_grid,
        leaky_pyramid=config.leaky_pyramid,
        effective_batch=effective_batch,
    )
    if config.checkpoint_activations and not recompute_blocks(segmenter):
        raise UserError(
            f"model.checkpoint_activations: {config.encoder} has no blocks of this project's encoders: set it to false"
        )
    network = own_network(segmenter)
    if config.leaky_pyramid and not any(isinstance(part, nn.LeakyReLU) for part in network.modules()):
        raise UserError(
            "model.leaky_pyramid: the network that this method makes of model.encoder has no pyramid of this project: "
            "set it to false"
        )
    if config.weights:
        load_weights(network, config.weights, config.encoder, config.width, config.deep_stem, instead=segmenter)
    freeze(network, config)
    return network


def freeze(network: nn.Module, config: ModelConfig) -> None:
    """Freeze the batch norms that `config` names. Raises `UserError` where there are none."""
    if config.frozen_batch_norm == "none":
        return
    inner = getattr(network, "network", network)  # a network of the user's own
    named = [getattr(inner, name) for name in ENCODER_NAMES if hasattr(inner, name)]
    parts = named if config.frozen_batch_norm == "encoder" else [network]
    if not sum(map(freeze_batch_norm, parts)):
        where = "encoder" if config.frozen_batch_norm == "encoder" else "network"
        raise UserError(
            f"model.frozen_batch_norm {config.frozen_batch_norm}: the {where} of {config.encoder} has no batch norm: "
            "set it to none"
        )
