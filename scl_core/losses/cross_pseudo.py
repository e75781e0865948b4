"""Cross pseudo supervision (Chen et al. 2021): each of two networks learns the other's most probable classes."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

UNUSED = -100


def cross_pseudo_loss(logits_1: Tensor, logits_2: Tensor) -> Tensor:
    """CE(z_1, Y_2) + CE(z_2, Y_1) with Y_k = argmax z_k: eqs. 3 and 4 of Chen et al. 2021, a mean over all pixels.

    `logits_1`, `logits_2` [B, C, H, W] of the same pictures. The labels are hard, every pixel has one, and no gradient
    reaches the network that gave them. A scalar: the sum, not the mean, over the two networks, in float32 at least.
    Raises ValueError for shapes that do not fit.
    """
    total, count = cross_pseudo_sum(logits_1, logits_2, hard_labels(logits_1), hard_labels(logits_2))
    return total / count.clamp(min=1)


def cross_pseudo_sum(
    logits_1: Tensor, logits_2: Tensor, labels_1: Tensor, labels_2: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`cross_pseudo_loss` before its mean: the sum over the valid pixels and their number (int64).

    `labels_k` int64 [B, H, W] are what network k gives the other to learn; with CutMix, its answers to the two whole
    pictures, mixed. `valid` bool [B, H, W], None for every pixel.
    """
    pixels = logits_1[:, 0]
    maps = {"labels_1": labels_1, "labels_2": labels_2, "valid": valid}
    if logits_1.shape != logits_2.shape:
        raise ValueError(
            f"the logits of the two networks differ in shape: {list(logits_1.shape)}, {list(logits_2.shape)}"
        )
    for name, map_ in maps.items():
        if map_ is not None and map_.shape != pixels.shape:
            raise ValueError(f"{name} is {list(map_.shape)}, the logits are {list(logits_1.shape)}")
    total = label_loss(logits_1, labels_2, valid) + label_loss(logits_2, labels_1, valid)
    return total, torch.full((), pixels.numel(), device=pixels.device) if valid is None else valid.sum()


def hard_labels(logits: Tensor) -> Tensor:
    """The most probable class of each pixel, int64 [B, H, W]: no threshold, no temperature, no gradient."""
    return logits.detach().argmax(1)


def label_loss(logits: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
    """The sum over the valid pixels of the cross entropy of `labels`."""
    used = labels.detach() if valid is None else labels.detach().masked_fill(~valid, UNUSED)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # reduction="sum" has no deterministic form on CUDA
    return cross_entropy(logits, used, ignore_index=UNUSED, reduction="none").sum()
