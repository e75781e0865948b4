"""A network's answer for one whole picture: what evaluation, prediction and the app have in common."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from scl_core.data.images import normalise


@torch.inference_mode()
def predict_probs(network: nn.Module, picture: np.ndarray, size: tuple[int, int], device: torch.device) -> Tensor:
    """Class probabilities [C, H, W] at `size` = (H, W) for one picture, uint8 [h, w, 3] at the network's input size.

    The network runs in eval mode and is left in the mode it was in; the logits, not the probabilities, are resized.
    """
    was_training = network.training
    network.eval()
    try:
        dtype = next(network.parameters()).dtype
        logits = network(normalise(picture)[None].to(device, dtype)).logits
    finally:
        network.train(was_training)
    if tuple(logits.shape[-2:]) != tuple(size):
        logits = F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=True)
    return logits[0].softmax(0)


def predict_classes(network: nn.Module, picture: np.ndarray, size: tuple[int, int], device: torch.device) -> Tensor:
    """The most probable class of each pixel, int64 [H, W]; arguments as `predict_probs`."""
    return predict_probs(network, picture, size, device).argmax(0)


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
