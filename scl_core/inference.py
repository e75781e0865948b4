"""A network's answer for one picture: what evaluation, prediction and the app have in common."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from scl_core.data.images import normalise, resize_picture
from scl_core.protocol import WHOLE, Protocol, tile_starts

PIXELS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 23}


@torch.inference_mode()
def predict_logits(
    network: nn.Module, picture: np.ndarray, size: tuple[int, int], device: torch.device, protocol: Protocol = WHOLE
) -> Tensor:
    """Class logits [C, H, W] at `size` = (H, W) for one picture, uint8 [h, w, 3] at the network's input size.

    Over tiles, mirrored looks and scales the logits are averaged; those of each scale are resized to `size` first.
    The network runs in eval mode and is left in the mode it was in.
    """
    was_training = network.training
    network.eval()
    try:
        total = None
        for scale in protocol.scales:
            logits = _resized(_logits_at_scale(network, picture, scale, device, protocol), size)
            total = logits if total is None else total.add_(logits)
    finally:
        network.train(was_training)
    return total if len(protocol.scales) == 1 else total.div_(len(protocol.scales))


def predict_probs(
    network: nn.Module, picture: np.ndarray, size: tuple[int, int], device: torch.device, protocol: Protocol = WHOLE
) -> Tensor:
    """Class probabilities [C, H, W]: the softmax of `predict_logits`."""
    return predict_logits(network, picture, size, device, protocol).softmax(0)


def predict_classes(
    network: nn.Module, picture: np.ndarray, size: tuple[int, int], device: torch.device, protocol: Protocol = WHOLE
) -> Tensor:
    """The most probable class of each pixel, int64 [H, W]; arguments as `predict_logits`."""
    return predict_logits(network, picture, size, device, protocol).argmax(0)


def _logits_at_scale(network: nn.Module, picture: np.ndarray, scale: float, device, protocol: Protocol) -> Tensor:
    """Logits [C, h, w] of the scaled picture: tiles and mirrored tiles in batches, summed in place, divided once."""
    height, width = (max(1, round(extent * scale)) for extent in picture.shape[:2])
    dtype = next(network.parameters()).dtype
    scaled = normalise(resize_picture(picture, height, width)).to(device, dtype)
    tile = (min(height, protocol.tile or height), min(width, protocol.tile or width))
    tops, lefts = (tile_starts(*sides, protocol.overlap) for sides in zip((height, width), tile, strict=True))
    looks = [(top, left, mirror) for top in tops for left in lefts for mirror in (False, True)[: 1 + protocol.flip]]
    if len(looks) == 1:
        return network(scaled[None]).logits[0]
    total, seen = None, torch.zeros(height, width, dtype=dtype, device=device)
    for batch in _batches(looks, tile[0] * tile[1], device):
        parts = torch.stack([_cut(scaled, *look, tile) for look in batch])
        for (top, left, mirror), logits in zip(batch, network(_laid_out(parts)).logits, strict=True):
            total = scaled.new_zeros(len(logits), height, width) if total is None else total
            rows, columns = slice(top, top + tile[0]), slice(left, left + tile[1])
            total[:, rows, columns] += logits.flip(-1) if mirror else logits
            seen[rows, columns] += 1
    return total.div_(seen)


def _batches(looks: list[tuple], pixels: int, device: torch.device) -> Iterator[list[tuple]]:
    """As many looks of `pixels` pixels at a time as a device takes well."""
    count = max(1, PIXELS_AT_ONCE.get(device.type, PIXELS_AT_ONCE["cpu"]) // pixels)
    return (looks[start : start + count] for start in range(0, len(looks), count))


def _cut(picture: Tensor, top: int, left: int, mirror: bool, tile: tuple[int, int]) -> Tensor:
    part = picture[:, top : top + tile[0], left : left + tile[1]]
    return part.flip(-1) if mirror else part


def _laid_out(parts: Tensor) -> Tensor:
    """On a CPU convolutions are faster when the channels of a pixel lie together."""
    return parts.contiguous(memory_format=torch.channels_last) if parts.device.type == "cpu" else parts


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits[None], size=tuple(size), mode="bilinear", align_corners=True)[0]


def save_class_map(path: Path, classes: np.ndarray, palette: np.ndarray) -> None:
    """Write class indices, uint8 [H, W], as a palette PNG; `palette` is uint8 [C, 3]."""
    picture = Image.fromarray(np.ascontiguousarray(classes, dtype=np.uint8))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PNG")


def overlay(picture: np.ndarray, classes: np.ndarray, palette: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The class colours over the picture, uint8 [H, W, 3]."""
    mixed = (1 - opacity) * picture.astype(np.float32) + opacity * palette[classes].astype(np.float32)
    return mixed.round().astype(np.uint8)
