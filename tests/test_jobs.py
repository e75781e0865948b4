"""Work that a page starts: real processes, their progress, their end, their cancelling."""

import errno
import subprocess
import sys
import time

import psutil
import pytest

from scl_core import jobs
from scl_core.errors import UserError
from scl_core.runs import RunFolder
from tests.fake_runs import write_run
from tests.tiny import wait_for


@pytest.fixture
def run(tmp_runs):
    return RunFolder(write_run(tmp_runs, "one"))


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def ended(run: RunFolder) -> bool:
    return not jobs.read_job(run, "evaluate").running


def test_a_job_tells_how_far_it_is_and_can_be_cancelled(run):
    assert jobs.read_job(run, "evaluate") is None
    jobs.start_job(run, "evaluate", python("import time; print('3/12  teacher', flush=True); time.sleep(60)"))
    wait_for(lambda: jobs.read_job(run, "evaluate").done == 3)
    job = jobs.read_job(run, "evaluate")
    assert job.running and job.share == 0.25 and job.problem is None
    with pytest.raises(UserError, match="already at work"):
        jobs.start_job(run, "evaluate", python("pass"))
    started = time.monotonic()
    jobs.cancel_job(run, "evaluate")
    assert jobs.read_job(run, "evaluate") is None and time.monotonic() - started < 30


def test_a_job_that_ends_well_has_no_problem(run):
    jobs.start_job(run, "evaluate", python("print('2/2  teacher'); print('mean IoU 12')"))
    wait_for(lambda: ended(run))
    assert jobs.read_job(run, "evaluate").problem is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; print('1/2 x'); sys.exit('error: the list is empty')", "the list is empty"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("pass", "without a word"),
    ],
)
def test_a_job_that_fails_says_why(run, script, said):
    jobs.start_job(run, "evaluate", python(script))
    wait_for(lambda: ended(run))
    assert said in jobs.read_job(run, "evaluate").problem
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


def test_evaluating_by_a_job_writes_into_the_run(tmp_runs, run_cli):
    from tests.method_run import train_small_run

    run = RunFolder(train_small_run(tmp_runs))
    jobs.start_job(run, "evaluate", jobs.job_command("evaluate", run.path, "--split", "test", "--device", "cpu"))
    wait_for(lambda: ended(run), seconds=120)
    job = jobs.read_job(run, "evaluate")
    assert job.problem is None and job.share == 1.0
    record, confusions, names = run.read_evaluation(3, "test", "teacher")
    near = run.read_boundary(3, "test", "teacher")
    assert near.shape == confusions.shape and (near <= confusions).all() and 0 < near.sum() < confusions.sum()
    assert record["boundary_pixels"] == 3 and set(record["boundary_iou"]) == set(record["per_class_iou"])


def test_a_job_that_was_ended_by_others_has_no_result(run):
    jobs.start_job(run, "evaluate", python("import os; print('3/12  teacher', flush=True); os.kill(os.getpid(), 9)"))
    wait_for(lambda: ended(run))
    assert "status -9 after 3 of 12" in jobs.read_job(run, "evaluate").problem


def test_a_job_of_another_server_counts_by_its_log(run):
    jobs.start_job(run, "evaluate", python("print('3/12  teacher')"))
    wait_for(lambda: ended(run))
    jobs._started.clear()
    assert jobs.read_job(run, "evaluate").problem == "it ended after 3 of 12"


@pytest.mark.fault
def test_a_job_without_a_record_is_not_left_running(run, monkeypatch):
    started = []

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/.tmp")

    monkeypatch.setattr(jobs, "write_json_atomic", refuse)
    real = subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1])
    with pytest.raises(UserError, match="cannot be started: the disk is full: make room, then try again"):
        jobs.start_job(run, "evaluate", python("import time; time.sleep(60)"))
    assert started[0].poll() is not None and jobs.read_job(run, "evaluate") is None
