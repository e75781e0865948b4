"""A run's folder: what is written can be read, whatever its name."""

import hashlib
import os

import pytest

from scl_core.errors import UserError
from scl_core.runs import RunFolder, list_runs
from tests.runs.conftest import CONFIG, start_run


def test_a_new_run_reads_back(run):
    again = RunFolder.open(run.path)
    assert again.config() == CONFIG
    assert again.environment()["packages"]["torch"]
    assert again.resolved() == "[labeled]\na.png\n"
    status = again.status()
    assert (status.state, status.step, status.steps, status.pid) == ("running", 0, 40, os.getpid())
    assert status.alive and status.active and status.heartbeat_age < 5
    assert all(oct(path.stat().st_mode)[-3:] == "644" for path in run.path.iterdir())


def test_a_folder_in_use_is_refused_with_the_line_to_type(run):
    with pytest.raises(UserError, match=f"python -m scl_core.train --resume {run.path}"):
        RunFolder.create(run.path)
    empty = run.path.parent / "empty"
    empty.mkdir()
    assert RunFolder.create(empty).path == empty


@pytest.mark.parametrize("name", ["çå😀 run", "a b", "x" * 200])
def test_unusual_names_work(tmp_runs, name):
    start_run(tmp_runs / name)
    assert [summary.name for summary in list_runs(tmp_runs)] == [name]


@pytest.mark.parametrize("name", ["line\nbreak", "bad\udcff", "x" * 300, "nul\0", "--help; rm -rf", ".hidden", " "])
def test_impossible_names_are_refused(tmp_runs, name):
    with pytest.raises(UserError, match="cannot name a run"):
        RunFolder.create(f"{tmp_runs}/{name}")


def test_a_best_checkpoint_after_the_resumed_step_is_forgotten(run):
    (run.path / "checkpoints").mkdir()
    best = run.path / "checkpoints" / "best.json"
    best.write_text('{"step": 8, "mean_iou": 0.5, "network": "teacher"}')
    run.begin(8, 40)
    assert run.best()["step"] == 8
    run.begin(7, 40)
    assert run.best() is None


@pytest.mark.parametrize(
    ("score", "step", "better"),
    [(0.5, 9, True), (0.5, 7, False), (0.6, 7, True), (0.4, 9, False), (float("nan"), 9, False)],
)
def test_a_better_score_counts_and_of_two_equal_ones_the_later(run, score, step, better):
    assert run.is_better(0.1, 1)
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "best.json").write_text('{"step": 8, "mean_iou": 0.5, "network": "teacher"}')
    assert run.is_better(score, step) is better


def test_the_resolved_lists_keep_their_hash(tmp_runs):
    text = "images/ä.png masks/ä.png\r\nimages/\udcff.png\n"
    run = RunFolder.create(tmp_runs / "lists")
    run.write_start(CONFIG, {}, text)
    assert run.resolved() == text
    raw = (run.path / "resolved.txt").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def test_the_log_tail_is_bounded_and_shows_what_a_terminal_would(run):
    (run.path / "log.txt").write_text("x" * 1_000_000 + "\nfirst\rsecond\nlast\n")
    assert run.log_tail(2) == "second\nlast"
    assert len(run.log_tail(10_000)) <= 1 << 16


def test_a_folder_that_is_gone_is_not_made_again(run):
    os.rename(run.path, run.path.with_name("moved"))
    for write in (lambda: run.append_metrics({"step": 1}), lambda: run.set_status("finished")):
        with pytest.raises(OSError):
            write()
    assert not run.path.exists()
