"""Cached readers of the runs on disk. The folders are the only truth; nothing about a run is kept in memory alone."""

import os
from pathlib import Path

import streamlit as st

from scl_core import launch
from scl_core.errors import UserError
from scl_core.runs import Records, RunFolder, RunList, list_runs

KEPT_METRICS = 24


def runs_root() -> Path:
    """The folder that holds the runs: `SCL_RUNS` of the environment, or `runs` where the app was started."""
    return Path(os.environ.get("SCL_RUNS") or "runs")


@st.cache_data(ttl=2, max_entries=4, show_spinner=False)
def _summaries(root: str, changed: int) -> RunList:
    launch.reap()
    return list_runs(root)


def summaries() -> RunList:
    """All runs, the last by name first. A folder that came or went shows at once; numbers may be two seconds old."""
    root = runs_root()
    return _summaries(str(root), root.stat().st_mtime_ns if root.is_dir() else 0)


def forget_summaries() -> None:
    """Read the runs anew at the next look, after an action changed one."""
    _summaries.clear()


def run_folder(name: str) -> RunFolder:
    """The run with this name, as the list shows it. Raises `UserError` where there is none."""
    path = next((run.path for run in summaries() if run.name == name), None)
    if path is None:
        raise UserError(f"run {name} is not in {runs_root()}: it may have been moved or deleted")
    return RunFolder(path)


def look_at(name: str | None) -> None:
    """Keep the run that the visitor looks at, for the pages that ask for a run."""
    st.session_state["looked_at"] = name


def looked_at(names: list[str]) -> str | None:
    """The run that the visitor looked at last, where it is one of these."""
    name = st.session_state.get("looked_at")
    return name if name in names else None


def metrics(run: RunFolder) -> Records:
    """The metrics of a run, of which a later call in the same session reads only the new lines."""
    known = st.session_state.setdefault("metrics", {})
    records = run.metrics(known.pop(run.path, None))
    known[run.path] = records
    while len(known) > KEPT_METRICS:
        known.pop(next(iter(known)))
    return records
