"""Runs on disk: training writes a `RunFolder`, everything else reads it or lists many. Needs no torch."""

from scl_core.runs.alarms import standing_alarms
from scl_core.runs.archive import archive, archived, bring_back
from scl_core.runs.environment import describe_environment
from scl_core.runs.folder import RunFolder, check_name, shown_name
from scl_core.runs.listing import RunList, RunSummary, list_runs, summarise
from scl_core.runs.notes import Notes, read_notes, write_notes
from scl_core.runs.records import Records
from scl_core.runs.status import ACTIVE, STATES, RunStatus

__all__ = [
    "ACTIVE",
    "STATES",
    "Notes",
    "Records",
    "RunFolder",
    "RunList",
    "RunStatus",
    "RunSummary",
    "archive",
    "archived",
    "bring_back",
    "check_name",
    "describe_environment",
    "list_runs",
    "read_notes",
    "shown_name",
    "standing_alarms",
    "summarise",
    "write_notes",
]
