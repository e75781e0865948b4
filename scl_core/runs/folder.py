"""A run's folder on disk: training writes it, everything else reads it. Needs no torch."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scl_core.errors import UserError
from scl_core.runs.alarms import alarm_key, is_alarm
from scl_core.runs.evaluations import (
    evaluation_key,
    is_evaluation,
    is_metrics,
    read_boundary,
    read_evaluation,
    write_evaluation,
)
from scl_core.runs.lock import hold_lock
from scl_core.runs.processes import describe_process
from scl_core.runs.records import Records, append_records, drop_after, read_records
from scl_core.runs.status import STATES, RunStatus, derive_status, heartbeat
from scl_core.storage.files import (
    DamagedFile,
    read_bytes,
    read_json,
    read_json_or_none,
    read_tail,
    remove_temporary,
    replace_file,
    write_json_atomic,
)
from scl_core.storage.plain_yaml import parse_yaml, to_yaml

BEAT_SECONDS = 5.0
LAUNCH_FOLDER = ".launch"
LOG_TAIL_BYTES = 1 << 16
NAME_BYTES = 200
RESOLVED_LIMIT = 1 << 28


class RunFolder:
    """One run on disk. Reading is safe at any moment; writing is for the one process that holds `lock()`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._recorded: dict[str, Any] = {}
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self._last_beat = -math.inf

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's name as text that can be shown anywhere."""
        return shown_name(self.path.name)

    @classmethod
    def create(cls, path: str | Path) -> "RunFolder":
        """Make the folder of a new run. Raises `UserError` for an impossible name, or when something is there."""
        check_name(path)
        path = Path(path)
        cls.refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the run folder {path}: {error.strerror}") from error
        return cls(path)

    @staticmethod
    def refuse_existing(path: str | Path) -> None:
        """Raise `UserError` with the line to type where `path` is a file or a folder that is not empty."""
        if not os.path.lexists(path):
            return
        if not os.path.isdir(path) or os.path.islink(path):
            raise UserError(f"{path} is not a folder: choose another --run_dir")
        if RunFolder.is_taken(path):
            raise UserError(f"{path} is not empty; to go on with it: python -m scl_core.train --resume {path}")

    @staticmethod
    def is_taken(path: str | Path) -> bool:
        """Whether something of value is there; a status alone, left by a start that was refused, is nothing."""
        return os.path.lexists(path) and (not os.path.isdir(path) or bool(set(os.listdir(path)) - {"status.json"}))

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """A run that is there, or that was launched and has no folder yet. Raises `UserError` otherwise."""
        run = cls(path)
        if os.path.lexists(run.path / "config.yaml") or os.path.lexists(run.launch_file(".yaml")):
            return run
        if not run.path.is_dir():
            raise UserError(f"{path}: no such run folder")
        raise UserError(f"{path} is not a run folder: it has no config.yaml")

    # Writing

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the run's one writer while inside. Raises `UserError` "run X is active (process, host)" otherwise."""
        with hold_lock(self.path / "run.lock", f"run {self.name}"):
            remove_temporary(self.path)
            yield

    def write_start(self, config: dict[str, Any], environment: dict[str, Any], resolved: str) -> None:
        """Write what runs, on what, on which lists, and by which process; the state is "queued" until `begin`.

        `config` is nested plain values.
        """
        replace_file(self.path / "config.yaml", to_yaml(config).encode())
        write_json_atomic(self.path / "environment.json", environment)
        replace_file(self.path / "resolved.txt", resolved.encode("utf-8", "surrogateescape"))
        write_json_atomic(self.path / "process.json", describe_process())
        self.set_status("queued")
        with contextlib.suppress(OSError):  # the launcher's copy of the settings has done its work
            os.unlink(self.launch_file(".yaml"))

    def begin(self, step: int, steps: int) -> None:
        """Go on after `step` (0 for a new run) of `steps`: rows after it are dropped, the state is "running"."""
        for name in ("metrics.jsonl", "evaluations.jsonl", "alarms.jsonl"):
            drop_after(self.path / name, step)
        best = self.best()
        if best is not None and best["step"] > step:
            os.unlink(self.path / "checkpoints" / "best.json")
        self.set_status("running", step, steps=steps)

    def set_status(
        self, state: str, step: int | None = None, reason: str | None = None, steps: int | None = None
    ) -> None:
        """Say what the run does now. `step` and `steps` that are not given stay; raises `ValueError` for no state."""
        if state not in STATES:
            raise ValueError(f"state {state!r} is not one of {', '.join(STATES)}")
        before = self._recorded or read_json_or_none(self.path / "status.json") or {}
        step = before.get("step") if step is None else step
        steps = before.get("steps") if steps is None else steps
        self._recorded = {"state": state, "step": step, "steps": steps, "reason": reason}
        self._write_status(durable=True)

    def beat(self, step: int | None = None) -> None:
        """Sign of life, written every 5 s at most. Call it at each step, and in long work between steps."""
        if time.monotonic() - self._last_beat < BEAT_SECONDS or not self._recorded:
            return
        if step is not None:
            self._recorded["step"] = step
        with contextlib.suppress(OSError):  # a full disk costs the sign of life, never the training
            self._write_status(durable=False)

    def _write_status(self, durable: bool) -> None:
        self._last_beat = time.monotonic()
        write_json_atomic(self.path / "status.json", self._recorded | heartbeat(), durable)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Append one step's row (`step` and numbers). On a full disk it warns, and the row waits for the next."""
        self._append("metrics.jsonl", row)

    def append_evaluation(self, row: dict[str, Any]) -> None:
        """Append one evaluation's row: step, split, network, mean_iou, per_class_iou, protocol, list_hash, pictures."""
        self._append("evaluations.jsonl", row)

    @property
    def rows_wait(self) -> bool:
        """Whether rows could not be appended, because the disk is full, and would be lost with this object."""
        return any(self._waiting.values())

    def append_alarm(self, row: dict[str, Any]) -> None:
        """Append a row that says since which `step` an alarm of a `kind` is `on` or not, with a `text` for people."""
        self._append("alarms.jsonl", row)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        rows = [*self._waiting.pop(name, []), row]
        if not append_records(self.path / name, rows):
            self._waiting[name] = rows

    def write_evaluation(
        self,
        step: int,
        split: str,
        network: str,
        record: dict[str, Any],
        confusions: np.ndarray,
        names: Sequence[str],
        variant: str = "",
        boundary: np.ndarray | None = None,
    ) -> None:
        """Store an evaluation in full and append its row.

        `confusions` are integers [n, C, C] or, with misses on void, [n, C, C + 1]; `names` the n pictures'; `variant`
        keeps files of another protocol or other lists apart from the run's own; `boundary` are the matrices of the
        pixels near a border of two labels.
        """
        row = {"step": step, "split": split, "network": network, **record} | ({"variant": variant} if variant else {})
        write_evaluation(self.path, row, confusions, names, boundary)
        self.append_evaluation(row)

    # Reading

    def metrics(self, known: Records | None = None) -> Records:
        """All rows of the steps, by step. With what an earlier call returned, only the new lines are read."""
        return self._records("metrics.jsonl", valid=is_metrics, known=known)

    def evaluations(self, known: Records | None = None) -> Records:
        """All rows of the evaluations, by step; of one evaluation made twice the later."""
        return self._records("evaluations.jsonl", key=evaluation_key, valid=is_evaluation, known=known)

    def alarms(self, known: Records | None = None) -> Records:
        """Every change of an alarm, by step; `standing_alarms` tells which hold now."""
        return self._records("alarms.jsonl", key=alarm_key, valid=is_alarm, known=known)

    def _records(self, name: str, **options: Any) -> Records:
        try:
            return read_records(self.path / name, **options)
        except (OSError, DamagedFile) as error:
            raise UserError(f"cannot read {name} of run {self.name}: {error}") from error

    def read_evaluation(
        self, step: int, split: str, network: str, variant: str = ""
    ) -> tuple[dict[str, Any], np.ndarray, list[str]]:
        """The record, the matrices int64 [n, C, C or C + 1] and the names of the n pictures. Raises `UserError`."""
        return self._read_evaluation(read_evaluation, step, split, network, variant)

    def read_boundary(self, step: int, split: str, network: str, variant: str = "") -> np.ndarray | None:
        """The matrices near the borders, as those of `read_evaluation`; None where none were taken."""
        return self._read_evaluation(read_boundary, step, split, network, variant)

    def _read_evaluation(self, reader: Callable[..., Any], step: int, split: str, network: str, variant: str) -> Any:
        try:
            return reader(self.path, step, split, network, variant)
        except (OSError, ValueError) as error:
            raise UserError(f"run {self.name} has no readable evaluation {step}-{split}-{network}: {error}") from error

    def config(self) -> dict[str, Any]:
        """The settings as nested plain values, before the start those to start with. Raises `UserError`."""
        file = self.path / "config.yaml"
        if not self.path.is_dir():
            file = self.launch_file(".yaml")
        return self._read(file, lambda path: parse_yaml(read_bytes(path)))

    def environment(self) -> dict[str, Any]:
        """Versions, machine, threads, world size; empty before the start. Raises `UserError` for a damaged file."""
        file = self.path / "environment.json"
        return self._read(file, read_json) if os.path.lexists(file) else {}

    def resolved(self) -> str:
        """The data lists as used; the first 12 digits of its sha256 are the list hash. Raises `UserError`."""
        content = self._read(self.path / "resolved.txt", lambda path: read_bytes(path, RESOLVED_LIMIT))
        return content.decode("utf-8", "surrogateescape")

    def _read(self, file: Path, reader: Callable[[Path], Any]) -> Any:
        try:
            return reader(file)
        except (OSError, DamagedFile) as error:
            raise UserError(f"cannot read {file.name} of run {self.name}: {error}") from error

    def status(self) -> RunStatus:
        """What the run does now, also before its folder is there; never raises."""
        files = self.path / "status.json", self.path / "process.json", *map(self.launch_file, (".json", ".stop.json"))
        status = derive_status(*map(read_json_or_none, files))
        if status.state == "failed" and status.reason is None:
            lines = self.launch_log_tail(1)
            return replace(status, reason=lines.strip() or "it ended before it could write its first status")
        return status

    def checkpoints(self) -> list[int]:
        """The steps that have a checkpoint, in order; whether they are whole is seen when one is read."""
        try:
            entries = list(os.scandir(self.path / "checkpoints"))
        except OSError:
            return []
        return sorted(int(e.name) for e in entries if e.name.isdecimal() and e.is_dir(follow_symlinks=False))

    def last(self) -> dict[str, Any] | None:
        """`{"step": …}` of the newest checkpoint, None before the first."""
        return self._pointer("last.json")

    def best(self) -> dict[str, Any] | None:
        """`{"step", "mean_iou", "network"}` of the best checkpoint on the validation list, None before the first."""
        return self._pointer("best.json")

    def _pointer(self, name: str) -> dict[str, Any] | None:
        pointer = read_json_or_none(self.path / "checkpoints" / name)
        return pointer if pointer is not None and type(pointer.get("step")) is int else None

    def is_better(self, mean_iou: float, step: int) -> bool:
        """Whether this score is the run's best so far; of two equal ones the later step is."""
        best = self.best()
        if not math.isfinite(mean_iou):
            return False
        if best is None or not isinstance(best.get("mean_iou"), (int, float)):
            return True
        return (mean_iou, step) >= (best["mean_iou"], best["step"])

    def log_tail(self, lines: int = 200) -> str:
        """The last lines of the run's log, 64 kB at most; empty where there is none."""
        return tail(self.path / "log.txt", lines)

    def launch_log_tail(self, lines: int = 200) -> str:
        """The last lines that the process wrote to its terminal, errors included, when it was launched from here."""
        return tail(self.launch_file(".log"), lines)

    def launch_file(self, ending: str) -> Path:
        """Where the launcher keeps its notes on this run, beside the run folders."""
        return self.path.parent / LAUNCH_FOLDER / (self.path.name + ending)


def check_name(path: str | Path) -> None:
    """Raise `UserError` where the last part of a path cannot name a run on every file system and every page."""
    text = str(path)
    name = Path(os.path.abspath(text.replace("\0", "\ufffd"))).name
    if "\0" in text or not name.isprintable():
        raise UserError(f"{text!r} cannot name a run: it has characters that cannot be shown")
    if len(name.encode()) > NAME_BYTES:
        raise UserError(f"{name[:40]}... cannot name a run: {len(name.encode())} bytes, {NAME_BYTES} are allowed")
    if name.startswith((".", "-")) or not name.strip():
        raise UserError(f"{name!r} cannot name a run: begin with a letter or a digit")


def shown_name(name: str) -> str:
    """A file name as text that can be printed and shown: what cannot is written as an escape."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file; what a terminal would overwrite is left out."""
    try:
        text = read_tail(path, LOG_TAIL_BYTES).decode("utf-8", "replace").replace("\0", "")
    except (OSError, DamagedFile):
        return ""
    return "\n".join(line.rsplit("\r", 1)[-1] for line in text.splitlines()[-lines:])
