"""The watchdog on real processes: killed launchers, stopped ranks, ranks that finish as they should."""

import os
import signal
import subprocess
import sys
import time

import pytest

from scl_core.watchdog import Watchdog

pytestmark = pytest.mark.fault

RANK = """
import sys, time
from pathlib import Path
from scl_core.watchdog import Watchdog

folder, rank, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
watchdog = Watchdog(folder, rank, size, silent_seconds=1.5, on_loss=(folder / f"reason{rank}").write_text, interval=0.1)
watchdog.start()
(folder / f"ready{rank}").touch()
time.sleep(float(sys.argv[4]))
watchdog.stop()
"""
LAUNCHER = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True).wait()"


def rank_command(folder, rank, size, watched=60.0):
    return [sys.executable, "-c", RANK, *map(str, (folder, rank, size, watched))]


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def start_process(tmp_path):
    """Start a process, ended with its test; what it says goes to the file stderr<number>."""
    started = []

    def start(command):
        with open(tmp_path / f"stderr{len(started)}", "w") as stderr:
            started.append(subprocess.Popen(command, cwd=os.getcwd(), stderr=stderr))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_stopped_rank_ends_the_others_with_its_number(tmp_path, start_process):
    ranks = [start_process(rank_command(tmp_path, rank, 2)) for rank in range(2)]
    wait_for(lambda: all((tmp_path / f"ready{rank}").exists() for rank in range(2)))
    ranks[1].send_signal(signal.SIGSTOP)
    assert ranks[0].wait(15) == 1
    assert (tmp_path / "reason0").read_text().startswith("rank 1 has been silent for ")
    assert "rank 0 leaves: rank 1 has been silent" in (tmp_path / "stderr0").read_text()


def test_a_rank_that_never_starts_ends_the_others(tmp_path, start_process):
    alone = start_process(rank_command(tmp_path, 0, 2))
    assert alone.wait(15) == 1
    assert (tmp_path / "reason0").read_text().startswith("rank 1 has been silent")


def test_a_rank_that_has_finished_is_not_missed(tmp_path, start_process):
    first = start_process(rank_command(tmp_path, 0, 2, watched=3.0))
    second = start_process(rank_command(tmp_path, 1, 2, watched=0.5))
    assert (second.wait(15), first.wait(15)) == (0, 0)
    assert not (tmp_path / "heartbeats").exists()


def test_ranks_stopped_together_go_on_together(tmp_path, start_process):
    ranks = [start_process(rank_command(tmp_path, rank, 2)) for rank in range(2)]
    wait_for(lambda: all((tmp_path / f"ready{rank}").exists() for rank in range(2)))
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in ranks:
            process.send_signal(number)
        time.sleep(2.0)
    assert [process.poll() for process in ranks] == [None, None]


def test_a_killed_launcher_takes_its_rank_along(tmp_path, start_process):
    launcher = start_process([sys.executable, "-c", LAUNCHER, *rank_command(tmp_path, 0, 2)])
    start_process(rank_command(tmp_path, 1, 2))
    wait_for(lambda: (tmp_path / "ready0").exists() and (tmp_path / "ready1").exists())
    launcher.kill()
    wait_for(lambda: (tmp_path / "reason0").exists(), seconds=10)
    assert (tmp_path / "reason0").read_text() == f"the launcher (process {launcher.pid}) is gone"
    wait_for(lambda: not (tmp_path / "heartbeats" / "0").exists(), seconds=10)


def test_a_single_process_outlives_its_launcher(tmp_path, start_process):
    launcher = start_process([sys.executable, "-c", LAUNCHER, *rank_command(tmp_path, 0, 1, watched=1.0)])
    wait_for(lambda: (tmp_path / "ready0").exists())
    launcher.kill()
    wait_for(lambda: not (tmp_path / "heartbeats").exists(), seconds=10)
    assert not (tmp_path / "reason0").exists()


def is_beating(file):
    before = file.stat().st_mtime_ns
    time.sleep(0.5)
    return file.stat().st_mtime_ns != before


def test_a_lost_heartbeat_file_is_made_again_and_taken_away_at_the_end(tmp_path):
    with Watchdog(tmp_path, 0, 1, interval=0.05):
        file = tmp_path / "heartbeats" / "0"
        file.unlink()
        wait_for(file.exists)
    assert not file.parent.exists()


def test_a_hook_that_hangs_does_not_keep_the_rank(tmp_path, start_process):
    code = RANK.replace('(folder / f"reason{rank}").write_text', "lambda reason: time.sleep(60)")
    code = "import scl_core.watchdog as w; w.HOOK_SECONDS = 0.5\n" + code
    alone = start_process([sys.executable, "-c", code, str(tmp_path), "0", "2", "60"])
    assert alone.wait(15) == 1
