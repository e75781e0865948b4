"""Progress of long work in the terminal and the run's log: how far, how fast, how long still."""

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

Tell = Callable[[int, int], None]
"""Told how many steps of how many are done. It may raise, and so end the work between two steps."""


def unheard(done: int, total: int) -> None:
    """Where nobody waits for the progress."""


class Count:
    """Tells each of a known number of steps as it is done."""

    def __init__(self, total: int, tell: Tell = unheard):
        self.done, self.total, self.tell = 0, total, tell

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self.tell(self.done, self.total)


def duration(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Says how far a count has come: one moving line in a terminal, a plain line every few seconds elsewhere.

    `log` is a file that gets every plain line, `quiet` silences ranks other than 0.
    """

    def __init__(
        self, total: int, done: int = 0, log: Path | None = None, quiet: bool = False, every_seconds: float = 5.0
    ):
        self.total, self.first, self.log, self.quiet = total, done, log, quiet
        self.every_seconds = every_seconds
        self.started = time.monotonic()
        self.last_line = 0.0
        self.moving = sys.stdout.isatty()

    def update(self, done: int, text: str = "") -> None:
        """Tell that `done` of the total are done; what is said too early is left out."""
        now = time.monotonic()
        due = now - self.last_line >= (0.2 if self.moving else self.every_seconds)
        if self.quiet or not (due or done >= self.total):
            return
        self.last_line = now
        line = f"{done}/{self.total}  {text}  {self.eta(done)}"
        if self.moving:
            print(f"\r{line:<110}", end="" if done < self.total else "\n", flush=True)
        else:
            print(line, flush=True)
        self.write_log(line)

    def eta(self, done: int) -> str:
        """The time that is left at the mean speed so far."""
        worked = max(done - self.first, 1)
        left = (time.monotonic() - self.started) / worked * (self.total - done)
        return f"{duration(left)} left"

    def say(self, text: str) -> None:
        """A line of its own, at once."""
        if not self.quiet:
            print(("\n" if self.moving else "") + text, flush=True)
            self.write_log(text)

    def write_log(self, line: str) -> None:
        """Append a line to the log alone; on a full disk it is left out."""
        if self.log is not None and not self.quiet:
            with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    @contextlib.contextmanager
    def warnings(self) -> Iterator[None]:
        """Write warnings to the log too while inside; they are shown as ever."""
        show = warnings.showwarning

        def log_too(message, category, *where) -> None:
            self.write_log(f"{category.__name__}: {' '.join(str(message).split())}")
            show(message, category, *where)

        warnings.showwarning = log_too
        try:
            yield
        finally:
            warnings.showwarning = show
