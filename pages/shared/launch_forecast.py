"""What a run will need, told before it starts: memory from small steps that are watched, time from earlier runs."""

import json

import streamlit as st

from pages.shared import store
from pages.shared.messages import say_problem
from pages.shared.run_detail import seconds_per_step
from pages.shared.words import duration, plain_name
from scl_core.config import RunConfig, flatten, to_dict
from scl_core.errors import UserError
from scl_core.training.forecast import forecast, size

SAME_PACE = (
    "data.",
    "model.",
    "train.batch",
    "train.accumulate",
    "train.threads",
    "train.precision",
    "train.compile",
    "augment.",
    "method.",
)


@st.cache_data(max_entries=16, show_spinner="Watching a small step …")
def _memory(settings: str, processes: int, _config: RunConfig) -> tuple[int, str]:
    found = forecast(_config, processes=processes)
    return found.peak, str(found)


def memory(config: RunConfig, processes: int) -> tuple[int, str]:
    """Bytes of one process at the peak of a step, and what they are made of. Raises `UserError`."""
    return _memory(json.dumps(to_dict(config), default=str), processes, config)


def paced_like(config: RunConfig, processes: int) -> tuple[str, float] | None:
    """The newest run whose steps cost the same, by its settings and processes, with its seconds a step."""
    wanted = costs(to_dict(config))
    for summary in store.summaries():
        if (summary.method, summary.data) != (config.method.name, config.data.name):
            continue
        try:
            run = store.run_folder(summary.name)
            alike = costs(run.config()) == wanted and run.environment().get("world_size", 1) == processes
            seconds = seconds_per_step(run.metrics()) if alike and is_own(run) else None
        except (UserError, OSError):
            continue
        if seconds:
            return summary.name, seconds
    return None


def costs(settings: dict) -> dict[str, object]:
    """The settings on which the time of a step depends."""
    return {key: value for key, value in flatten(settings).items() if key.startswith(SAME_PACE)}


def is_own(run) -> bool:
    """Whether the run was trained here: a recorded one tells another machine's time."""
    return (run.path / "process.json").exists()


def show(config: RunConfig, processes: int) -> None:
    """The two numbers, once they are asked for: the memory takes some seconds to find."""
    if not st.toggle("Forecast memory and time", key="forecast", help="Takes some seconds at each change."):
        return
    needs, takes = st.columns(2)
    try:
        peak, parts = memory(config, processes)
        needs.metric("Memory of one process", size(peak), help=parts)
    except (UserError, OSError, RuntimeError) as error:
        with needs:
            say_problem("The memory cannot be told:", error, warning=True)
    found = paced_like(config, processes)
    if found is None:
        takes.info("No earlier run here had this data, network, method and batch: its first steps will tell the time.")
        return
    name, seconds = found
    help = f"{seconds:.2f} s a step, as in {plain_name(name)}; evaluations come on top."
    takes.metric("Time", duration(seconds * config.train.steps), help=help)
