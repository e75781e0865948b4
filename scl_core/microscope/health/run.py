"""A run examined: all five checks on its records, its lists and its last networks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scl_core.config import RunConfig
from scl_core.data.sources import DataSource, PictureList, open_data
from scl_core.methods import METHODS, Method
from scl_core.methods.step_boxes import mixes_pictures
from scl_core.microscope.health import boxes, confidence, overlap, teacher, terms
from scl_core.microscope.health.finding import UNKNOWN, Finding
from scl_core.microscope.replay import batch_of_step
from scl_core.progress import Tell, unheard
from scl_core.restore import restore, run_config
from scl_core.runs import RunFolder

LABEL_STEPS = 4


@dataclass(frozen=True)
class Health:
    """What the checks measured and found; a part is None where a run has nothing to measure.

    `confidences` float32 [pixels], those of the network that teaches; `findings` in the order of the checks; `step`
    that of the networks, 0 without a checkpoint.
    """

    findings: tuple[Finding, ...]
    pulls: terms.Pulls
    lag: teacher.Lag | None
    confidences: np.ndarray | None
    lists: overlap.Lists
    boxes: boxes.BoxClasses | None
    source: DataSource
    step: int


def examine(run_dir: str | Path, most_pictures: int = overlap.MOST, tell: Tell = unheard) -> Health:
    """Examine a run. `most_pictures` of each list are compared, none with 0; `tell` hears of each that is read.

    Raises `UserError` for a run, a checkpoint or a picture that cannot be read.
    """
    run, config = RunFolder.open(run_dir), run_config(run_dir)
    source = open_data(config.data)
    method, step = _networks(run)
    pulls = terms.pulls(run.metrics())
    lag = _lag(method, run, step)
    sure = (
        None
        if method is None
        else confidence.confidences(method.producer, _unlabeled(source), _temperature(config.method))
    )
    lists = overlap.shared_pictures(source, most_pictures, tell)
    in_boxes = _boxes(config, source)
    findings = (
        terms.judge_terms(pulls, METHODS[config.method.name].num_strong > 0),
        _without_checkpoint(teacher) if method is None else teacher.judge_teacher(lag),
        _without_checkpoint(confidence) if sure is None else confidence.judge_confidence(sure, len(source.class_names)),
        overlap.judge_overlap(lists),
        boxes.judge_boxes(in_boxes),
    )
    return Health(findings, pulls, lag, sure, lists, in_boxes, source, step)


def _networks(run: RunFolder) -> tuple[Method | None, int]:
    if not run.checkpoints():
        return None, 0
    restored = restore(run.path)
    return restored.method, restored.step


def _lag(method: Method | None, run: RunFolder, step: int) -> teacher.Lag | None:
    if method is None or method.teacher is None:
        return None
    average = method.teacher
    return teacher.teacher_lag(average.model, method.student, run.evaluations(), average.decay, step)


def _temperature(settings) -> float:
    """By what the structured loss divides the logits; 1 where there is none or it compares the logits themselves."""
    softened = getattr(settings, "structured_weight", 0.0) and getattr(settings, "structured_on", "") == "probs"
    return settings.structured_temperature if softened else 1.0


def _unlabeled(source: DataSource) -> PictureList:
    return source.pictures("unlabeled" if "unlabeled" in source.lists else "labeled")


def _boxes(config: RunConfig, source: DataSource) -> boxes.BoxClasses | None:
    """The boxes over labeled pictures as training crops them; None where no loss looks inside boxes."""
    method = config.method
    structured = getattr(method, "structured_weight", 0.0) and getattr(method, "structured_region", "") == "boxes"
    if not (mixes_pictures(method) and structured):
        return None
    batches = (batch_of_step(config, source, 0, step, config.seed) for step in range(1, LABEL_STEPS + 1))
    labels = [label for batch in batches for label in batch.labels.numpy()]
    return boxes.classes_per_box(labels, method, config.seed, max(boxes.DRAWS, len(labels)))


def _without_checkpoint(check) -> Finding:
    return Finding(check.CHECK, UNKNOWN, check.NAME, "–", "The run has no checkpoint yet.", "Wait for its first one.")
