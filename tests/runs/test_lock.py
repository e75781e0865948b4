"""One writer at a time, and no lock is left behind."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from scl_core.errors import UserError

HOLD = """
import sys, time
from scl_core.runs import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""
FORK_AND_DIE = """
import os, sys, time
from scl_core.runs import RunFolder
with RunFolder(sys.argv[1]).lock():
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(0.2)
    os._exit(137)
"""


@pytest.fixture
def holder(run, project_root):
    process = subprocess.Popen([sys.executable, "-c", HOLD, run.path], cwd=project_root, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_told_who_is_active(run, holder):
    with pytest.raises(UserError, match=rf"run first is active \(process {holder.pid} on "), run.lock():
        pass


def test_the_lock_ends_with_its_holder(run, holder):
    holder.kill()
    holder.wait()
    with run.lock():
        pass


def test_the_lock_is_not_left_to_forked_children(run, project_root):
    command = [sys.executable, "-c", FORK_AND_DIE, run.path]
    holder = subprocess.Popen(command, cwd=project_root, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        assert holder.wait(timeout=20) == 137 and psutil.pid_exists(child)
        with run.lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_pipe_is_no_lock(run):
    os.mkfifo(run.path / "run.lock")
    with pytest.raises(UserError, match="not a regular file"), run.lock():
        pass
