"""Two alarms of a training: the teacher stays behind its student, and the targets of unlabeled pictures collapse."""

from collections import deque
from collections.abc import Mapping

from scl_core.progress import Progress
from scl_core.runs import RunFolder

BEHIND = 0.02  # mIoU
EVALUATIONS = 2
COLLAPSED = 0.2  # of the labels' variety, effective classes beyond one
READINGS = 5
EARLY = 0.1  # share of the steps in which nothing can be said yet


class Alarms:
    """Writes an alarm to `alarms.jsonl` and the log when it begins to hold and when it ends; rank 0 alone has one.

    What it goes by is in the run's records, so a resumed run alarms as the uninterrupted one does.
    """

    def __init__(self, run: RunFolder, progress: Progress, steps: int, unlabeled_from: int):
        """`unlabeled_from` is the first step with an unlabeled part, above `steps` where there is none."""
        self.run, self.progress, self.steps = run, progress, steps
        self.unlabeled_from = unlabeled_from
        self.on = {row["kind"]: row["on"] for row in run.alarms()}
        self.readings: deque[tuple[float, float]] = deque(maxlen=READINGS)
        for row in run.metrics():
            self._read(row["step"], row.get("targets/classes"), row.get("labels/classes"))

    def set(self, kind: str, step: int, on: bool, text: str) -> None:
        """The alarm of this kind holds or does not; a row and a line are written when that changed."""
        if self.on.get(kind, False) == on:
            return
        self.on[kind] = on
        self.run.append_alarm({"step": step, "kind": kind, "on": on, "text": text})
        self.progress.say(f"step {step}, {'alarm' if on else 'alarm over'}: {text}")

    def evaluated(self, step: int) -> None:
        """Teacher 2 points of mIoU or more under its student at the last two evaluations of the unlabeled part?"""
        gaps = list(teacher_gaps(self.run.evaluations(), self.unlabeled_from).values())[-EVALUATIONS:]
        if not gaps:
            return
        behind = len(gaps) == EVALUATIONS and min(gaps) >= BEHIND
        now = f"{100 * gaps[-1]:.1f} points of mIoU under" if gaps[-1] > 0 else "no longer under"
        remedy = ": it lags or its batch norm does not fit; try method.ema_time or method.teacher_bn" if behind else ""
        self.set("teacher_behind", step, behind, f"the teacher is {now} its student on the validation list{remedy}")

    def targets(self, step: int, classes: float, label_classes: float) -> None:
        """Do the targets of the unlabeled pictures have less than a fifth of the labels' variety?

        Both are effective numbers of classes (see `scl_core.metrics.effective_classes`), means of five readings; the
        variety is what they have beyond one class, so that one class alone is none.
        """
        self._read(step, classes, label_classes)
        if len(self.readings) < READINGS:
            return
        ours, theirs = (sum(values) / READINGS for values in zip(*self.readings, strict=True))
        collapsed = ours - 1 < COLLAPSED * (theirs - 1)
        remedy = (
            ": predictions become alike; try smaller unlabeled weights or a longer method.ramp" if collapsed else ""
        )
        text = f"targets of unlabeled pictures use {ours:.1f} classes, the labels {theirs:.1f} (effective numbers)"
        self.set("collapse", step, collapsed, text + remedy)

    def _read(self, step: int, classes: float | None, label_classes: float | None) -> None:
        if step > EARLY * self.steps and classes is not None and label_classes is not None:
            self.readings.append((classes, label_classes))


def teacher_gaps(evaluations: list[Mapping], first_step: int) -> dict[int, float]:
    """By how much the student's mIoU is above the teacher's, at each step that has both on the validation list."""
    scores: dict[int, dict[str, float]] = {}
    for row in evaluations:
        if row["split"] == "val" and row["step"] >= first_step and row["mean_iou"] is not None:
            scores.setdefault(row["step"], {})[row["network"]] = row["mean_iou"]
    return {
        step: of["student"] - of["teacher"]
        for step, of in sorted(scores.items())
        if {"student", "teacher"} <= of.keys()
    }
