"""Mean teacher (Tarvainen and Valpola 2017) for segmentation: one picture, two views, no CutMix."""

from dataclasses import dataclass

from scl_core.distributed import global_mean
from scl_core.losses.consistency import consistency_sum
from scl_core.methods.base import Method
from scl_core.methods.parts import smallest_part, teacher_probs, two_passes
from scl_core.methods.teacher import TeacherSettings, build_teacher
from scl_core.settings import setting


@dataclass
class MeanTeacherConfig(TeacherSettings):
    name: str = setting("mean_teacher", "The method.")
    consistency_weight: float = setting(2.0, "Weight of the consistency of student and teacher.", low=0.0)
    on_labeled: bool = setting(False, "Ask for consistency on the labeled pictures too, where they have a label.")
    start: float = setting(
        0.0, "Share of the steps trained on labels alone before the unlabeled part.", low=0.0, high=1.0
    )
    ramp: float = setting(
        0.3, "Share of the steps over which the consistency's weight rises to its value.", low=0.0, high=1.0
    )
    relaxation_window: int = setting(1, "Side of the label relaxation's window; 1 is cross entropy.", low=1)
    joint_forward: bool = setting(True, "Labeled and unlabeled pictures in one pass, so batch norm sees both.")


class MeanTeacher(Method):
    """The student's view of an unlabeled picture agrees with the teacher's, pixel by pixel.

    The squared distance is summed over the classes; the mean-teacher baseline of Chen et al. (CPS, CVPR 2021) takes
    the mean over them too, and labeled pictures as well (`on_labeled`), so its weight of 100 is 100 / classes here.
    The loader reads unlabeled pictures in pairs; the first of each pair is used, so that a step costs the student
    what a step of the CutMix methods does.
    """

    config_class = MeanTeacherConfig
    num_strong = 1

    def __init__(self, student, config: MeanTeacherConfig, steps: int):
        super().__init__(student, config, steps)
        self.teacher = build_teacher(student, config, steps)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the smaller part where each has its own pass."""
        return smallest_part(config.joint_forward, config.start, train)

    def forward(self, batch, draws):
        """The terms `supervised` and, in the unlabeled part, `consistency`."""
        window, views = self.config.relaxation_window, batch.unlabeled_a
        if self.unlabeled_factor(draws.step) == 0.0:
            return {"supervised": self.supervised_loss(self.student(batch.images).logits, batch.labels, window)}
        outputs = two_passes(self.student, batch.images, views.strong[0], self.config.joint_forward)
        logits, student = (output.logits for output in outputs)
        teacher = teacher_probs(self.teacher.model, views.weak)
        self.note_targets(draws.step, teacher, views.valid)
        total, count = consistency_sum(student.softmax(1), teacher, views.valid)
        if self.config.on_labeled:
            of_labeled = teacher_probs(self.teacher.model, batch.images)
            more, pixels = consistency_sum(logits.softmax(1), of_labeled, batch.labels != 255)
            total, count = total + more, count + pixels
        return {
            "supervised": self.supervised_loss(logits, batch.labels, window),
            "consistency": global_mean(total, count),
        }

    def weights(self, step):
        """The supervised term counts fully, the consistency by its weight and the ramp."""
        return {"supervised": 1.0, "consistency": self.unlabeled_factor(step) * self.config.consistency_weight}
