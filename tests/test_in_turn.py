"""Runs one after the other: the second waits for the first, and does not begin when that one does not finish."""

import pytest

from scl_core import launch
from scl_core.errors import UserError
from scl_core.runs import RunFolder, list_runs
from tests.test_launch import trainer, wait_for, wait_until  # noqa: F401

QUEUE = "import sys\nfrom scl_core.in_turn import main\nsys.exit(main(sys.argv[1:], module='small_trainer'))\n"


@pytest.fixture
def queue(trainer, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "small_queue.py").write_text(QUEUE)
    monkeypatch.setattr(launch, "QUEUE", "small_queue")


def begin(tmp_path, *behaviours: str) -> list[RunFolder]:
    configs = {tmp_path / f"run{n}": {"behaviour": behaviour} for n, behaviour in enumerate(behaviours)}
    return launch.launch_in_turn(configs)


def test_the_second_begins_when_the_first_has_finished(queue, tmp_path):
    first, second = begin(tmp_path, "finish", "finish")
    assert second.status().state == "queued" and second.status().reason == "waits for run run0"
    assert {run.name for run in list_runs(tmp_path)} == {"run0", "run1"}
    wait_for(first, "finished")
    wait_for(second, "finished")


def test_stopping_the_first_leaves_the_second_out(queue, tmp_path):
    first, second = begin(tmp_path, "work", "finish")
    wait_for(first, "running")
    launch.request_stop(first.path)
    wait_for(first, "stopped")
    wait_until(lambda: [run.name for run in list_runs(tmp_path)] == ["run0"])
    assert not second.path.exists()


def test_a_waiting_run_can_be_taken_out_while_the_first_works_on(queue, tmp_path):
    first, second = begin(tmp_path, "work", "finish")
    wait_for(first, "running")
    launch.request_stop(second.path)
    wait_until(lambda: [run.name for run in list_runs(tmp_path)] == ["run0"])
    assert first.status().state == "running"
    launch.kill(first.path)


def test_a_folder_that_is_taken_starts_neither(queue, tmp_path):
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match="run1 is not empty"):
        begin(tmp_path, "finish", "finish")
    assert not (tmp_path / ".launch" / "run0.yaml").exists()
