"""Is the teacher stale? Its scores beside its student's, and how far its batch norm is from its student's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from scl_core.microscope.health.finding import LOOK, SOUND, UNKNOWN, Finding
from scl_core.training.alarms import BEHIND, EVALUATIONS, teacher_gaps

CHECK, NAME = "Teacher", "Distance of the batch norms"
STALE = 0.2  # standard deviations of the student's activations


@dataclass(frozen=True)
class Lag:
    """How a teacher stands to its student: mIoU student - teacher by evaluated step, and the batch norms' distance.

    `layers` [L] float64, one number for each batch norm from input to output: the mean over its channels of
    |teacher's mean - student's mean| / student's standard deviation. `memory` is the average's time constant in steps.
    """

    gaps: dict[int, float]
    layers: np.ndarray
    memory: float | None
    steps: int

    @property
    def distance(self) -> float:
        """The mean over the layers; 0 for a network without batch norm."""
        return float(self.layers.mean()) if len(self.layers) else 0.0


@torch.no_grad()
def batch_norm_distances(teacher: nn.Module, student: nn.Module) -> np.ndarray:
    """`Lag.layers` of two networks of the same build."""
    norm = nn.modules.batchnorm._BatchNorm
    pairs = zip(teacher.modules(), student.modules(), strict=True)
    found = [
        float(((ours.running_mean - theirs.running_mean).abs() / (theirs.running_var + theirs.eps).sqrt()).mean())
        for ours, theirs in pairs
        if isinstance(ours, norm) and ours.running_mean is not None
    ]
    return np.array(found, dtype=np.float64)


def teacher_lag(
    teacher: nn.Module, student: nn.Module, evaluations: Sequence[Mapping], decay: float | None, steps: int
) -> Lag:
    """Teacher against student after `steps` steps; `evaluations` are the rows of `evaluations.jsonl`."""
    memory = 1 / (1 - decay) if decay is not None and decay < 1 else None
    gaps = teacher_gaps(list(evaluations), first_step=0)
    return Lag(gaps, batch_norm_distances(teacher, student), memory, steps)


def judge_teacher(found: Lag | None) -> Finding:
    """Whether the teacher's batch norm no longer fits its student, or its last scores are behind by `BEHIND`."""
    if found is None:
        return Finding(CHECK, UNKNOWN, NAME, "–", "This method keeps no averaged teacher.")
    number = f"{found.distance:.3f} std. dev."
    last = list(found.gaps.values())[-EVALUATIONS:]
    gap = min(last) if len(last) == EVALUATIONS else 0.0
    far = found.distance > STALE
    if not far and gap < BEHIND:
        return Finding(CHECK, SOUND, NAME, number, "The teacher keeps up with its student.")
    memory = f" Its average remembers about {found.memory:,.0f} of {found.steps:,} steps." if found.memory else ""
    score = f" Its mIoU is {100 * last[-1]:.1f} points under its student's." if gap >= BEHIND else ""
    what = "normalises with the statistics of weights long gone" if far else "lags behind its student"
    return Finding(
        CHECK, LOOK, NAME, number, f"The teacher {what}, so its targets are worse than need be.{score}{memory}",
        "Take a faster average (method.ema_time, method.ema_decay, method.ema_warmup), or method.teacher_bn: copy or "
        "recalibrate.",
        "the teacher is stale",
    )  # fmt: skip
