"""Launching: processes that outlive whoever started them, are stopped and killed as a whole, and never mistaken."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from scl_core import launch
from scl_core.errors import UserError
from scl_core.runs import RunFolder, list_runs
from scl_core.runs.processes import describe_process

CONFIG = {"seed": 1, "method": {"name": "scl"}, "data": {"name": "scenes"}, "train": {"steps": 9}}

TRAINER = '''
"""Does what a trainer does to its folder: starts, beats, stops when asked."""
import signal, subprocess, sys, time
import yaml
from scl_core.runs import RunFolder

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
run = RunFolder(options["--resume"]) if "--resume" in options else RunFolder.create(options["--run_dir"])
config = yaml.safe_load(open(options["--config"])) if "--config" in options else run.config()
print("options", sorted(options), flush=True)
behaviour = config.get("behaviour", "work")
if behaviour == "mistake":
    sys.exit("error: a mistake in the settings")
asked = []
signal.signal(signal.SIGTERM, lambda *_: behaviour == "deaf" or asked.append(1))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"], start_new_session=True)
with run.lock():
    run.write_start(config, {}, "")
    run.begin(0, 9)
    while not asked and behaviour != "finish":
        time.sleep(0.02)
    child.kill()
    child.wait()
    run.set_status("finished" if behaviour == "finish" else "stopped", 5)
'''


@pytest.fixture
def trainer(tmp_path, monkeypatch, project_root):
    """The name of a module that stands in for the trainer; what it started is killed at the end."""
    (tmp_path / "small_trainer.py").write_text(TRAINER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{project_root}")
    yield "small_trainer"
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
            child.kill()
    wait_until(lambda: launch.reap() == 0)


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def wait_for(run: RunFolder, *states: str) -> None:
    wait_until(lambda: run.status().state in states)


def test_the_command_is_a_list_of_plain_words(tmp_path):
    command = launch.command_for("a b.yaml", tmp_path / "$(rm -rf x)", 2)
    assert command[:3] == [sys.executable, "-m", "scl_core.train"]
    assert command[3:] == [
        *("--config", os.path.abspath("a b.yaml"), "--run_dir", f"{tmp_path}/$(rm -rf x)", "--processes", "2")
    ]
    assert launch.resume_command("-odd")[-2:] == ["--resume", os.path.abspath("-odd")]
    with pytest.raises(UserError, match="at least 1"):
        launch.command_for("a.yaml", tmp_path, 0)


def test_a_run_is_launched_stopped_and_resumed(tmp_runs, trainer):
    run = launch.launch(CONFIG, tmp_runs / "first", module=trainer)
    assert run.status().state == "queued"
    assert [(summary.name, summary.status.state, summary.method) for summary in list_runs(tmp_runs)] == [
        ("first", "queued", "scl")
    ]
    assert RunFolder.open(run.path).config() == CONFIG
    wait_for(run, "running")
    assert run.config() == CONFIG and os.getsid(run.status().pid) == run.status().pid
    launch.request_stop(run.path)
    wait_for(run, "stopping", "stopped")
    wait_for(run, "stopped")
    wait_until(lambda: launch.reap() == 0)
    launch.resume(run.path, module=trainer)
    assert run.status().state == "queued"
    wait_for(run, "running")
    launch.request_stop(run.path)
    wait_for(run, "stopped")
    assert run.launch_log_tail().splitlines() == ["options ['--config', '--run_dir']", "options ['--resume']"]


def test_a_stop_that_was_asked_for_is_shown_until_it_is_done(tmp_runs, trainer):
    run = launch.launch({**CONFIG, "behaviour": "deaf"}, tmp_runs / "deaf", module=trainer)
    wait_for(run, "running")
    launch.request_stop(run.path)
    assert run.status().state == "stopping" and run.status().active
    launch.kill(run.path)
    assert run.status().state == "stopped"
    assert "killed before it could save" in run.status().reason


def test_a_run_can_be_stopped_before_it_began(tmp_runs, trainer):
    run = launch.launch(CONFIG, tmp_runs / "first", module=trainer)
    launch.request_stop(run.path)
    wait_for(run, "stopped")
    assert run.status().reason == "stopped before it began"
    assert list_runs(tmp_runs)[0].status.state == "stopped"


def test_a_kill_takes_the_children_in_their_own_sessions_too(tmp_runs, trainer):
    run = launch.launch(CONFIG, tmp_runs / "first", module=trainer)
    wait_for(run, "running")
    family = [psutil.Process(run.status().pid), *psutil.Process(run.status().pid).children(recursive=True)]
    assert len(family) == 2 and os.getsid(family[1].pid) != os.getsid(family[0].pid)
    launch.kill(run.path)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    with pytest.raises(UserError, match="no process of it is left"):
        launch.kill(run.path)


def test_a_killed_run_can_be_resumed_at_once(tmp_runs, trainer):
    run = launch.launch(CONFIG, tmp_runs / "first", module=trainer)
    wait_for(run, "running")
    os.kill(run.status().pid, signal.SIGKILL)
    wait_for(run, "lost")
    launch.resume(run.path, module=trainer)
    wait_for(run, "running")


def test_a_mistake_in_the_settings_is_shown_though_the_folder_was_never_made(tmp_runs, trainer):
    run = launch.launch({**CONFIG, "behaviour": "mistake"}, tmp_runs / "first", module=trainer)
    wait_for(run, "failed")
    assert run.status().reason == "error: a mistake in the settings"
    assert list_runs(tmp_runs)[0].status.state == "failed"
    launch.launch(CONFIG, tmp_runs / "first", module=trainer)  # corrected, under the same name
    wait_for(run, "running")


def test_two_clicks_start_one_run(tmp_runs, trainer):
    outcomes = []

    def click():
        try:
            outcomes.append(launch.launch(CONFIG, tmp_runs / "first", module=trainer))
        except UserError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [outcome for outcome in outcomes if isinstance(outcome, RunFolder)]
    assert len(started) == 1 and len(outcomes) == 4
    assert all("was already started" in outcome for outcome in outcomes if isinstance(outcome, str))
    wait_for(started[0], "running")  # it outlives the thread that started it
    with pytest.raises(UserError, match="it is running"):
        launch.launch(CONFIG, tmp_runs / "first", module=trainer)
    with pytest.raises(UserError, match="it is running"):
        launch.resume(tmp_runs / "first", module=trainer)


def test_names_and_folders_in_use_are_refused_before_anything_is_written(tmp_runs, trainer):
    (tmp_runs / "used").mkdir()
    (tmp_runs / "used" / "file").write_text("x")
    for name, words in (("used", "--resume"), ("--help; rm -rf", "cannot name a run"), ("a\nb", "cannot name a run")):
        with pytest.raises(UserError, match=words):
            launch.launch(CONFIG, tmp_runs / name, module=trainer)
    assert not list(tmp_runs.glob(".launch/*.yaml"))


def test_ended_runs_leave_no_zombies(tmp_runs, trainer):
    before = set(psutil.Process().children())
    for number in range(5):
        launch.launch({**CONFIG, "behaviour": "finish"}, tmp_runs / f"run-{number}", module=trainer)
    wait_until(lambda: launch.reap() == 0)
    assert set(psutil.Process().children()) <= before
    assert [summary.status.state for summary in list_runs(tmp_runs)] == ["finished"] * 5
    with pytest.raises(UserError, match="is finished"):
        launch.resume(tmp_runs / "run-0", module=trainer)


def test_a_run_outlives_the_server_that_started_it(tmp_runs, trainer, project_root):
    code = f"from scl_core import launch; launch.launch({CONFIG!r}, {str(tmp_runs / 'first')!r}, module={trainer!r})"
    subprocess.run([sys.executable, "-c", code], cwd=project_root, check=True)
    run = RunFolder(tmp_runs / "first")
    wait_for(run, "running")
    assert psutil.Process(run.status().pid).ppid() != os.getpid()
    launch.request_stop(run.path)
    wait_for(run, "stopped")


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another"}, {"host": "node7"}, {"pid": "1"}])
@pytest.mark.parametrize("action", [launch.request_stop, launch.kill])
def test_a_stranger_with_the_number_gets_no_signal(tmp_runs, action, change):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        run = RunFolder.create(tmp_runs / "first")
        run.write_start(CONFIG, {}, "")
        run.begin(0, 9)
        (run.path / "process.json").write_text(json.dumps(describe_process(stranger.pid) | change))
        with pytest.raises(UserError, match="no process of it is left|on host node7"):
            action(run.path)
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_kill_ends_the_launcher_of_the_ranks_too(tmp_runs):
    """A rank's torchrun is a process above it, which would otherwise live on with the other ranks."""
    code = "import subprocess, sys, time; [subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
    code += "start_new_session=True) for _ in range(2)]; print('ready', flush=True); time.sleep(60)"
    above = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    above.stdout.readline()
    ranks = psutil.Process(above.pid).children()
    run = RunFolder.create(tmp_runs / "first")
    run.write_start(CONFIG, {}, "")
    run.begin(0, 9)
    record = describe_process(ranks[0].pid) | {"launcher": describe_process(above.pid)}
    (run.path / "process.json").write_text(json.dumps(record))
    launch.kill(run.path)
    above.communicate(timeout=5)
    assert not psutil.pid_exists(above.pid) and not any(
        rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks
    )
    assert run.status().state == "stopped"


