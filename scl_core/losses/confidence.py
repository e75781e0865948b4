"""Losses that trust only confident predictions: weighted consistency and hard pseudo labels."""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from scl_core.losses.consistency import consistency_loss, consistency_sum
from scl_core.losses.ohem import smallest_with_rank

UNUSED = -100


def confident_consistency_loss(
    student: Tensor, teacher: Tensor, threshold: float, per_pixel: bool = False, valid: Tensor | None = None
) -> Tensor:
    """The consistency of CutMix-Seg (French et al. 2020): `consistency_loss`, as far as the teacher is confident.

    `student`, `teacher`: probabilities [B, C, H, W]; no gradient reaches the teacher. `valid`: bool [B, H, W]. A pixel
    is confident when the teacher's largest probability is at least `threshold`. By default the loss of the valid
    pixels is multiplied by the share of them that is confident, which rises as the teacher learns; `per_pixel` keeps
    the confident pixels alone, still divided by the number of valid ones. 0 with a gradient of zeros where nothing is
    valid. Raises ValueError for shapes that do not fit.
    """
    if per_pixel:
        total, count = confident_consistency_sum(student, teacher, threshold, valid)
        return total / count.clamp(min=1)
    kept, count = confident_count(teacher, threshold, valid)
    return consistency_loss(student, teacher, valid) * kept / count.clamp(min=1)


def confident_consistency_sum(
    student: Tensor, teacher: Tensor, threshold: float, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The per-pixel form before its mean: the sum over the confident valid pixels, the number of valid ones (int64)."""
    total, _ = consistency_sum(student, teacher, _confident(teacher, threshold, valid))
    return total, confident_count(teacher, threshold, valid)[1]


def soft_consistency_sum(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`consistency_sum` with each pixel weighted by the teacher's confidence, its largest probability.

    Probabilities [B, C, H, W], `valid` bool [B, H, W]. The sum over the valid pixels, and their number (int64),
    whatever their weights: an unsure teacher pulls less. No gradient reaches the teacher.
    """
    confidence = teacher.detach().amax(1, keepdim=True).sqrt()
    return consistency_sum(student * confidence, teacher.detach() * confidence, valid)


def confident_count(probs: Tensor, threshold: float, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How many valid pixels of `probs` [B, C, H, W] are confident, and how many are valid; both int64."""
    kept = _confident(probs, threshold, valid)
    return kept.sum(), torch.full((), kept.numel(), device=kept.device) if valid is None else valid.sum()


def least_entropy(
    probs: Tensor, pixels: Tensor, share: float, add: Callable[[Tensor], Tensor] = lambda count: count
) -> Tensor:
    """The `share` of `pixels`, bool [B, H, W], whose predictions have the least entropy: bool [B, H, W].

    `probs` [B, C, H, W]. The number is rounded up, and equals of the last are kept. This is the filter of unreliable
    pixels of U2PL (Wang et al. 2022). With `add`, the sum of a count over all processes, it is the share of everyone's.
    """
    entropy = torch.special.entr(probs.detach().float()).sum(1) / log(probs.shape[1])
    wanted = (add(pixels.sum()).double() * share).ceil()
    most = smallest_with_rank(entropy[pixels].clamp(0.0, 1.0), wanted, add)
    return pixels & (entropy.clamp(0.0, 1.0) <= most)


def pseudo_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable class of each pixel, int64 [B, H, W], and its probability, float [B, H, W]; no gradient."""
    confidence, labels = logits.detach().to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).max(1)
    return labels, confidence


def pseudo_label_loss(
    logits: Tensor, labels: Tensor, confidence: Tensor, threshold: float, valid: Tensor | None = None
) -> Tensor:
    """The unlabeled loss of FixMatch (Sohn et al. 2020) at each pixel: cross entropy where `confidence` suffices.

    `logits` [B, C, H, W]; `labels` int64 and `confidence` float [B, H, W], as `pseudo_labels` gives them and CutMix
    mixes them; `valid` bool [B, H, W]. The sum over the valid pixels of at least `threshold`, divided by the number of
    all valid pixels, the others included. 0 with a gradient of zeros where nothing is kept.
    Raises ValueError for shapes that do not fit.
    """
    total, count = pseudo_label_sum(logits, labels, confidence, threshold, valid)
    return total / count.clamp(min=1)


def pseudo_label_sum(
    logits: Tensor, labels: Tensor, confidence: Tensor, threshold: float, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`pseudo_label_loss` before its mean: the sum over the kept pixels and the number of valid ones (int64)."""
    shape = logits[:, 0].shape
    if logits.dim() != 4 or any(map_.shape != shape for map_ in (labels, confidence, valid) if map_ is not None):
        raise ValueError(f"logits {list(logits.shape)} must be [B, C, H, W], labels, confidence and valid [B, H, W]")
    valid = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
    kept = valid & (confidence >= threshold)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # reduction="sum" has no deterministic form on CUDA
    losses = cross_entropy(logits, labels.masked_fill(~kept, UNUSED), ignore_index=UNUSED, reduction="none")
    return losses.sum(), valid.sum()


def _confident(probs: Tensor, threshold: float, valid: Tensor | None) -> Tensor:
    confident = probs.detach().amax(1) >= threshold
    return confident if valid is None else confident & valid
