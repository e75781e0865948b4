"""Long work on a run that a page asks for: a process of its own, with progress, that can be cancelled."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scl_core.errors import UserError
from scl_core.launch import PROJECT
from scl_core.runs import RunFolder
from scl_core.runs.folder import tail
from scl_core.runs.processes import describe_process, find_process
from scl_core.storage.files import DamagedFile, open_regular, read_json_or_none, refusal, write_json_atomic

COUNT = re.compile(r"^(\d{1,12})/(\d{1,12})\b", re.MULTILINE)
ERROR = "error: "

KEPT_CHILDREN = 32
NO_ROOM = 1 << 16
"""Free bytes below which a disk counts as full."""

_started: list[subprocess.Popen] = []
_guard = threading.Lock()


@dataclass(frozen=True)
class Job:
    """How far one piece of work has come; `problem` says why it ended without a result."""

    kind: str
    running: bool
    done: int
    total: int
    problem: str | None

    @property
    def share(self) -> float:
        """What is done, 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


def job_command(module: str, run_dir: str | Path, *options: str) -> list[str]:
    """The argument list of one of the project's commands on a run."""
    return [sys.executable, "-m", f"scl_core.{module}", os.path.abspath(run_dir), *options]


def start_job(run: RunFolder, kind: str, command: Sequence[str]) -> None:
    """Start `command` for this run. Raises `UserError` while one of the same kind is at work, or nothing can start."""
    known = read_job(run, kind)
    if known is not None and known.running:
        raise UserError(f"run {run.name}: {kind} is already at work; wait for it or cancel it")
    record, log = run.launch_file(f".{kind}.json"), run.launch_file(f".{kind}.log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as output:
            child = subprocess.Popen(
                list(command),
                cwd=PROJECT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        record_or_end(child, record, command)
    except (OSError, DamagedFile) as error:
        raise UserError(f"run {run.name}: {kind} cannot be started: {refusal(error)}") from error
    with _guard:
        _started.append(child)
        del _started[:-KEPT_CHILDREN]


def record_or_end(child: subprocess.Popen, record: Path, command: Sequence[str]) -> None:
    """Write down which process it is; one that cannot be written down, and so never be found again, is ended."""
    try:
        write_json_atomic(record, describe_process(child.pid, command))
    except BaseException:
        child.kill()
        child.wait()
        raise


def read_job(run: RunFolder, kind: str) -> Job | None:
    """The last job of this kind, None where there was none or it was put away."""
    record = read_json_or_none(run.launch_file(f".{kind}.json"))
    if record is None:
        return None
    log = tail(run.launch_file(f".{kind}.log"), 200)
    counts = COUNT.findall(log)
    done, total = map(int, counts[-1]) if counts else (0, 0)
    running = find_process(record) is not None
    status = None if running else exit_status(record.get("pid"))
    problem = None if running else problem_in(log) or early_end(status, done, total, log)
    if problem and not running and free_bytes(run) < NO_ROOM:
        problem += "; the disk is full: make room, then start it again"
    return Job(kind, running, done, total, problem)


def problem_in(log: str) -> str | None:
    """The sentence of the error with which a command ended, None where its log tells of none."""
    lines = [line for line in log.splitlines() if line.strip()]
    told = next((line.removeprefix(ERROR) for line in reversed(lines) if line.startswith(ERROR)), None)
    if told is None and any(line.startswith("Traceback ") for line in lines):
        return lines[-1]
    return told


def early_end(status: int | None, done: int, total: int, log: str) -> str | None:
    """Why a job without an error in its log has no result either; None when it did its work.

    `status` is that of its process, None where another server started it.
    """
    if not log.strip():
        return "it ended without a word"
    if status:
        return f"it ended with status {status} after {done} of {total}"
    if status is None and done < total:
        return f"it ended after {done} of {total}"
    return None


def exit_status(pid: object) -> int | None:
    """How a process that was started here ended, None for one that was not, or that still runs; no zombie is left."""
    with _guard:
        return {child.pid: child.poll() for child in _started}.get(pid)


def free_bytes(run: RunFolder) -> int:
    """What the disk with the job's log has left."""
    try:
        usage = os.statvfs(run.launch_file("").parent)
    except OSError:
        return NO_ROOM
    return usage.f_bavail * usage.f_frsize


def cancel_job(run: RunFolder, kind: str) -> None:
    """End the job; what it has not written yet is lost. Known by start time and boot, never by its number alone."""
    process = find_process(read_json_or_none(run.launch_file(f".{kind}.json")))
    if process is not None:
        process.terminate()
        process.wait(10)
    forget_job(run, kind)


def forget_job(run: RunFolder, kind: str) -> None:
    """Put the record of a job away that has ended."""
    for ending in ("json", "log"):
        with contextlib.suppress(OSError):
            os.unlink(run.launch_file(f".{kind}.{ending}"))
