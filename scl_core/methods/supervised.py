"""The control: the labeled pictures alone, with the same augmentation, steps and list as every other method."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scl_core.cutmix import box_owner, cutmix, sample_boxes
from scl_core.data.classes import class_numbers
from scl_core.methods.base import STRICT_CLASSES, Method
from scl_core.methods.teacher import TeacherSettings, build_teacher
from scl_core.seeding import sent
from scl_core.settings import setting


@dataclass
class SupervisedConfig(TeacherSettings):
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
    num_boxes: int = setting(
        0, "CutMix boxes of each labeled picture, from its neighbour in the batch; 0 = none.", low=0
    )
    total_area: float = setting(0.5, "Share of the picture that the boxes take.", low=0.0, high=1.0)
    area_mode: str = setting(
        "union", "What total_area means: the covered share, or the areas' sum.", choices=("union", "sum")
    )

    def __post_init__(self):
        class_numbers(STRICT_CLASSES, self.relaxation_strict_classes)


class Supervised(Method):
    """Cross entropy on the labeled pictures, eq. 2 of Kim et al. 2020 when the window is larger than 1."""

    config_class = SupervisedConfig

    def __init__(self, student, config: SupervisedConfig, steps: int):
        super().__init__(student, config, steps)
        if config.ema_decay is not None or config.ema_time is not None:
            self.teacher = build_teacher(student, config, steps)

    def forward(self, batch, draws):
        """The one term, `supervised`."""
        images, labels = self.mixed(batch, draws) if self.config.num_boxes else (batch.images, batch.labels)
        logits = self.student(images).logits
        return {"supervised": self.relaxed_loss(logits, labels, draws.step)}

    def mixed(self, batch, draws) -> tuple[Tensor, Tensor]:
        """CutMix of labeled pictures and their labels alike: [L, 3, H, W] and [L, H, W].

        Neighbours exchange boxes: the first of the process's pictures with the second, the third with the fourth; the
        last of an odd number stays as it is. So several processes equal one when each has an even number.
        """
        height, width = batch.labels.shape[-2:]
        settings = (self.config.num_boxes, self.config.total_area, self.config.area_mode)
        owners = [
            box_owner(sample_boxes(height, width, *settings, generator), height, width)
            for generator in draws.generators(batch.label_positions, "labeled boxes")
        ]
        owner = sent(torch.stack(owners), batch.labels.device)
        neighbours = [index ^ 1 if index ^ 1 < len(owners) else index for index in range(len(owners))]
        return cutmix(batch.images, batch.images[neighbours], owner), cutmix(
            batch.labels, batch.labels[neighbours], owner
        )
