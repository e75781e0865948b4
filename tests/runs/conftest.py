"""What the tests of run folders share: a run that has just begun, and an evaluation of two classes."""

from pathlib import Path

import pytest

from scl_core.runs import RunFolder, describe_environment

CONFIG = {"seed": 3, "method": {"name": "scl", "max_pairs": None}, "data": {"name": "scenes"}, "train": {"steps": 40}}


@pytest.fixture
def run(tmp_runs: Path) -> RunFolder:
    return start_run(tmp_runs / "first")


def start_run(path: Path, steps: int = 40) -> RunFolder:
    run = RunFolder.create(path)
    run.write_start(CONFIG, describe_environment(threads=1), "[labeled]\na.png\n")
    run.begin(0, steps)
    return run


def evaluation(value: float | None) -> dict:
    return {
        "mean_iou": value,
        "per_class_iou": {"Road": value, "Train": None},
        "protocol": "whole",
        "list_hash": "ab",
        "pictures": 2,
    }
