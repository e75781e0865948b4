"""What the comparison computes of two evaluations: their matrices from the run folders, kept while the files stay."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from pages.shared import evaluations as ev
from pages.shared import store
from scl_core.comparison import Differences, compare_scores
from scl_core.errors import UserError
from scl_core.runs import RunFolder

AREAS = {"whole": "whole picture", "boundary": "boundary band"}


@dataclass(frozen=True)
class Matrices:
    """One integer matrix per picture, [n, C, C or C + 1], for the whole picture and, where taken, near the borders."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    whole: np.ndarray
    boundary: np.ndarray | None

    def of(self, area: str) -> np.ndarray:
        """The matrices of an area of `AREAS`. Raises `UserError` for the band where it was not taken."""
        found = self.whole if area == "whole" else self.boundary
        if found is None:
            raise UserError("the boundary band of this checkpoint was not scored: evaluate it again")
        return found


def matrices_of(item: ev.Evaluation) -> Matrices:
    """The matrices of an evaluation. Raises `UserError` where they are not there, or of other pictures."""
    run = store.run_folder(item.run)
    place = (item.step, item.record["split"], item.record["network"], str(item.record.get("variant") or ""))
    file = run.path / "evaluations" / ("-".join(map(str, filter(None, place))) + ".npz")
    if not file.is_file():
        raise UserError(
            f"{item.label}: the confusion matrices of its pictures are not stored; score it by Evaluate a checkpoint"
        )
    record, found = _matrices(str(run.path), *place, file.stat().st_mtime_ns)
    if any(record.get(key) != item.record.get(key) for key in ("list_hash", "protocol")):
        raise UserError(f"{item.label}: the matrices on disk are of other pictures; evaluate this checkpoint again")
    return found


@st.cache_data(max_entries=16, show_spinner=False)
def _matrices(path: str, step: int, split: str, network: str, variant: str, stamp: int) -> tuple[dict, Matrices]:
    run = RunFolder(path)
    record, confusions, names = run.read_evaluation(step, split, network, variant)
    boundary = run.read_boundary(step, split, network, variant)
    scores = record.get("per_class_iou")
    classes = tuple(scores) if isinstance(scores, dict) else ()
    if len(classes) != confusions.shape[1]:
        raise UserError(f"run {run.name}: evaluation {step}-{split}-{network} names {len(classes)} classes for others")
    return record, Matrices(classes, tuple(names), confusions, boundary)


def differences(first: Matrices, second: Matrices, area: str, block: int) -> Differences:
    """IoU differences with their interval. Raises `UserError` where the two are not of the same pictures."""
    require_same_pictures(first, second)
    return _differences(first.of(area), second.of(area), block)


@st.cache_data(max_entries=32, show_spinner="Resampling the pictures …")
def _differences(first: np.ndarray, second: np.ndarray, block: int) -> Differences:
    return compare_scores(first, second, block)


def require_same_pictures(first: Matrices, second: Matrices) -> None:
    """Raise `UserError` with the reason where two evaluations cannot be laid picture beside picture."""
    if first.classes != second.classes:
        raise UserError("the two have different classes, so no picture of them can be compared: pick runs on one data")
    if first.names != second.names:
        raise UserError("the two were scored on different pictures: evaluate both on the same list")


def pick_two(chosen: list[ev.Evaluation]) -> list[ev.Evaluation]:
    """What views of two show: the first, which is the reference, and one of the others; one alone stays alone."""
    if len(chosen) < 3:
        return chosen
    others = {item.label: item for item in chosen[1:]}
    label = st.selectbox("Matrices and pictures: the first with", list(others), key="against", width=340)
    return [chosen[0], others[label]]
