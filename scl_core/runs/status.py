"""What a run is doing, from what it wrote and from whether its process lives."""

import time
from dataclasses import dataclass
from typing import Any

from scl_core.runs.processes import boot_id, is_alive

STATES = ("queued", "running", "stopping", "stopped", "finished", "failed")
ACTIVE = ("queued", "running", "stopping", "stalled")
STALLED_AFTER_SECONDS = 60.0
LATEST_TIME = 32_503_680_000.0  # the year 3000: what a record may claim and a calendar can show


@dataclass(frozen=True)
class RunStatus:
    """The state of a run: one of `STATES`, or, found by the reader, "stalled" or "lost".

    `alive` is None when the process is on another host; `heartbeat_age` is in seconds, None where unknown.
    """

    state: str
    step: int | None = None
    steps: int | None = None
    reason: str | None = None
    heartbeat_age: float | None = None
    alive: bool | None = False
    pid: int | None = None
    host: str | None = None

    @property
    def active(self) -> bool:
        """Whether a process works on the run, or may do so on another host."""
        return self.state in ACTIVE


def heartbeat() -> dict[str, Any]:
    """The moment as a status record holds it: by the wall clock, and by the machine's own, which never jumps."""
    return {"time": time.time(), "monotonic": time.monotonic(), "boot_id": boot_id()}


def heartbeat_age(recorded: dict[str, Any]) -> float | None:
    """Seconds since the recorded heartbeat, by the monotonic clock where it is that of this machine's present boot."""
    monotonic = recorded.get("boot_id") == boot_id()
    value = recorded.get("monotonic" if monotonic else "time")
    if not isinstance(value, (int, float)) or not 0 <= value <= LATEST_TIME:
        return None
    return max(0.0, (time.monotonic() if monotonic else time.time()) - value)


def derive_status(
    recorded: dict[str, Any] | None,
    process: dict[str, Any] | None,
    launched: dict[str, Any] | None,
    stop_asked: dict[str, Any] | None,
) -> RunStatus:
    """The state from `status.json`, `process.json`, the launcher's record of its process and its request to stop.

    Each is None where the file is absent or damaged.
    """
    starting = is_newer(launched, process)
    if starting and is_alive(launched):
        state = "stopping" if same(stop_asked, launched) else "queued"
        return about(launched, recorded, state, launched.get("waiting") or "its process is starting", alive=True)
    if recorded is None and starting:
        if same(stop_asked, launched):
            return about(launched, None, "stopped", "stopped before it began", alive=False)
        return about(launched, None, "failed", None, alive=False)
    if recorded is None and not process:
        return RunStatus("lost", reason="it has no status.json that can be read")
    state = (recorded or {}).get("state")
    if state in ("stopped", "finished", "failed"):
        return about(process, recorded, state, recorded.get("reason"), alive=False)
    return derive_active(state if state in STATES else "queued", recorded or {}, process, stop_asked)


def derive_active(
    state: str, recorded: dict[str, Any], process: dict[str, Any] | None, stop_asked: dict[str, Any] | None
) -> RunStatus:
    """The state of a run that says it is being worked on."""
    alive, age = is_alive(process), heartbeat_age(recorded)
    if alive is False:
        what = f"process {process['pid']} is gone" if process and "pid" in process else "its process is not recorded"
        return about(process, recorded, "lost", f"{what} though the run says it is {state}", alive)
    if age is not None and age > STALLED_AFTER_SECONDS:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - age))
        return about(process, recorded, "stalled", f"no sign of progress since {since}, for {age:.0f} s", alive)
    if alive is None:
        return about(
            process, recorded, state, f"on unknown host {process['host']}: its process cannot be watched", None
        )
    asked = same(stop_asked, process) or same(stop_asked, (process or {}).get("launcher"))
    return about(process, recorded, "stopping" if asked else state, recorded.get("reason"), alive)


def about(
    process: dict[str, Any] | None,
    recorded: dict[str, Any] | None,
    state: str,
    reason: str | None,
    alive: bool | None,
) -> RunStatus:
    """The status with what is known of the process and its last sign of life."""
    process, recorded = process or {}, recorded or {}
    return RunStatus(
        state=state,
        step=whole(recorded.get("step")),
        steps=whole(recorded.get("steps")),
        reason=None if reason is None else str(reason),
        heartbeat_age=heartbeat_age(recorded),
        alive=alive,
        pid=whole(process.get("pid")),
        host=str(process["host"]) if process.get("host") else None,
    )


def whole(value: Any) -> int | None:
    """A whole number as it is, None for anything else."""
    return value if type(value) is int else None


def same(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two records name one process."""
    if not one or not other:
        return False
    start = "create_time" if one.get("start_ticks") is None else "start_ticks"
    return all(one.get(key) == other.get(key) for key in ("pid", start, "boot_id", "host"))


def is_newer(launched: dict[str, Any] | None, process: dict[str, Any] | None) -> bool:
    """Whether the launched process started after the recorded one, so that it has not said anything yet."""
    if not launched or not process:
        return launched is not None
    try:
        return not same(launched, process) and launched["create_time"] > process["create_time"]
    except (KeyError, TypeError):
        return False
