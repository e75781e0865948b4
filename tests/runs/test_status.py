"""The state of a run: from its own word, its process and its last sign of life."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scl_core.runs import RunFolder
from scl_core.runs.processes import describe_process
from scl_core.runs.status import derive_status
from tests.runs.conftest import CONFIG


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_device_is_never_replaced(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    os.unlink(run.path / "status.json")
    (run.path / "status.json").symlink_to(victim)
    with pytest.raises(ValueError, match="not a regular file"):
        run.set_status("stopped")
    assert victim.read_text() == "mine" and (run.path / "status.json").is_symlink()


def test_states_outside_the_list_are_refused(run):
    with pytest.raises(ValueError, match="stalled"):
        run.set_status("stalled")


def test_a_status_keeps_what_is_not_given(run):
    run.set_status("failed", 7, reason="loss not finite")
    status = RunFolder(run.path).status()
    assert (status.state, status.step, status.steps, status.reason) == ("failed", 7, 40, "loss not finite")
    assert not status.alive and not status.active


def test_a_run_that_is_resumed_is_queued_until_it_begins(run):
    run.set_status("stopped", 7)
    again = RunFolder.open(run.path)
    again.write_start(CONFIG, {}, "")
    assert (again.status().state, again.status().step, again.status().steps) == ("queued", 7, 40)
    again.begin(7, 60)
    assert (again.status().state, again.status().step, again.status().steps) == ("running", 7, 60)


def test_a_beat_is_written_now_and_then(run, monkeypatch):
    run.beat(3)
    assert run.status().step == 0
    run._last_beat -= 6
    run.beat(3)
    assert run.status().step == 3


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_silent_run_is_stalled_while_its_process_lives_and_lost_afterwards(run, sleeper):
    (run.path / "process.json").write_text(json.dumps(describe_process(sleeper.pid)))
    assert run.status().state == "running"
    edit_json(run.path / "status.json", monotonic=time.monotonic() - 75)
    status = run.status()
    assert status.state == "stalled" and status.alive and 74 < status.heartbeat_age < 80
    assert "no sign of progress since 2" in status.reason
    os.kill(sleeper.pid, signal.SIGKILL)
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    status = run.status()  # a zombie is gone, too
    assert status.state == "lost" and status.alive is False and str(sleeper.pid) in status.reason


def test_another_process_with_the_number_is_not_the_run(run, sleeper):
    record = describe_process(sleeper.pid)
    for change in ({"start_ticks": record["start_ticks"] - 500}, {"boot_id": "another boot"}):
        (run.path / "process.json").write_text(json.dumps(record | change))
        assert run.status().state == "lost"


def test_a_process_on_another_host_is_unknown(run, sleeper):
    (run.path / "process.json").write_text(json.dumps(describe_process(sleeper.pid) | {"host": "node7"}))
    status = run.status()
    assert status.state == "running" and status.alive is None
    assert "unknown host node7" in status.reason


def test_a_jump_of_the_clock_changes_nothing(run, monkeypatch):
    for jump in (-86_400.0, 10 * 365 * 86_400.0):
        now = time.time() + jump
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert run.status().state == "running" and run.status().heartbeat_age < 5


def test_a_run_without_any_status_is_lost(run):
    os.unlink(run.path / "status.json")
    assert run.status().state == "queued"  # its process has only just begun
    os.unlink(run.path / "process.json")
    assert run.status().state == "lost"


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=2)))
def test_any_record_gives_a_status(value):
    for name in ("state", "step", "steps", "reason", "monotonic", "time", "boot_id"):
        derive_status({"state": "running", name: value}, {"pid": 1}, None, None)
    for name in ("pid", "create_time", "start_ticks", "boot_id", "host"):
        record = describe_process() | {name: value}
        derive_status({"state": "running"}, record, None, record)
        derive_status(None, None, record, record)
        derive_status(None, describe_process(), record, None)
