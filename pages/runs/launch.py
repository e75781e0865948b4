"""Start a training run: choose, check, see the command, start. The run lives on without this page and its server."""

import re
import time
from pathlib import Path

import streamlit as st

from pages.shared import launch_forecast, launch_form, store
from pages.shared.messages import say_problem
from scl_core import launch
from scl_core.config import RunConfig, to_dict
from scl_core.errors import UserError
from scl_core.storage.plain_yaml import to_yaml
from scl_core.training.plan import Plan

CANNOT_START = "This run cannot start yet:"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def free_name(data: str, method: str, seed: int) -> str:
    """`<date>-<data>-<method>-s<seed>`, with a number behind it when that run is there already."""
    name = f"{time.strftime('%Y-%m-%d')}-{data}-{method}-s{seed}"
    taken = {path.name for path in store.runs_root().glob(f"{name}*")}
    return next(free for free in [name, *(f"{name}-{n}" for n in range(2, 10_000))] if free not in taken)


def begin(config: RunConfig, run_dir: Path, processes: int) -> None:
    """Start the run, once: the second click of a double click carries the same folder and only follows the first."""
    begun = st.session_state.setdefault("begun", set())
    st.session_state.pop("launch_error", None)
    try:
        if run_dir not in begun:
            Plan(config, run_dir, resumed=False).check(processes)
            launch.launch(to_dict(config), run_dir, processes)
            begun.add(run_dir)
        st.session_state["go_to"] = run_dir.name
        store.forget_summaries()
    except (UserError, OSError) as error:
        st.session_state["launch_error"] = str(error)


if "go_to" in st.session_state:
    name = st.session_state.pop("go_to")
    st.session_state.pop("run", None)
    st.switch_page("pages/runs/overview.py", query_params={"run": name})

st.title("Launch a run")
try:
    start = launch_form.choose_start()
    starting = start.values()
except UserError as error:
    say_problem(CANNOT_START, error)
    st.stop()

values = launch_form.show_fields(start, starting)
name_box, device_box, process_box = st.columns([2, 1, 1])
with device_box:
    values["device"] = launch_form.show_setting(start, starting, "device")
help = "Training processes on this machine; the pictures of a step are shared between them."
processes = process_box.number_input("Processes", 1, 64, 1, key="processes", help=help)
proposed = free_name(start.data, start.method, values["seed"] or 0)
help = "The name of the run folder. Empty takes the name that is shown."
name = name_box.text_input("Run name", key="run_name", placeholder=proposed, help=help).strip() or proposed
run_dir = store.runs_root() / name

config, problem = None, st.session_state.get("launch_error")
try:
    if not NAME.fullmatch(name):
        raise UserError(
            f"run name {name!r}: use letters, digits, '.', '_' and '-', at most 100, the first a letter or digit"
        )
    config = launch_form.read_form(values, run_dir)
except UserError as error:
    problem = str(error)

st.subheader("Command")
if problem:
    say_problem(CANNOT_START, problem)
if config is not None:
    st.caption("The same run from a terminal:")
    st.code(launch_form.command_line(start, starting, values, run_dir, processes), language="bash", wrap_lines=True)
    text = to_yaml(to_dict(config) | {"run_dir": None})
    st.download_button("Settings file", text, f"{name}.yaml", icon=":material/download:", on_click="ignore")
    launch_forecast.show(config, processes)
st.button(
    "Start the run",
    type="primary",
    icon=":material/rocket_launch:",
    key="start",
    disabled=config is None,
    on_click=begin,
    args=(config, run_dir, processes),
)
