"""The control: the labeled pictures alone, with the same augmentation, steps and list as every other method."""

from dataclasses import dataclass

from scl_core.ema import EmaTeacher
from scl_core.methods.base import Method, class_numbers
from scl_core.settings import setting


@dataclass
class SupervisedConfig:
    name: str = setting("supervised", "The method.")
    relaxation_window: int = setting(1, "Side of the label relaxation's window (eq. 2); 1 is cross entropy.", low=1)
    relaxation_strict_classes: str | None = setting(
        None, "Numbers of classes whose pixels are never relaxed, as 5,6,7; poles and persons are thin."
    )
    relaxation_until: float = setting(
        1.0, "Share of the steps after which the relaxation ends and eq. 2 is cross entropy.", low=0.0, high=1.0
    )
    ema_decay: float | None = setting(
        None,
        "Also keep an averaged copy of the network, so that a teacher is compared with a like copy.",
        low=0,
        high=1,
    )

    def __post_init__(self):
        class_numbers(self.relaxation_strict_classes)


class Supervised(Method):
    """Cross entropy on the labeled pictures, eq. 2 of Kim et al. 2020 when the window is larger than 1."""

    config_class = SupervisedConfig

    def __init__(self, student, config: SupervisedConfig, steps: int):
        super().__init__(student, config, steps)
        if config.ema_decay is not None:
            self.teacher = EmaTeacher(student, config.ema_decay, warmup=True)

    def forward(self, batch, draws):
        """The one term, `supervised`."""
        logits = self.student(batch.images).logits
        return {"supervised": self.relaxed_loss(logits, batch.labels, draws.step)}
