"""Structured consistency (Kim et al. 2020): agreement pixel by pixel, and on how alike any two pixels are."""

import warnings
from dataclasses import dataclass, replace

from torch import Tensor, nn

from scl_core.cutmix import cutmix
from scl_core.data.batch import Views
from scl_core.data.classes import class_numbers
from scl_core.data.images import IGNORE_INDEX
from scl_core.distributed import global_mean
from scl_core.errors import UserError
from scl_core.losses.confidence import confident_consistency_sum, soft_consistency_sum
from scl_core.losses.consistency import consistency_sum
from scl_core.methods.base import STRICT_CLASSES, Method, StepDraws
from scl_core.methods.parts import (
    StructuredSettings,
    draw_owner,
    eval_mode,
    smallest_part,
    two_passes,
)
from scl_core.methods.structure import seen_of, structured_term, teacher_seen
from scl_core.methods.teacher import TeacherSettings, build_teacher
from scl_core.probe import Probe, probe_pair
from scl_core.settings import setting
from scl_core.structured_form import Seen

REGIONS_OF_CONSISTENCY = ("picture", "boxes", "background")
STRUCTURED_ALONE = (
    "method.consistency_weight 0: the structured loss alone is degenerate, it is 0 for any output that is the same at "
    "every pixel and for exchanged classes; this arm is for an ablation"
)


@dataclass
class SclConfig(StructuredSettings, TeacherSettings):
    name: str = setting("scl", "The method.")
    consistency_weight: float = setting(2.0, "Weight of the pixel-wise consistency (lambda_c of eq. 3).", low=0.0)
    structured_weight: float = setting(2.0, "Weight of the structured consistency (lambda_sc of eq. 3).", low=0.0)
    start: float = setting(
        0.0, "Share of the steps trained on labels alone before the unlabeled part.", low=0.0, high=1.0
    )
    ramp: float = setting(
        0.3, "Share of the steps over which the unlabeled weights rise to their value.", low=0.0, high=1.0
    )
    num_boxes: int = setting(8, "CutMix boxes of each pair (N).", low=0)
    relaxation_window: int = setting(1, "Side of the label relaxation's window (eq. 2); 1 is cross entropy.", low=1)
    relaxation_strict_classes: str | None = setting(
        None, "Numbers of classes whose pixels are never relaxed, as 5,6,7; poles and persons are thin."
    )
    relaxation_until: float = setting(
        1.0, "Share of the steps after which the relaxation ends and eq. 2 is cross entropy.", low=0.0, high=1.0
    )
    teacher: str = setting(
        "ema",
        "What teaches the unlabeled pictures: the averaged teacher, or the student itself as it is; the average is "
        "then for evaluation alone.",
        choices=("ema", "student"),
    )
    mix_from: str = setting(
        "unlabeled",
        "Where the boxes' contents come from: a second unlabeled picture, or the labeled picture of the same place.",
        choices=("unlabeled", "labeled"),
    )
    consistency_region: str = setting(
        "picture",
        "Where the pixel-wise consistency counts: everywhere, in the boxes, or outside them.",
        choices=REGIONS_OF_CONSISTENCY,
    )
    consistency_classes: str = setting(
        "sum", "The squared distance of eq. 4 over the classes: their sum, or their mean.", choices=("sum", "mean")
    )
    confidence: str = setting(
        "none",
        "What the teacher's confidence, its largest probability, does to the pixel-wise consistency: nothing, weigh "
        "each pixel (soft), or leave out the pixels below confidence_threshold.",
        choices=("none", "soft", "threshold"),
    )
    confidence_threshold: float = setting(
        0.95, "Least confidence of a pixel that counts, with confidence: threshold.", low=0.0, high=1.0
    )
    joint_forward: bool = setting(True, "Labeled and mixed pictures in one forward pass, so batch norm sees both.")

    def __post_init__(self):
        super().__post_init__()
        class_numbers(STRICT_CLASSES, self.relaxation_strict_classes)


