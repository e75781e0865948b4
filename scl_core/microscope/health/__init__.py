"""Five checks of a run, for a reader who does not know what is wrong with it: each measures, judges and advises."""

from scl_core.microscope.health.boxes import BoxClasses, classes_per_box, judge_boxes
from scl_core.microscope.health.confidence import confidences, judge_confidence
from scl_core.microscope.health.finding import LOOK, SOUND, UNKNOWN, Finding
from scl_core.microscope.health.overlap import Lists, Overlap, judge_overlap, shared_pictures
from scl_core.microscope.health.run import Health, examine
from scl_core.microscope.health.teacher import Lag, judge_teacher, teacher_lag
from scl_core.microscope.health.terms import Pulls, judge_terms, pulls

__all__ = [
    "LOOK", "SOUND", "UNKNOWN", "BoxClasses", "Finding", "Health", "Lag", "Lists", "Overlap", "Pulls",
    "classes_per_box", "confidences", "examine", "judge_boxes", "judge_confidence", "judge_overlap", "judge_teacher",
    "judge_terms", "pulls", "shared_pictures", "teacher_lag",
]  # fmt: skip
