"""Train runs that `launch.launch_in_turn` prepared, one after the other:  python -m scl_core.in_turn RUN_DIR..."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from scl_core import launch
from scl_core.runs import RunFolder


class Turn:
    """The run that trains now and those that wait; a context manager that answers SIGTERM while inside.

    Somebody who stops a waiting run takes it out of the queue; anybody else who ends this process means all runs.
    """

    def __init__(self, run_dirs: Sequence[str]):
        self.waiting = [RunFolder(path) for path in run_dirs]
        self.child: subprocess.Popen | None = None

    def __enter__(self) -> "Turn":
        self.before = signal.signal(signal.SIGTERM, self.handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self.before)
        self.drop(self.waiting)

    def handle(self, number: int, frame: object) -> None:
        """Take the runs out that were asked to stop, or all, with the one that trains, when none was."""
        asked = [run for run in self.waiting if run.launch_file(".stop.json").exists()]
        if not asked and self.child is not None:
            self.child.send_signal(signal.SIGTERM)
        self.drop(asked or self.waiting)

    def drop(self, runs: list[RunFolder]) -> None:
        """Forget runs that will not begin."""
        self.waiting = [run for run in self.waiting if run not in runs]
        for run in runs:
            for ending in (".yaml", ".json", ".stop.json"):
                with contextlib.suppress(OSError):
                    os.unlink(run.launch_file(ending))

    def train_next(self, module: str) -> bool:
        """Train the first of the waiting runs; returns whether it finished."""
        run = self.waiting.pop(0)
        self.child = launch.start(run, launch.command_for(run.launch_file(".yaml"), run.path, module=module))
        self.child.wait()
        self.child = None
        return run.status().state == "finished"


def main(run_dirs: Sequence[str], module: str = launch.TRAINER) -> int:
    """Train the runs; returns 0 when all finished."""
    with Turn(run_dirs) as turn:
        while turn.waiting:
            if not turn.train_next(module):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
