"""`train --processes K`: K ranks started by torchrun, one stop request for all, one plain exit status."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from scl_core.runs import RunFolder

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
EXIT_OF_STATE = {"finished": 0, "stopped": 0}


def run_ranks(arguments: Sequence[str], processes: int, run_dir: Path) -> int:
    """Start `processes` ranks of the trainer with `arguments`, wait, and return the exit status of the whole.

    The first Ctrl-C or SIGTERM asks the ranks to save and stop, the second ends them at once (130). The status comes
    from the run folder, because torchrun's own is 1 also after a clean stop.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command += ["-m", "scl_core.train", *arguments]
    child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=end_with_parent())
    requests = 0

    def handle(number, frame):
        nonlocal requests
        requests += 1
        if requests > 1:
            end_tree(child.pid)
            os._exit(128 + signal.SIGINT)
        ask_to_stop(child.pid)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = wait(child)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status == 0 else EXIT_OF_STATE.get(state_of(run_dir), status)


def end_with_parent() -> Callable[[], None] | None:
    """What the launcher runs first: on Linux, ask for a SIGTERM when this process is gone, however it was ended.

    The launcher hands it on to the ranks, which save and stop.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None).prctl  # looked up here: little is safe between fork and exec
    except (OSError, AttributeError):
        return None
    return lambda: prctl(PARENT_DEATH_SIGNAL, int(signal.SIGTERM))


def wait(child: subprocess.Popen) -> int:
    """Wait for the launcher; 0 when it ended well, else 1."""
    while child.poll() is None:
        time.sleep(0.1)
    return 0 if child.returncode == 0 else 1


def ask_to_stop(launcher: int) -> None:
    """SIGTERM to the ranks themselves: torchrun, asked directly, would end with a traceback."""
    for process in psutil.Process(launcher).children():
        process.send_signal(signal.SIGTERM)


def end_tree(launcher: int) -> None:
    """Kill the launcher and all below it; the children are collected first, for they live in sessions of their own."""
    parent = psutil.Process(launcher)
    for process in [*parent.children(recursive=True), parent]:
        process.kill()


def state_of(run_dir: Path) -> str:
    """The state that the run's folder tells."""
    return RunFolder(run_dir).status().state
