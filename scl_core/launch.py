"""Start, stop and kill training as processes of their own, which outlive the page and server that asked for them."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from scl_core.errors import UserError
from scl_core.runs import RunFolder, check_name
from scl_core.runs.processes import describe_process, family, find_process
from scl_core.storage.files import (
    DamagedFile,
    open_regular,
    read_json_or_none,
    refusal,
    replace_file,
    write_json_atomic,
)
from scl_core.storage.plain_yaml import to_yaml

PROJECT = Path(__file__).resolve().parent.parent
TRAINER = "scl_core.train"
QUEUE = "scl_core.in_turn"
KILL_SECONDS = 10.0

_started: list[subprocess.Popen] = []
_started_guard = threading.Lock()


def command_for(config_file: str | Path, run_dir: str | Path, processes: int = 1, module: str = TRAINER) -> list[str]:
    """The argument list that trains a new run in `run_dir` with the settings of `config_file`."""
    options = ["--config", os.path.abspath(config_file), "--run_dir", os.path.abspath(run_dir)]
    return [sys.executable, "-m", module, *options, *rank_options(processes)]


def resume_command(run_dir: str | Path, processes: int = 1, module: str = TRAINER) -> list[str]:
    """The argument list that goes on with the run in `run_dir`."""
    return [sys.executable, "-m", module, "--resume", os.path.abspath(run_dir), *rank_options(processes)]


def rank_options(processes: int) -> list[str]:
    """The option that asks for several ranks, none for one."""
    if processes < 1:
        raise UserError(f"processes {processes}: at least 1 is needed")
    return ["--processes", str(processes)] if processes > 1 else []


def launch(config: dict[str, Any], run_dir: str | Path, processes: int = 1, module: str = TRAINER) -> RunFolder:
    """Start a new run with these settings (nested plain values) and return at once; the run makes its own folder.

    Raises `UserError` for a name that cannot be, for a folder that is in use, and when the run was started already.
    """
    check_name(run_dir)
    run = RunFolder(os.path.abspath(run_dir))
    config_file = run.launch_file(".yaml")
    command = command_for(config_file, run.path, processes, module)
    with starting(run):
        RunFolder.refuse_existing(run.path)
        replace_file(config_file, to_yaml(config).encode())
        start(run, command)
    return run


def launch_in_turn(configs: dict[str | Path, dict[str, Any]]) -> list[RunFolder]:
    """Start new runs one after the other, by run folder, from a process that outlives this one; returns at once.

    A run that waits is "queued"; when one does not finish, those after it do not begin. Raises as `launch`, and then
    starts nothing.
    """
    runs = [RunFolder(os.path.abspath(run_dir)) for run_dir in configs]
    with contextlib.ExitStack() as stack:
        for run in {run.path.parent: run for run in runs}.values():
            stack.enter_context(starting(run))
        for run in runs:
            check_name(run.path)
            refuse_active(run)
            RunFolder.refuse_existing(run.path)
        for run, config in zip(runs, configs.values(), strict=True):
            replace_file(run.launch_file(".yaml"), to_yaml(config).encode())
        queue = start(runs[0], [sys.executable, "-m", QUEUE, *(str(run.path) for run in runs)])
        for before, run in pairwise(runs):
            waiting = describe_process(queue.pid) | {"waiting": f"waits for run {before.name}"}
            write_json_atomic(run.launch_file(".json"), waiting)
    return runs


def resume(run_dir: str | Path, processes: int = 1, module: str = TRAINER) -> RunFolder:
    """Go on with a run from its last checkpoint. Raises `UserError` when it is active or finished, or there is none."""
    run = RunFolder.open(os.path.abspath(run_dir))
    command = resume_command(run.path, processes, module)
    with starting(run):
        state = run.status().state
        if state == "finished":
            raise UserError(f"run {run.name} is finished: there is nothing to go on with")
        start(run, command)
    return run


@contextlib.contextmanager
def starting(run: RunFolder) -> Iterator[None]:
    """Let one at a time start a run. Raises `UserError` when the run is active, or the disk refuses."""
    folder = run.launch_file("").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_regular(folder / "lock", os.O_RDWR | os.O_CREAT)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            refuse_active(run)
            yield
    except (OSError, DamagedFile) as error:
        raise UserError(f"run {run.name} cannot be started: {refusal(error)}") from error


def refuse_active(run: RunFolder) -> None:
    """Raise `UserError` when a process works on the run."""
    status = run.status()
    if status.active:
        where = f"process {status.pid} on {status.host}"
        raise UserError(f"run {run.name} was already started: it is {status.state} ({where})")


def start(run: RunFolder, command: list[str]) -> subprocess.Popen:
    """Start the process in a session of its own; what it prints is appended to the launch log."""
    reap()
    with os.fdopen(open_regular(run.launch_file(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as log:
        child = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with _started_guard:
        _started.append(child)
    try:
        write_json_atomic(run.launch_file(".json"), describe_process(child.pid, command))
    except BaseException:  # without its record nobody could find and stop it
        child.kill()
        child.wait()
        raise
    return child


def reap() -> int:
    """Take leave of launched processes that have ended, so that none stays a zombie; returns how many still run."""
    with _started_guard:
        _started[:] = [child for child in _started if child.poll() is None]
        return len(_started)


def request_stop(run_dir: str | Path) -> None:
    """Ask a run to save after the step under way and to end. Raises `UserError` when no process of it can be asked.

    Only the process that the run recorded is asked, known by start time and boot, never another with its number.
    """
    run = RunFolder(os.path.abspath(run_dir))
    for record in (read_json_or_none(run.path / "process.json"), read_json_or_none(run.launch_file(".json"))):
        process = find_process(record)
        if process is not None and record is not None:
            with contextlib.suppress(OSError):  # a full disk costs the word "stopping", never the stop
                run.launch_file("").parent.mkdir(exist_ok=True)
                write_json_atomic(run.launch_file(".stop.json"), record | {"asked": time.time()})
            process.send_signal(signal.SIGTERM)
            return
    raise UserError(nobody_to_signal(run))


def nobody_to_signal(run: RunFolder) -> str:
    """Why no process of this run can be signalled, in a sentence."""
    status = run.status()
    if status.alive is None:
        return f"run {run.name} is on host {status.host}: stop it there (process {status.pid})"
    return f"run {run.name} is {status.state}: no process of it is left to stop"


def kill(run_dir: str | Path) -> None:
    """End all processes of a run at once; what it did since its last checkpoint is lost.

    Raises `UserError` when no process of it is alive here, or one does not end.
    """
    run = RunFolder(os.path.abspath(run_dir))
    recorded = read_json_or_none(run.path / "process.json") or {}
    records = (recorded.get("launcher"), recorded, read_json_or_none(run.launch_file(".json")))
    processes = family([process for record in records if (process := find_process(record)) is not None])
    if not processes:
        raise UserError(nobody_to_signal(run))
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(processes, timeout=KILL_SECONDS)
    reap()
    if alive:
        raise UserError(f"run {run.name}: process {alive[0].pid} does not end")
    record_kill(run)


def record_kill(run: RunFolder) -> None:
    """Say in the run's status that it was killed: its own process cannot any more."""
    if (run.path / "process.json").exists():
        with run.lock():
            run.set_status("stopped", reason="killed before it could save; it can be resumed from its last checkpoint")
