"""Stop, kill and resume: what the buttons of a run do. Each acts on the run's name, never on a row of a table."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from pages.shared import store
from pages.shared.messages import say_problem
from scl_core import launch
from scl_core.errors import UserError
from scl_core.runs import RunFolder, RunStatus

RESUMABLE = ("stopped", "failed", "lost")


def act(action: Callable[[Path], object], name: str) -> None:
    """Do something to the run with this name; what goes wrong is kept for the page to show."""
    st.session_state.pop("action_error", None)
    try:
        action(store.run_folder(name).path)
    except (UserError, OSError) as error:
        st.session_state["action_error"] = (name, str(error))
    store.forget_summaries()


def resume(path: Path) -> None:
    """Go on with as many processes as before."""
    before = RunFolder(path).environment().get("world_size")
    launch.resume(path, before if type(before) is int else 1)


def show_actions(name: str, status: RunStatus, has_checkpoint: bool, has_evaluation: bool) -> None:
    """The buttons that make sense in this state, and the ways to the pages that show more of the run."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if status.state in ("queued", "running", "stalled"):
            help = "Asks the run to save a checkpoint after its step and to end."
            show_button("Stop", ":material/stop:", launch.request_stop, name, help)
        if status.state in ("stopping", "stalled"):
            help = "Ends the processes at once. What happened since the last checkpoint is lost."
            show_button("Kill", ":material/dangerous:", launch.kill, name, help)
        if status.state in RESUMABLE:
            help = "Goes on after the last checkpoint." if has_checkpoint else "There is no checkpoint to go on from."
            show_button("Resume", ":material/play_arrow:", resume, name, help, disabled=not has_checkpoint)
        health = {"run": name}
        st.page_link("pages/runs/health.py", label="Its health", icon=":material/stethoscope:", query_params=health)
        if has_evaluation:
            st.page_link(
                "pages/runs/compare.py", label="Its classes", icon=":material/bar_chart:", query_params={"runs": name}
            )
        if has_checkpoint:
            page, icon = "pages/method/similarity.py", ":material/grid_on:"
            st.page_link(page, label="Inside its loss", icon=icon, query_params={"run": name})


def show_button(label: str, icon: str, action: Callable, name: str, help: str, disabled: bool = False) -> None:
    """A button that acts on the run with this name."""
    st.button(
        label, key=label.lower(), icon=icon, on_click=act, args=(action, name), help=help, disabled=disabled, wrap=False
    )


def show_action_error(name: str) -> None:
    """The plain error of the last button, until another button is pressed."""
    run, sentence = st.session_state.get("action_error", ("", ""))
    if run == name:
        say_problem("That did not work:", sentence)
