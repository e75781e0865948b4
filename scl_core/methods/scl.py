"""Structured consistency (Kim et al. 2020): agreement pixel by pixel, and on how alike any two pixels are."""

from dataclasses import dataclass

from torch import Tensor

from scl_core.cutmix import cutmix
from scl_core.data.classes import class_numbers
from scl_core.distributed import global_mean
from scl_core.losses.consistency import consistency_sum
from scl_core.methods.base import STRICT_CLASSES, Method, StepDraws
from scl_core.methods.parts import (
    StructuredSettings,
    draw_owner,
    mixed_probs,
    smallest_part,
    structured_term,
    two_logits,
)
from scl_core.methods.teacher import TeacherSettings, build_teacher
from scl_core.probe import Probe, make_probe
from scl_core.schedule import unlabeled_factor
from scl_core.settings import setting


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

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the smaller part where each has its own pass."""
        return smallest_part(config.joint_forward, config.start, train)

    def forward(self, batch, draws):
        """The terms `supervised`, and from the start of the unlabeled part `consistency` and `structured`."""
        if self.unlabeled_factor(draws.step) == 0.0:
            return {"supervised": self.relaxed_loss(self.student(batch.images).logits, batch.labels, draws.step)}
        owner = draw_owner(batch.unlabeled_a, batch.positions, draws, self.config)
        mixed = cutmix(batch.unlabeled_a.strong[0], batch.unlabeled_b.strong[0], owner)
        logits, mixed_logits = two_logits(self.student, batch.images, mixed, self.config.joint_forward)
        terms = {"supervised": self.relaxed_loss(logits, batch.labels, draws.step)}
        return terms | self.unlabeled_terms(batch, mixed_logits, owner, draws)

    def unlabeled_terms(self, batch, mixed_logits: Tensor, owner: Tensor, draws: StepDraws) -> dict[str, Tensor]:
        """Eq. 4 over the picture and eq. 10 in the boxes, each over the pictures of all ranks."""
        teacher = mixed_probs(self.teacher.model, batch.unlabeled_a, batch.unlabeled_b, owner)
        student = mixed_logits.softmax(1)
        valid = cutmix(batch.unlabeled_a.valid, batch.unlabeled_b.valid, owner)
        self.note_targets(draws.step, teacher, valid)
        structured = structured_term(student, teacher, owner, valid, batch.positions, draws, self.config)
        return {"consistency": global_mean(*consistency_sum(student, teacher, valid)), "structured": structured}

    def unlabeled_factor(self, step: int) -> float:
        """The share of the unlabeled weights that holds at this step."""
        return unlabeled_factor(step, self.steps, self.config.start, self.config.ramp)

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
        boxes, pairs = (draws.generators(batch.positions[:1], stream)[0] for stream in ("boxes", "pairs"))
        student, teacher = self.student, self.teacher.model
        return make_probe(student, teacher, batch.unlabeled_a, batch.unlabeled_b, self.config, boxes, pairs)
