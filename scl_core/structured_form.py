"""What the structured loss of a run compares and where, from its settings: one value per region.

Training and the pages that take it apart call the same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from scl_core.cutmix import shuffled_owner
from scl_core.losses.structured import structured_per_box
from scl_core.losses.structured_family import (
    centred_logits,
    class_area_weights,
    confidence_weights,
    pixel_cosine_per_box,
    soften,
    weighted_per_box,
    window_per_picture,
)


@dataclass(frozen=True)
class StructuredForm:
    """The settings `structured_<name>` of a method, with the paper's form as defaults."""

    region: str = "boxes"
    form: str = "pairs"
    radius: int = 16
    on: str = "probs"
    temperature: float = 1.0
    pair_weights: str = "none"
    centred: bool = False

    @property
    def plain_pairs(self) -> bool:
        """Whether every pair of a region counts the same, so that pixels and classes have shares in the loss."""
        weighted = self.pair_weights != "none" or self.centred
        return self.form == "pairs" and self.region != "window" and not weighted


class Regions(NamedTuple):
    """Where pixels are compared with each other: `owner` int64 [B, H, W], -1 for none."""

    owner: Tensor
    number: int
    compared: int  # the last so many of them


def form_of(settings) -> StructuredForm:
    """The form that a method's settings ask for; the paper's where they have no such settings."""
    names = [field.name for field in fields(StructuredForm) if hasattr(settings, f"structured_{field.name}")]
    return StructuredForm(**{name: getattr(settings, f"structured_{name}") for name in names})


def loss_boxes(settings) -> int:
    """How many boxes have a structured loss."""
    return settings.num_boxes if settings.num_loss_boxes is None else settings.num_loss_boxes


def find_regions(owner: Tensor, valid: Tensor, settings, placebo: Sequence[torch.Generator] | None) -> Regions:
    """The regions of pictures mixed by `owner` int64 [B, H, W], with `valid` bool [B, H, W].

    `placebo`: one generator per picture for the random sets of pixels. Window and batch have one region, the picture.
    """
    region = form_of(settings).region
    if region in ("boxes", "random"):
        moved = owner if region == "boxes" else shuffled_owner(owner, valid, placebo)
        return Regions(moved, settings.num_boxes, loss_boxes(settings))
    return Regions(torch.zeros_like(owner), 1, 1)


def compared_vectors(probs: Tensor, form: StructuredForm) -> Tensor:
    """What is compared of probabilities [B, C, H, W]: the softened ones, or their logits."""
    return centred_logits(probs) if form.on == "logits" else soften(probs, form.temperature)


def value_per_region(
    student: Tensor,
    teacher: Tensor,
    regions: Regions,
    valid: Tensor,
    form: StructuredForm,
    max_pairs: int | None = None,
    pairs: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """The structured loss of each compared region: [B, regions.compared].

    `student`, `teacher`: probabilities [B, C, H, W], no gradient reaches the teacher; `valid` bool [B, H, W]. `pairs`:
    a generator for each picture, where `max_pairs` asks for a draw.
    """
    vectors = [compared_vectors(probs, form) for probs in (student, teacher)]
    if form.region == "window":
        return window_per_picture(*vectors, form.radius, valid)[:, None]
    if form.form == "pixel_cosine":
        return pixel_cosine_per_box(*vectors, *regions, valid=valid)[0]
    if form.pair_weights != "none" or form.centred:
        return weighted_per_box(*vectors, *regions, valid, pair_weights(teacher, regions, valid, form), form.centred)
    return structured_per_box(*vectors, *regions, max_pairs, pairs, valid)[0]


def pair_weights(teacher: Tensor, regions: Regions, valid: Tensor, form: StructuredForm) -> Tensor | None:
    """w_i of each pixel, float [B, H, W], from the teacher's probabilities; None where every pair counts the same."""
    if form.pair_weights == "confidence":
        return confidence_weights(teacher)
    if form.pair_weights == "class_area":
        return class_area_weights(teacher, regions.owner, regions.number, valid)
    return None
