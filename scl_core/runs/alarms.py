"""What a run warns of while it goes on: a row when an alarm begins to hold, and one when it no longer does."""

from collections.abc import Iterable
from typing import Any


def alarm_key(row: dict[str, Any]) -> tuple:
    """What makes two rows of `alarms.jsonl` the same."""
    return row["step"], row["kind"]


def is_alarm(row: dict[str, Any]) -> bool:
    """Whether a row of `alarms.jsonl` has what every reader relies on: `step`, `kind`, `on`, `text`."""
    words = all(isinstance(row.get(name), str) for name in ("kind", "text"))
    return words and isinstance(row.get("on"), bool)


def standing_alarms(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The alarms that hold after the last of the rows, which are in the order of their steps: the latest of a kind."""
    latest = {row["kind"]: row for row in rows}
    return [row for row in latest.values() if row["on"]]
