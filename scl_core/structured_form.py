"""What the structured loss of a run compares and where, from its settings: one value per region.

Training and the pages that take it apart call the same functions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from scl_core.cutmix import at_cells, shuffled_owner
from scl_core.errors import UserError
from scl_core.losses.structured import structured_per_box
from scl_core.losses.structured_family import (
    centred_logits,
    class_area_weights,
    class_weighted_per_box,
    confidence_weights,
    pixel_cosine_per_box,
    same_width,
    soften,
    weighted_per_box,
    window_per_picture,
)
from scl_core.seeding import sent

CLASS_PAIRS = "method.structured_class_pairs"


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
    class_pairs: str | None = None
    teacher: str | None = None
    teacher_weights: str = "imagenet"

    @property
    def plain_pairs(self) -> bool:
        """Whether every pair of a region counts the same, so that pixels and classes have shares in the loss."""
        weighted = self.pair_weights != "none" or self.centred or self.class_pairs
        return self.form == "pairs" and self.region != "window" and not weighted

    @property
    def of_teacher(self) -> str:
        """What of the teacher is compared: of a network that teaches structure alone, its features."""
        return "features" if self.teacher else self.on


class Seen(NamedTuple):
    """What a network makes of mixed pictures; features where the form compares them."""

    probs: Tensor  # [B, C, H, W]
    features: Tensor | None = None  # [B, D, h, w], of any size


class Compared(NamedTuple):
    """The vectors of mixed pictures that are compared, all on one grid of cells; one cell a pixel for probabilities."""

    student: Tensor  # [B, C, h, w]
    teacher: Tensor  # [B, E, h, w]; no gradient reaches it
    probs: Tensor  # the teacher's probabilities [B, K, h, w], which may weigh pairs
    owner: Tensor  # int64 [B, h, w]
    valid: Tensor  # bool [B, h, w]


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


def compare(student: Seen, teacher: Seen, owner: Tensor, valid: Tensor, form: StructuredForm) -> Compared:
    """What the form compares of pictures mixed by `owner` int64 [B, H, W], with `valid` bool [B, H, W].

    The grid is the coarser one of the two sides; the finer side, boxes and labels are read at the pixels nearest to
    its cells, so that no vector is one of two boxes.
    """
    vectors = compared_vectors(student, form.on, form), compared_vectors(teacher, form.of_teacher, form)
    grid = tuple(min(sizes) for sizes in zip(*(maps.shape[-2:] for maps in vectors), strict=True))
    return Compared(*(at_cells(maps, grid) for maps in (*vectors, teacher.probs, owner, valid)))


def compared_vectors(seen: Seen, what: str, form: StructuredForm) -> Tensor:
    """The softened probabilities, the logits or the features that the form compares, [B, C, h, w]."""
    if what == "features":
        return seen.features
    return centred_logits(seen.probs) if what == "logits" else soften(seen.probs, form.temperature)


def find_regions(owner: Tensor, valid: Tensor, settings, placebo: Sequence[torch.Generator] | None) -> Regions:
    """The regions of pictures mixed by `owner` int64 [B, H, W], with `valid` bool [B, H, W].

    `placebo`: one generator per picture for the random sets of pixels. Window and batch have one region, the picture.
    """
    region = form_of(settings).region
    if region in ("boxes", "random"):
        moved = owner if region == "boxes" else shuffled_owner(owner, valid, placebo)
        return Regions(moved, settings.num_boxes, loss_boxes(settings))
    return Regions(torch.zeros_like(owner), 1, 1)


def value_per_region(
    compared: Compared,
    regions: Regions,
    form: StructuredForm,
    max_pairs: int | None = None,
    pairs: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """The structured loss of each compared region: [B, regions.compared]; `regions` are those of the compared cells.

    `pairs`: a generator for each picture, where `max_pairs` asks for a draw.
    """
    student, teacher, valid = compared.student, compared.teacher, compared.valid
    if form.region == "window":
        return window_per_picture(*same_width(student, teacher), form.radius, valid)[:, None]
    if form.form == "pixel_cosine":
        return pixel_cosine_per_box(student, teacher, *regions, valid=valid)[0]
    if form.class_pairs:
        weights = sent(class_pair_weights(form.class_pairs, compared.probs.shape[1]), student.device)
        vectors, labels = same_width(student, teacher), compared.probs.argmax(1)
        return class_weighted_per_box(*vectors, *regions, weights, labels, valid)
    if form.pair_weights != "none" or form.centred or student.shape[1] != teacher.shape[1]:
        return weighted_per_box(student, teacher, *regions, valid, pair_weights(compared, regions, form), form.centred)
    return structured_per_box(student, teacher, *regions, max_pairs, pairs, valid)[0]


def pair_weights(compared: Compared, regions: Regions, form: StructuredForm) -> Tensor | None:
    """w_i of each cell, float [B, h, w], from the teacher's probabilities; None where every pair counts the same."""
    if form.pair_weights == "confidence":
        return confidence_weights(compared.probs)
    if form.pair_weights == "class_area":
        return class_area_weights(compared.probs, regions.owner, regions.number, compared.valid)
    return None


def class_pair_weights(text: str, num_classes: int | None = None) -> Tensor:
    """The weights of pairs of classes, float64 [C, C], symmetric, from `0-0=0.1,5-*=3`; 1 where nothing is said.

    `*` is every class; later entries win. C is one more than the largest number where `num_classes` is None. Raises
    `UserError` for anything else, for a weight below 0, and for a class that the data has not.
    """
    found = [re.fullmatch(r"(\d+|\*)-(\d+|\*)=(\d+\.?\d*|\.\d+)", item.strip()) for item in text.split(",")]
    if not all(found):
        raise UserError(f"{CLASS_PAIRS} {text!r}: write classes by their numbers and weights as 0-0=0.1,5-*=3")
    named = [int(number) for match in found for number in match.groups()[:2] if number != "*"]
    largest = max(named, default=0)
    if num_classes is not None and largest >= num_classes:
        raise UserError(f"{CLASS_PAIRS} {text!r}: there is no class {largest}, the data's are 0 to {num_classes - 1}")
    weights = torch.ones(num_classes or largest + 1, num_classes or largest + 1, dtype=torch.float64)
    for first, second, weight in (match.groups() for match in found):
        rows, columns = (slice(None) if number == "*" else int(number) for number in (first, second))
        weights[rows, columns] = weights.T[rows, columns] = float(weight)
    return weights
