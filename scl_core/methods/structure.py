"""The structured term as an add-on: what it compares of student and teacher, and its value over all ranks."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scl_core.cutmix import at_cells, cutmix
from scl_core.distributed import global_mean, sum_over_ranks, world_size
from scl_core.losses.structured import sum_of_boxes
from scl_core.losses.structured_family import batch_pairs_loss, same_width
from scl_core.methods.base import StepDraws
from scl_core.methods.parts import BoxSettings
from scl_core.models.frozen import frozen_features, frozen_network
from scl_core.structured_form import Seen, compare, find_regions, form_of, value_per_region

if TYPE_CHECKING:
    from scl_core.data.batch import Batch, Views


def structured_term(
    student: Seen,
    teacher: Seen,
    owner: Tensor,
    valid: Tensor,
    batch: "Batch",
    draws: StepDraws,
    settings: BoxSettings,
    stream: str = "pairs",
) -> Tensor:
    """Eq. 10 of Kim et al. 2020, unweighted, over the pictures of all ranks; other regions and forms by the settings.

    `student`, `teacher`: what they make of the mixed pictures, no gradient reaches the teacher; `owner` int64 and
    `valid` bool [B, H, W] of the mix of `batch`'s two unlabeled views. Pairs are drawn from `stream` where
    `settings.max_pairs` asks for it, random sets of pixels from the stream "placebo".
    """
    form = form_of(settings)
    if form.teacher:
        teacher = teacher._replace(features=foreign_features(batch, owner, settings))
    compared = compare(student, teacher, owner, valid, form)
    if form.region == "batch":
        vectors = same_width(compared.student, compared.teacher)
        return batch_pairs_loss(*vectors, compared.valid, sum_over_ranks, world_size())
    placebo = draws.generators(batch.positions, "placebo")
    regions = find_regions(compared.owner, compared.valid, settings, placebo)
    pairs = draws.generators(batch.positions, stream) if settings.max_pairs is not None else None
    values = value_per_region(compared, regions, form, settings.max_pairs, pairs)
    return global_mean(*sum_of_boxes(values, "sum" if form.region == "window" else settings.box_reduction))


def open_structured_teacher(settings) -> nn.Module | None:
    """The network that teaches a method structure alone, or None. Raises `UserError` for one that cannot be had."""
    if not getattr(settings, "structured_weight", 0.0) or not settings.structured_teacher:
        return None
    return frozen_network(settings.structured_teacher, settings.structured_teacher_weights)


def foreign_features(batch: "Batch", owner: Tensor, settings: BoxSettings) -> Tensor:
    """The features [B, E, h, w] that `structured_teacher` gives both weak views whole, mixed by `owner` [B, H, W]."""
    weak = torch.cat([batch.unlabeled_a.weak, batch.unlabeled_b.weak])
    halves = frozen_features(settings.structured_teacher, settings.structured_teacher_weights, weak).chunk(2)
    return mix_cells(*halves, owner)


def mix_cells(a: Tensor, b: Tensor, owner: Tensor) -> Tensor:
    """`b` pasted over `a`, [B, ..., h, w] of any size, by the boxes of `owner` [B, H, W]."""
    return cutmix(a, b, at_cells(owner, tuple(a.shape[-2:])))


def seen_of(output, settings: BoxSettings) -> Seen:
    """What the structured term reads of a segmenter's output, a named tuple with logits and features."""
    return Seen(output.logits.softmax(1), output.features if settings.structured_on == "features" else None)


def mixed_seen(a: Seen, b: Seen, owner: Tensor) -> Seen:
    """What a network makes of two whole pictures, the second pasted over the first by the boxes of `owner`."""
    return Seen(*(None if part is None else mix_cells(part, other, owner) for part, other in zip(a, b, strict=True)))


def mixed_halves(both: Seen, owner: Tensor) -> Seen:
    """The second half of a batch [2 B, ...] pasted over the first."""
    first, second = zip(*((None, None) if part is None else part.chunk(2) for part in both), strict=True)
    return mixed_seen(Seen(*first), Seen(*second), owner)


@torch.no_grad()
def teacher_seen(teacher: nn.Module, a: "Views", b: "Views", owner: Tensor, settings: BoxSettings) -> Seen:
    """The teacher on both whole weak pictures, its answers mixed by the boxes; no gradient."""
    return mixed_halves(seen_of(teacher(torch.cat([a.weak, b.weak])), settings), owner)