def test_the_settings_file_is_read_by_the_trainer_as_given(tmp_runs, trainer):
    config = {**CONFIG, "behaviour": "finish", "text": "yes: [no]\n#", "none": None, "list": [1, 2.5, "1e3"]}
    run = launch.launch(config, tmp_runs / "first", module=trainer)
    wait_for(run, "finished")
    assert run.config() == config
    assert yaml.safe_load(Path(run.path, "config.yaml").read_text()) == config
    assert not run.launch_file(".yaml").exists()


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/.tmp")


@pytest.mark.fault
def test_a_run_that_finds_no_room_is_not_started(tmp_runs, trainer, monkeypatch):
    for name in ("replace_file", "write_json_atomic"):
        with monkeypatch.context() as patch:
            patch.setattr(launch, name, full)
            with pytest.raises(UserError, match="run first cannot be started: the disk is full: make room"):
                launch.launch(CONFIG, tmp_runs / "first", module=trainer)
        wait_until(lambda: launch.reap() == 0)


@pytest.mark.fault
def test_a_run_is_stopped_on_a_full_disk_too(tmp_runs, trainer, monkeypatch):
    run = launch.launch(CONFIG, tmp_runs / "first", module=trainer)
    wait_for(run, "running")
    monkeypatch.setattr(launch, "write_json_atomic", full)
    launch.request_stop(run.path)
    wait_for(run, "stopped")
