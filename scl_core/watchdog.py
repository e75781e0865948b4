"""The thread that ends a rank left alone: torchrun neither watches its ranks nor takes them along when it is killed."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HOOK_SECONDS = 5.0


class Watchdog:
    """Touches `run_dir/heartbeats/<rank>` each second, and leaves with status 1 when launcher or another rank is gone.

    Gone are: the launcher, when this process has another parent than at `start` (watched in a run of several ranks or
    under torchrun, not in a single process, which may outlive its terminal); another rank, when its file has not
    changed for `silent_seconds` on this process's clock. A file that vanishes means that its rank has stopped well.
    `on_loss` is called with the reason before leaving, for at most five seconds, so that it can be written down.
    """

    def __init__(
        self,
        run_dir: str | Path,
        rank: int,
        size: int,
        silent_seconds: float = 30.0,
        on_loss: Callable[[str], None] | None = None,
        interval: float = 1.0,
    ):
        self.folder = Path(run_dir) / "heartbeats"
        self.rank, self.interval, self.on_loss = rank, interval, on_loss
        self.one_launcher = os.environ.get("LOCAL_WORLD_SIZE", str(size)) == str(size)
        self.watches_parent = size > 1 or "TORCHELASTIC_RUN_ID" in os.environ
        self.others = {other: Pulse(self.folder / str(other), silent_seconds) for other in range(size) if other != rank}
        self.file = self.folder / str(rank)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Make the heartbeat file and begin to watch. Raises OSError when the run folder cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.touch()
        self.parent = os.getppid()
        now = time.monotonic()
        for pulse in self.others.values():
            pulse.restart(now)
        self.thread.start()

    def stop(self) -> None:
        """End the watch and take this rank's file away, and the folder with the last file."""
        self.ended.set()
        self.thread.join()
        self.take_away()

    def take_away(self) -> None:
        """Remove this rank's file, and the folder with the last file."""
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)
            self.folder.rmdir()

    def __enter__(self) -> "Watchdog":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def watch(self) -> None:
        last_look = time.monotonic()
        while not self.ended.wait(self.interval):
            now = time.monotonic()
            self.beat()
            if now - last_look > 5 * self.interval:
                self.forgive(now)
            last_look = now
            reason = self.loss(now)
            if reason:
                self.leave(reason)

    def beat(self) -> None:
        try:
            os.utime(self.file)
        except FileNotFoundError:
            self.file.touch()
        except OSError as error:
            print(f"rank {self.rank}: cannot touch {self.file}: {error}", file=sys.stderr, flush=True)

    def forgive(self, now: float) -> None:
        """Begin the count of the others anew: this process itself was stopped, and they may have been with it."""
        for pulse in self.others.values():
            pulse.restart(now)

    def loss(self, now: float) -> str | None:
        """Why this rank has to leave; None while all is well."""
        if self.watches_parent and os.getppid() != self.parent:
            return f"the launcher (process {self.parent}) is gone"
        for other, pulse in self.others.items():
            silence = pulse.silence(now)
            if silence > pulse.silent_seconds:
                return f"rank {other} has been silent for {silence:.0f} seconds"
        return None

    def leave(self, reason: str) -> None:
        """Tell the reason and end the process at once: its main thread may hang in a collective for good."""
        if self.ended.is_set():
            return
        print(f"rank {self.rank} leaves: {reason}", file=sys.stderr, flush=True)
        if self.on_loss is not None:
            teller = threading.Thread(target=self.on_loss, args=(reason,), daemon=True)
            teller.start()
            teller.join(HOOK_SECONDS)
        if self.one_launcher:  # the other ranks see for themselves that it is gone; elsewhere they need this file
            self.take_away()
        os._exit(1)


class Pulse:
    """When another rank's file last changed, on this process's clock: two machines' clocks need not agree."""

    def __init__(self, file: Path, silent_seconds: float):
        self.file, self.silent_seconds = file, silent_seconds
        self.changed_at, self.stamp, self.seen = 0.0, None, False

    def restart(self, now: float) -> None:
        self.changed_at = now

    def silence(self, now: float) -> float:
        """Seconds since the file changed; 0 once a file that was there is gone."""
        try:
            stamp = self.file.stat().st_mtime_ns
        except OSError:
            stamp = None
        if stamp is None and self.seen:
            return 0.0
        if stamp != self.stamp:
            self.stamp, self.seen, self.changed_at = stamp, True, now
        return now - self.changed_at
