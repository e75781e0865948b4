"""CPS taken apart: what its two networks say of one mix, where they differ, and what each teaches the other."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scl_core.cutmix import cutmix
from scl_core.data.batch import Batch
from scl_core.data.images import denormalise
from scl_core.losses.cross_pseudo import hard_labels
from scl_core.methods.base import StepDraws
from scl_core.methods.cps import Cps
from scl_core.methods.parts import draw_owner
from scl_core.microscope.insides.pair import answering


@dataclass(frozen=True)
class CrossPseudoInside:
    """`picture` uint8 [H, W, 3] is what both see; maps [H, W] of classes (int64) or flags.

    `first`, `second` are their answers to it, `to_first`, `to_second` the labels that each learns from the other.
    """

    picture: np.ndarray
    first: np.ndarray
    second: np.ndarray
    to_first: np.ndarray
    to_second: np.ndarray
    valid: np.ndarray

    @property
    def differ(self) -> np.ndarray:
        """Where the two answer with different classes."""
        return (self.first != self.second) & self.valid

    @property
    def agreement(self) -> float:
        """Share of the valid pixels where they agree; NaN without any."""
        return 1.0 - float(self.differ.sum() / self.valid.sum()) if self.valid.any() else float("nan")


def cross_pseudo_inside(method: Cps, batch: Batch, draws: StepDraws) -> CrossPseudoInside:
    """The first pair of the batch, mixed as in training where the method mixes."""
    seen, valid, owner = seen_by_both(method, batch, draws)
    whole = [] if owner is None else [batch.unlabeled_a.weak, batch.unlabeled_b.weak]
    both = [labels.split(len(seen)) for labels in answers(method, torch.cat([seen, *whole]))]
    (first, *_), (second, *_) = both
    to_second, to_first = (labels[0] if owner is None else cutmix(*labels[1:], owner) for labels in both)
    maps = [tensor[0].cpu().numpy() for tensor in (first, second, to_first, to_second, valid)]
    return CrossPseudoInside(denormalise(seen[0]), *maps)


def cross_pseudo_agreement(method: Cps, batch: Batch, draws: StepDraws, num_classes: int) -> np.ndarray:
    """`agreement_by_class` of the two networks on what both see of the first pair: two passes and no more."""
    seen, valid, _ = seen_by_both(method, batch, draws)
    first, second = (labels[valid].cpu().numpy() for labels in answers(method, seen))
    return agreement_by_class(first, second, num_classes)


def seen_by_both(method: Cps, batch: Batch, draws: StepDraws) -> tuple[Tensor, Tensor, Tensor | None]:
    """What both networks see [B, 3, H, W], where it is valid [B, H, W], and the owner map where pictures are mixed."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    if not method.config.cutmix:
        return a.weak, a.valid, None
    owner = draw_owner(a, batch.positions, draws, method.config)
    return cutmix(a.weak, b.weak, owner), cutmix(a.valid, b.valid, owner), owner


def answers(method: Cps, pictures: Tensor) -> list[Tensor]:
    """The most probable classes, int64 [B, H, W], by the first and by the second network."""
    with answering(*method.networks):
        return [hard_labels(network(pictures).logits) for network in method.networks]


def agreement_by_class(first: np.ndarray, second: np.ndarray, num_classes: int) -> np.ndarray:
    """Of the pixels that either network gives class c, the share that both give it: float64 [C], NaN without any."""
    ours, theirs = (torch.as_tensor(labels).flatten() for labels in (first, second))
    both = torch.bincount(ours[ours == theirs], minlength=num_classes).double()
    either = torch.bincount(ours, minlength=num_classes) + torch.bincount(theirs, minlength=num_classes) - both
    return torch.where(either > 0, both / either, torch.nan).numpy()
