"""What the two RC2L methods share and call: their settings, the teacher's side, the four region terms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from scl_core.distributed import global_mean
from scl_core.ema import EmaTeacher
from scl_core.errors import UserError
from scl_core.losses.region import (
    DISTANCES,
    NEGATIVES,
    SIMILARITIES,
    Regions,
    class_consistency_sum,
    feature_contrast_sum,
    mask_contrast_sum,
    semantic_mask_consistency_sum,
)
from scl_core.methods.base import StepDraws
from scl_core.methods.parts import StructuredSettings, draw_owner, two_passes
from scl_core.methods.structure import mix_cells, mixed_halves, structured_term
from scl_core.methods.teacher import TeacherSettings
from scl_core.probe import Probe, probe_pair
from scl_core.settings import setting
from scl_core.structured_form import Seen

if TYPE_CHECKING:
    from scl_core.data.batch import Batch

Output = TypeVar("Output", bound=tuple)


@dataclass
class RegionSettings(StructuredSettings, TeacherSettings):
    """Settings of the region terms; the paper's own weights, temperatures and distances are not known."""

    num_boxes: int = setting(0, "CutMix boxes of each pair; 0 = the strong pictures as they are.", low=0)
    region_mask_weight: float = setting(1.0, "Weight of the region mask contrast (RMC).", low=0.0)
    region_feature_weight: float = setting(1.0, "Weight of the region feature contrast (RFC).", low=0.0)
    region_class_weight: float = setting(1.0, "Weight of the region class consistency (RCC).", low=0.0)
    semantic_mask_weight: float = setting(1.0, "Weight of the semantic mask consistency (SMC).", low=0.0)
    mask_similarity: str = setting("dice", "How alike two masks are, in RMC.", choices=SIMILARITIES)
    mask_temperature: float = setting(0.1, "Temperature of RMC.", low=0.001)
    feature_temperature: float = setting(0.1, "Temperature of RFC.", low=0.001)
    negatives: str = setting(
        "all",
        "The negatives of a region in RMC and RFC: all other masks of the student, or those matched with another "
        "region, so that nobody learns to be unlike what the teacher has not found yet.",
        choices=NEGATIVES,
    )
    semantic_distance: str = setting("dice", "Distance of the semantic masks, in SMC.", choices=DISTANCES)
    min_confidence: float = setting(
        0.0, "Least share of the teacher's class at a pixel of a region; others take no part.", low=0.0, high=1.0
    )
    min_area: int = setting(16, "Fewest cells of the feature map in a region of the teacher.", low=1)
    start: float = setting(
        0.0, "Share of the steps trained on labels alone before the unlabeled part.", low=0.0, high=1.0
    )
    ramp: float = setting(
        0.3, "Share of the steps over which the unlabeled weights rise to their value.", low=0.0, high=1.0
    )
    joint_forward: bool = setting(True, "Labeled and unlabeled pictures in one pass, so batch norm sees both.")

    def __post_init__(self):
        super().__post_init__()
        if self.structured_weight and not self.num_boxes:
            raise UserError(
                f"method.structured_weight {self.structured_weight} has no boxes to work in: set method.num_boxes to 1 "
                "or more"
            )


class TeacherSide(NamedTuple):
    """What the teacher makes of the unlabeled pictures as the student sees them, at the feature map's size."""

    regions: Regions
    semantic: Tensor  # [B, C, h, w], its semantic masks, mixed
    features: Tensor  # [B, D, h, w], mixed


def student_side(batch: "Batch", draws: StepDraws, settings: RegionSettings) -> tuple[Tensor, Tensor, Tensor | None]:
    """The strong pictures that the student sees [B, 3, H, W], where they are valid [B, H, W], and the owner map.

    The latter mixes the pairs; None where there are no boxes, and then they are the first of each pair.
    """
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner(a, batch.positions, draws, settings) if settings.num_boxes else None
    return mixed(a.strong[0], b.strong[0], owner), mixed(a.valid, b.valid, owner), owner


class RegionMethod(Protocol):
    """What `region_step` calls of a method: it reads pictures into an output, a named tuple of tensors."""

    config: RegionSettings
    dropout: float
    student: nn.Module
    teacher: EmaTeacher
    unlabeled_factor: Callable[[int], float]
    watches: Callable[[int], bool]
    note_targets: Callable[[int, Tensor, Tensor], None]

    def reader(self, network: nn.Module) -> Callable[..., Output]:
        """The pass of the student or of the teacher's network: pictures [B, 3, H, W] in, an output out.

        Where `dropout` is not 0 it takes the keys of the pictures' draws, int64 [B], as well.
        """

    def labeled_term(self, output: Output, labels: Tensor) -> Tensor:
        """The loss of the labeled pictures."""

    def seen(self, output: Output, size: tuple[int, int]) -> Seen:
        """What the structured term reads of an output: probabilities of pictures of `size` (H, W), features."""

    def teacher_side(self, seen: Output, owner: Tensor | None, valid: Tensor) -> TeacherSide:
        """The teacher's regions, without a gradient."""

    def region_terms(self, output: Output, teacher: TeacherSide) -> dict[str, Tensor]:
        """The four terms of the student's output."""


