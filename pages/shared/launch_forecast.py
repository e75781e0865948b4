"""What a run will need, told before it starts: memory and time from small steps, or the time of an earlier run."""

import json

import streamlit as st

from pages.shared import store
from pages.shared.messages import say_problem
from pages.shared.run_detail import seconds_per_step
from pages.shared.words import duration, plain_name
from scl_core.config import RunConfig, flatten, to_dict
from scl_core.errors import UserError
from scl_core.training.forecast import forecast, size

ON_TOP = (
    "Reading pictures, exchange between processes and evaluations come on top; a run of this kind will tell it exactly."
)
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


@st.cache_data(max_entries=16, show_spinner="Taking small steps …")
def _needs(settings: str, processes: int, timed: bool, _config: RunConfig) -> tuple[int, str, float | None]:
    found = forecast(_config, processes=processes, timed=timed)
    return found.peak, str(found), found.seconds


def needs_of(config: RunConfig, processes: int, timed: bool) -> tuple[int, str, float | None]:
    """Bytes of one process at the peak of a step, what they are made of, and if `timed` the seconds of a step.

    Raises `UserError`.
    """
    return _needs(json.dumps(to_dict(config), default=str), processes, timed, config)


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
    earlier, seconds = paced_like(config, processes), None
    try:
        peak, parts, seconds = needs_of(config, processes, timed=earlier is None)
        needs.metric("Memory of one process", size(peak), help=parts)
    except (UserError, OSError, RuntimeError) as error:
        with needs:
            say_problem("The memory cannot be told:", error, warning=True)
    if earlier is not None:
        told = f"{earlier[1]:.2f} s a step, as in {plain_name(earlier[0])}; evaluations come on top."
        takes.metric("Time", duration(earlier[1] * config.train.steps), help=told)
    elif seconds is not None:
        told = f"{seconds:.2f} s a step, from small steps of noise timed here just now. {ON_TOP}"
        takes.metric("Time, roughly", duration(seconds * config.train.steps), help=told)
    else:
        takes.info("No earlier run here had this data, network, method and batch: its first steps will tell the time.")
