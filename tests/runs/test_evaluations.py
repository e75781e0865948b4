"""Evaluations stored in full, one integer matrix for each picture."""

from pathlib import Path

import numpy as np
import pytest

from scl_core.errors import UserError
from tests.runs.conftest import evaluation


def test_an_evaluation_is_stored_in_full(run):
    confusions = np.arange(2 * 3 * 4, dtype=np.int64).reshape(2, 3, 4) + 2**40
    run.write_evaluation(10, "val", "teacher", evaluation(0.25), confusions, ["a/x.png", "ü.png"])
    record, matrices, names = run.read_evaluation(10, "val", "teacher")
    assert record == {"step": 10, "split": "val", "network": "teacher", **evaluation(0.25)} | {
        "names": names,
        "confusion": confusions.sum(0).tolist(),
    }
    assert matrices.dtype == np.int64 and np.array_equal(matrices, confusions) and names == ["a/x.png", "ü.png"]
    assert run.evaluations() == [{"step": 10, "split": "val", "network": "teacher", **evaluation(0.25)}]


def test_an_evaluation_made_twice_counts_once_and_the_later(run):
    for value in (0.25, 0.5):
        run.write_evaluation(10, "val", "teacher", evaluation(value), np.zeros((1, 2, 2), np.int64), ["a"])
    run.write_evaluation(10, "val", "student", evaluation(None), np.zeros((1, 2, 2), np.int64), ["a"])
    assert [(row["network"], row["mean_iou"]) for row in run.evaluations()] == [("teacher", 0.5), ("student", None)]


def test_float_matrices_and_path_like_names_are_refused(run):
    with pytest.raises(ValueError, match="integers"):
        run.write_evaluation(1, "val", "teacher", {}, np.zeros((1, 2, 2)), ["a"])
    with pytest.raises(ValueError, match="file name"):
        run.write_evaluation(1, "val", "../teacher", {}, np.zeros((1, 2, 2), np.int64), ["a"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x80\x04\x95pickle"])
def test_damaged_matrices_are_an_error_of_one_line(run, content):
    run.write_evaluation(1, "val", "teacher", evaluation(0.1), np.zeros((1, 2, 2), np.int64), ["a"])
    (run.path / "evaluations" / "1-val-teacher.npz").write_bytes(content)
    with pytest.raises(UserError, match="no readable evaluation"):
        run.read_evaluation(1, "val", "teacher")


def test_pickled_matrices_are_refused(run, tmp_path):
    run.write_evaluation(1, "val", "teacher", evaluation(0.1), np.zeros((1, 2, 2), np.int64), ["a"])
    np.savez(run.path / "evaluations" / "1-val-teacher.npz", confusions=np.array([Path], dtype=object), names=["a"])
    with pytest.raises(UserError, match="no readable evaluation"):
        run.read_evaluation(1, "val", "teacher")
