"""The app's server as `make app` starts it, on a port of its own: it can be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

from tests.conftest import ROOT

START_SECONDS = 120


class Server:
    """One Streamlit server of the app for one folder of runs."""

    def __init__(self, runs: Path, warm: bool = True):
        self.runs = runs
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start(warm)

    def start(self, warm: bool = True) -> None:
        """Start and wait until it answers; a `warm` server has then run the app once, as after `make app`."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        command += ["--server.headless", "true", "--server.address", "127.0.0.1"]
        environment = os.environ | {"SCL_RUNS": str(self.runs), "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
        end = time.monotonic() + START_SECONDS
        while not self.healthy():
            assert self.process.poll() is None and time.monotonic() < end, "the app's server did not start"
            time.sleep(0.1)
        if warm:
            subprocess.run([sys.executable, str(ROOT / ".ci" / "warm_up"), str(self.port)], timeout=2 * START_SECONDS)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=2) as answer:
                return answer.read() == b"ok"
        except OSError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Leave nothing behind, whatever a failed test left running: all that have the runs folder in their command."""
        self.kill()
        for process in psutil.process_iter(["cmdline"]):
            if str(self.runs) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
                process.kill()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"