class Scl(Method):
    """Eqs. 1 to 10 of Kim et al. 2020: CutMix student, EMA teacher, pixel-wise and structured consistency."""

    config_class = SclConfig
    num_strong = 1

    def __init__(self, student, config: SclConfig, steps: int):
        super().__init__(student, config, steps)
        self.teacher = build_teacher(student, config, steps)
        if config.structured_weight and not config.consistency_weight:
            warnings.warn(STRUCTURED_ALONE, UserWarning, stacklevel=2)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the smaller part where each has its own pass.

        Raises `UserError` where labeled pictures are to be mixed in and there is not one for each mix.
        """
        if config.mix_from == "labeled" and train.batch_labeled != train.batch_unlabeled:
            raise UserError(
                f"method.mix_from labeled needs as many labeled as mixed pictures a step: set train.batch_unlabeled "
                f"{train.batch_unlabeled} to train.batch_labeled {train.batch_labeled}"
            )
        return smallest_part(config.joint_forward, config.start, train)

    def forward(self, batch, draws):
        """The terms `supervised`, and from the start of the unlabeled part `consistency` and `structured`."""
        if self.unlabeled_factor(draws.step) == 0.0:
            return {"supervised": self.relaxed_loss(self.student(batch.images).logits, batch.labels, draws.step)}
        owner = draw_owner(batch.unlabeled_a, batch.positions, draws, self.config)
        mixed = cutmix(batch.unlabeled_a.strong[0], self.partner(batch).strong[0], owner)
        labeled, of_mix = two_passes(self.student, batch.images, mixed, self.config.joint_forward)
        terms = {"supervised": self.relaxed_loss(labeled.logits, batch.labels, draws.step)}
        pair = replace(batch, unlabeled_b=self.partner(batch))
        return terms | self.unlabeled_terms(pair, seen_of(of_mix, self.config), owner, draws)

    def unlabeled_terms(self, batch, student: Seen, owner: Tensor, draws: StepDraws) -> dict[str, Tensor]:
        """Eq. 4 over the picture and eq. 10 in the boxes, each over the pictures of all ranks."""
        a, b = batch.unlabeled_a, batch.unlabeled_b
        with eval_mode(self.producer):
            teacher = teacher_seen(self.producer, a, b, owner, self.config)
        valid = cutmix(a.valid, b.valid, owner)
        self.note_targets(draws.step, teacher.probs, valid)
        consistency = self.consistency(student.probs, teacher.probs, owner, valid)
        structured = structured_term(student, teacher, owner, valid, batch, draws, self.config)
        return {"consistency": consistency, "structured": structured}

    def consistency(self, student: Tensor, teacher: Tensor, owner: Tensor, valid: Tensor) -> Tensor:
        """Eq. 4 over the pictures of all ranks: probabilities [B, C, H, W], `owner` int64 and `valid` bool [B, H, W].

        Which pixels count, by how much, and whether classes add up, is as the settings say.
        """
        config = self.config
        if config.consistency_region != "picture":
            valid = valid & ((owner >= 0) == (config.consistency_region == "boxes"))
        if config.confidence == "threshold":
            total, count = confident_consistency_sum(student, teacher, config.confidence_threshold, valid)
        else:
            distance_sum = soft_consistency_sum if config.confidence == "soft" else consistency_sum
            total, count = distance_sum(student, teacher, valid)
        return global_mean(total / (student.shape[1] if config.consistency_classes == "mean" else 1), count)

    def partner(self, batch) -> Views:
        """The second picture of each pair, whose parts the boxes show; a labeled one as it was augmented for training.

        Of a labeled one only pixels that have a label count as valid.
        """
        if self.config.mix_from == "unlabeled":
            return batch.unlabeled_b
        return Views(batch.images, (batch.images,), batch.labels != IGNORE_INDEX, batch.names)

    @property
    def producer(self) -> nn.Module:
        """The averaged teacher, or the student in eval mode, as `teacher` says."""
        return self.student if self.config.teacher == "student" else self.teacher.model

    def weights(self, step):
        """Eq. 3 times the ramp."""
        factor = self.unlabeled_factor(step)
        return {
            "supervised": 1.0,
            "consistency": factor * self.config.consistency_weight,
            "structured": factor * self.config.structured_weight,
        }

    def probe(self, batch, draws) -> Probe:
        """The first unlabeled pair of the batch, taken apart by the functions that training uses."""
        pair = replace(batch, unlabeled_b=self.partner(batch))
        return probe_pair(self.student, self.producer, pair, draws, self.config)
