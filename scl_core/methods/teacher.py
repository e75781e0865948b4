"""The averaged teacher that several methods share: its settings, how it is built, where it begins again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from scl_core.batch_norm import taking_statistics
from scl_core.ema import EmaTeacher
from scl_core.settings import setting

if TYPE_CHECKING:
    from scl_core.data.batch import Batch


class AverageSettings(Protocol):
    """The settings that `build_teacher` reads."""

    ema_decay: float
    ema_warmup: bool
    ema_time: float | None
    teacher_bn: str


@dataclass
class TeacherSettings:
    """The settings of an averaged teacher, for a method's config to begin with; a config overrides `name`."""

    name: str = setting("", "The method.")
    ema_decay: float = setting(0.99, "Decay of the teacher's average.", low=0.0, high=1.0)
    ema_warmup: bool = setting(True, "Average over few steps first: decay min(1 - 1/(k+1), ema_decay) at update k.")
    ema_time: float | None = setting(
        None,
        "Time constant of the teacher's average as a share of the steps, in place of ema_decay: decay 1 - 1/(ema_time "
        "* steps); the teacher is then copied from the student where the unlabeled part begins. Empty: ema_decay.",
        low=0.0,
        high=1.0,
    )
    teacher_bn: str = setting(
        "ema",
        "The teacher's running statistics of batch norm: averaged like its weights, copied from the student, copied "
        "in training and estimated anew, on training pictures, for every evaluation and checkpoint, or its own, moved "
        "by a pass of the teacher over the pictures of each step.",
        choices=("ema", "copy", "recalibrate", "own"),
    )


def decay_of(config: AverageSettings, steps: int) -> float:
    """The decay of each step's average: `ema_decay`, or 1 - 1 / (ema_time * steps), at least 0."""
    if config.ema_time is None:
        return config.ema_decay
    return max(0.0, 1 - 1 / max(config.ema_time * steps, 1.0))


def build_teacher(student: nn.Module, config: AverageSettings, steps: int) -> EmaTeacher:
    """The teacher of a training of `steps` steps."""
    buffers = "copy" if config.teacher_bn == "recalibrate" else config.teacher_bn
    return EmaTeacher(student, decay_of(config, steps), config.ema_warmup, buffers)


@torch.no_grad()
def move_statistics(teacher: nn.Module, batch: "Batch") -> None:
    """Let the teacher's batch norms see its step's pictures, labeled and (the first of each pair) unlabeled ones.

    Their running statistics move as a student's do, its weights and the rest of its parts stay as in eval mode.
    """
    pictures = [batch.images] if batch.unlabeled_a is None else [batch.images, batch.unlabeled_a.weak]
    together = len({part.shape[1:] for part in pictures}) == 1
    with taking_statistics(teacher):
        for part in [torch.cat(pictures)] if together else pictures:
            teacher(part)


def restart_step(config, steps: int) -> int:
    """The step after which the teacher is copied from the student: the last on labels alone; 0 = it never is."""
    if getattr(config, "ema_time", None) is None:
        return 0
    last_alone = int(getattr(config, "start", 0.0) * steps)
    return last_alone if last_alone < steps else 0
