"""CutMix-Seg (French et al. 2020): an averaged teacher on whole pictures, a student on their mix, soft targets."""

from dataclasses import dataclass

from torch import Tensor

from scl_core.cutmix import cutmix
from scl_core.distributed import global_mean, sum_over_ranks
from scl_core.losses.confidence import confident_consistency_sum, confident_count
from scl_core.losses.consistency import consistency_sum
from scl_core.methods.base import Method
from scl_core.methods.parts import (
    StructuredSettings,
    check_boxes,
    draw_owner,
    overlap_setting,
    smallest_box_setting,
    smallest_part,
    toggles,
    two_passes,
)
from scl_core.methods.structure import seen_of, structured_term, teacher_seen
from scl_core.methods.teacher import TeacherSettings, build_teacher
from scl_core.probe import Probe, probe_pair
from scl_core.settings import setting


@dataclass
class CutmixSegConfig(StructuredSettings, TeacherSettings):
    name: str = setting("cutmix_seg", "The method.")
    box_overlap: str = overlap_setting()
    smallest_box_area: float | None = smallest_box_setting()
    consistency_weight: float = setting(1.0, "Weight of the consistency of student and teacher.", low=0.0)
    confidence: str = setting(
        "share",
        "What the teacher's confidence does: multiply the loss by the share of confident pixels, keep those pixels "
        "alone, or nothing.",
        choices=("share", "pixel", "off"),
    )
    confidence_threshold: float = setting(
        0.97, "Least probability of the teacher's class at a confident pixel.", low=0.0, high=1.0
    )
    start: float = setting(
        0.0, "Share of the steps trained on labels alone before the unlabeled part.", low=0.0, high=1.0
    )
    ramp: float = setting(
        0.0, "Share of the steps over which the unlabeled weights rise to their value.", low=0.0, high=1.0
    )
    relaxation_window: int = setting(1, "Side of the label relaxation's window; 1 is cross entropy.", low=1)
    joint_forward: bool = setting(True, "Labeled and mixed pictures in one forward pass, so batch norm sees both.")

    def __post_init__(self):
        super().__post_init__()
        check_boxes(self)


class CutmixSeg(Method):
    """French et al., "Semi-supervised semantic segmentation needs strong, varied perturbations" (BMVC 2020).

    The squared distance of student and teacher, summed over the classes, on pictures mixed by one box of half the
    area, as far as the teacher is confident; the mean is over valid pixels, as in every method here (theirs divides by
    all). Their trainings froze batch norm, let the teacher average without a warm-up, and had no ramp;
    where they tried several boxes, `box_overlap` toggle is their rule. With
    `structured_weight` the structured consistency is added: see `scl_core.methods.parts` for its nearest relative.
    """

    config_class = CutmixSegConfig
    num_strong = 1

    def __init__(self, student, config: CutmixSegConfig, steps: int):
        super().__init__(student, config, steps)
        self.teacher = build_teacher(student, config, steps)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the smaller part where each has its own pass."""
        return smallest_part(config.joint_forward, config.start, train)

    def forward(self, batch, draws):
        """The terms `supervised`, and in the unlabeled part `consistency` and, where it has a weight, `structured`."""
        config, a, b = self.config, batch.unlabeled_a, batch.unlabeled_b
        if self.unlabeled_factor(draws.step) == 0.0:
            logits = self.student(batch.images).logits
            return {"supervised": self.supervised_loss(logits, batch.labels, config.relaxation_window)}
        owner = draw_owner(a, batch.positions, draws, config)
        mixed = cutmix(a.strong[0], b.strong[0], owner)
        labeled, of_mix = two_passes(self.student, batch.images, mixed, config.joint_forward)
        student, teacher = seen_of(of_mix, config), teacher_seen(self.teacher.model, a, b, owner, config)
        valid = cutmix(a.valid, b.valid, owner)
        self.note_targets(draws.step, teacher.probs, valid)
        terms = {
            "supervised": self.supervised_loss(labeled.logits, batch.labels, config.relaxation_window),
            "consistency": self.consistency(student.probs, teacher.probs, valid),
        }
        if config.structured_weight:
            terms["structured"] = structured_term(student, teacher, owner, valid, batch, draws, config)
        return terms

    def consistency(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """`confident_consistency_loss` over the pictures of all ranks; probabilities [B, C, H, W], valid [B, H, W]."""
        threshold = self.config.confidence_threshold
        if self.config.confidence == "pixel":
            return global_mean(*confident_consistency_sum(student, teacher, threshold, valid))
        loss = global_mean(*consistency_sum(student, teacher, valid))
        if self.config.confidence == "off":
            return loss
        kept, count = (sum_over_ranks(number) for number in confident_count(teacher, threshold, valid))
        return loss * kept / count.clamp(min=1)

    def weights(self, step):
        """The supervised term counts fully, the others by their weight and the ramp."""
        config, factor = self.config, self.unlabeled_factor(step)
        weights = {"supervised": 1.0, "consistency": factor * config.consistency_weight}
        return weights | ({"structured": factor * config.structured_weight} if config.structured_weight else {})

    def probe(self, batch, draws) -> Probe | None:
        """The first unlabeled pair, taken apart by the functions that training uses; None where boxes toggle."""
        if toggles(self.config):
            return None
        return probe_pair(self.student, self.teacher.model, batch, draws, self.config)
