"""Who a process is beyond its number, so that a number that was given to another process fools nobody."""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_FIELD = 19  # field 22 of /proc/<pid>/stat, counted from the one after the command's name


def boot_id() -> str:
    """A text that changes when the machine starts anew."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return str(round(psutil.boot_time()))


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; unlike wall time it never moves."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[START_FIELD])
    except (OSError, ValueError, IndexError):
        return None


def describe_process(pid: int | None = None, argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The record by which `find_process` knows this process (or that of `pid`) again.

    Under torchrun it names torchrun's process too, as `launcher`.
    """
    own = pid is None
    process = psutil.Process(pid)
    record = identity(process) | {"argv": list(argv or (sys.orig_argv if own else process.cmdline()))}
    if own and "TORCHELASTIC_RUN_ID" in os.environ:
        record["launcher"] = identity(process.parent())
    return record


def identity(process: psutil.Process) -> dict[str, Any]:
    """What tells this process from a later one with the same pid."""
    return {
        "pid": process.pid,
        "create_time": process.create_time(),
        "start_ticks": start_ticks(process.pid),
        "boot_id": boot_id(),
        "host": socket.gethostname(),
    }


def find_process(record: dict[str, Any] | None) -> psutil.Process | None:
    """The living process of a record, or None: ended, a zombie, another process by now, or on another host."""
    if not record or record.get("host") != socket.gethostname() or record.get("boot_id") != boot_id():
        return None
    try:
        process = psutil.Process(int(record["pid"]))
        if not same_start(process, record) or process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return None
    return process


def same_start(process: psutil.Process, record: dict[str, Any]) -> bool:
    """Whether a process began when the record says."""
    ticks, recorded = start_ticks(process.pid), record.get("start_ticks")
    if ticks is not None and recorded is not None:
        return ticks == recorded
    return abs(process.create_time() - float(record["create_time"])) < 1.0


def is_alive(record: dict[str, Any] | None) -> bool | None:
    """Whether the recorded process lives; None when it is on another host and cannot be asked."""
    if record and record.get("host") not in (None, socket.gethostname()):
        return None
    return find_process(record) is not None


def family(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The processes and all below them, each once. Collect before killing: children of the dead are found no more."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            below = root.children(recursive=True)
        except psutil.NoSuchProcess:
            below = []
        found.update((process.pid, process) for process in [root, *below])
    return list(found.values())