def region_step(method: RegionMethod, batch: "Batch", draws: StepDraws) -> dict[str, Tensor]:
    """The term `supervised`, and in the unlabeled part the region terms and, with a weight, `structured`."""
    config, read = method.config, method.reader(method.student)
    keys = dropout_keys(batch, draws) if method.dropout else None
    if method.unlabeled_factor(draws.step) == 0.0:
        return {"supervised": method.labeled_term(read(batch.images, *(keys or ())[:1]), batch.labels)}
    pictures, valid, owner = student_side(batch, draws, config)
    labeled, unlabeled = two_passes(read, batch.images, pictures, config.joint_forward, keys)
    seen, size = teacher_output(method, batch, owner), valid.shape[1:]
    if method.watches(draws.step):
        method.note_targets(draws.step, mix_halves(method.seen(seen, size).probs, owner), valid)
    terms = {"supervised": method.labeled_term(labeled, batch.labels)}
    terms |= method.region_terms(unlabeled, method.teacher_side(seen, owner, valid))
    if config.structured_weight:
        student, teacher = (method.seen(output, size) for output in (unlabeled, seen))
        terms["structured"] = structured_term(student, mixed_halves(teacher, owner), owner, valid, batch, draws, config)
    return terms


def dropout_keys(batch: "Batch", draws: StepDraws) -> tuple[Tensor, Tensor]:
    """What dropout's draws begin with, for each labeled and each unlabeled picture."""
    device = batch.images.device
    labeled = draws.keys(batch.label_positions, "dropout-labeled", device)
    return labeled, draws.keys(batch.positions, "dropout", device)


@torch.no_grad()
def teacher_output(method: RegionMethod, batch: "Batch", owner: Tensor | None) -> Output:
    """The teacher's output for whole weak pictures: the first of each pair, and the second where they are mixed."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    return method.reader(method.teacher.model)(a.weak if owner is None else torch.cat([a.weak, b.weak]))


def region_probe(method: RegionMethod, batch: "Batch", draws: StepDraws) -> Probe | None:
    """The first unlabeled pair of the batch taken apart, where CutMix is on."""
    if not method.config.num_boxes:
        return None
    return probe_pair(method.student, method.teacher.model, batch, draws, method.config)


def mixed(a: Tensor, b: Tensor, owner: Tensor | None) -> Tensor:
    """`b` pasted over `a`, [B, ..., h, w], by the boxes of `owner` [B, H, W]; `a` itself without boxes."""
    return a if owner is None else mix_cells(a, b, owner)


def mix_halves(maps: Tensor, owner: Tensor | None) -> Tensor:
    """The second half of a batch [2 B, ..., h, w] pasted over the first; all of [B, ..., h, w] without boxes."""
    return maps if owner is None else mixed(*maps.chunk(2), owner)


def region_terms(
    masks: Tensor,
    pooled: Tensor,
    class_logits: Tensor,
    semantic: Tensor,
    teacher: TeacherSide,
    match: Tensor,
    settings: RegionSettings,
    no_object_weight: float = 0.0,
) -> dict[str, Tensor]:
    """RMC, RFC, RCC and SMC, unweighted, over the pictures of all ranks.

    Of the student: `masks` [B, N, h, w] at the teacher's kept pixels, features `pooled` [B, N, D] in them,
    `class_logits` [B, N, C or C + 1], semantic masks [B, C, h, w]; `match` int64 [B, K], its region for each region.
    """
    regions = teacher.regions
    negatives = settings.negatives
    contrast = mask_contrast_sum(masks, regions, match, settings.mask_temperature, settings.mask_similarity, negatives)
    theirs = regions.pool(teacher.features)
    features = feature_contrast_sum(pooled, theirs, regions, match, settings.feature_temperature, negatives)
    classes = class_consistency_sum(class_logits, regions, match, no_object_weight)
    smc = semantic_mask_consistency_sum(semantic, teacher.semantic, settings.semantic_distance, regions.kept)
    return {
        "region_mask": global_mean(*contrast),
        "region_feature": global_mean(*features),
        "region_class": global_mean(*classes),
        "semantic_mask": global_mean(*smc),
    }


def term_weights(settings: RegionSettings, factor: float) -> dict[str, float]:
    """The supervised term counts fully, the others by their weight and `factor`, the share that the ramp allows."""
    weights = {
        "region_mask": settings.region_mask_weight,
        "region_feature": settings.region_feature_weight,
        "region_class": settings.region_class_weight,
        "semantic_mask": settings.semantic_mask_weight,
    }
    if settings.structured_weight:
        weights["structured"] = settings.structured_weight
    return {"supervised": 1.0} | {name: factor * weight for name, weight in weights.items()}
