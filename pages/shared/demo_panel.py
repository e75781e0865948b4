"""The demo: offered where there is no run yet, watched while it trains, and led to its comparison when it is done."""

import os

import streamlit as st

from pages.shared import store
from pages.shared.messages import say_problem
from pages.shared.run_actions import act
from pages.shared.words import duration, state_label
from scl_core import demo, launch
from scl_core.errors import UserError
from scl_core.runs import RunStatus

COMPARE = "pages/runs/compare.py"
REFRESH_SECONDS = 2


def more_settings() -> list[str]:
    """A settings file that changes the demo, from the environment: for tests and slow machines."""
    return [os.environ["SCL_DEMO_CONFIG"]] if os.environ.get("SCL_DEMO_CONFIG") else []


def begin() -> None:
    """Start both runs; this session waits for their comparison."""
    attempt(lambda: demo.start(store.runs_root(), more_settings()))
    st.session_state["waits_for_demo"] = "demo_error" not in st.session_state


def take_recorded() -> None:
    """Put the recorded runs into the runs folder and go to their comparison."""
    attempt(lambda: demo.copy_recorded(store.runs_root()))
    if "demo_error" not in st.session_state:
        st.session_state["compare_next"] = [f"{name}-recorded" for name in demo.NAMES]


def attempt(action) -> None:
    """Do it; what goes wrong is kept for the page to show."""
    st.session_state.pop("demo_error", None)
    try:
        action()
    except (UserError, OSError) as error:
        st.session_state["demo_error"] = str(error)
    store.forget_summaries()


def show_offer() -> None:
    """Two ways to see what the app is for, without data and without settings."""
    with st.container(horizontal=True):
        help = "About two minutes for each run on two cores. They go on when the page is closed."
        st.button("Run the demo", type="primary", icon=":material/play_circle:", on_click=begin, help=help)
        help = "Two finished runs of the demo come with the program; they are copied into the runs folder."
        st.button("Look at the recorded demo", icon=":material/inventory_2:", on_click=take_recorded, help=help)
    show_error()


def show_error() -> None:
    """Why the demo did not start, until another button is pressed."""
    if "demo_error" in st.session_state:
        say_problem("The demo did not start:", st.session_state["demo_error"])


def go_on() -> None:
    """Leave for the comparison where one is due: the recorded runs were asked for."""
    names = st.session_state.pop("compare_next", None)
    if names:
        to_comparison(names)


def to_comparison(names: list[str]) -> None:
    """The comparison of these runs; what was picked there before gives way."""
    st.session_state.pop("runs", None)
    st.switch_page(COMPARE, query_params={"runs": names})


def show_progress() -> None:
    """Both runs while one of them trains."""
    root = store.runs_root()
    if any(status.active for status in demo.statuses(root)):
        st.session_state["waits_for_demo"] = True
    if st.session_state.get("waits_for_demo"):
        st.fragment(watch, run_every=REFRESH_SECONDS)()


def watch() -> None:
    """Progress and time left of both, then their comparison; a run that failed ends the waiting."""
    root = store.runs_root()
    statuses = demo.statuses(root)
    if all(status.state == "finished" for status in statuses):
        st.session_state["waits_for_demo"] = False
        store.forget_summaries()
        to_comparison(list(demo.NAMES))
    if not any(status.active for status in statuses):
        st.session_state["waits_for_demo"] = False
        store.forget_summaries()
        st.rerun()
    with st.container(border=True):
        left = demo.seconds_left(root)
        st.subheader("The demo trains")
        st.write("First from 12 labeled pictures alone, then with 188 unlabeled ones. Then this page compares the two.")
        for name, status in zip(demo.NAMES, statuses, strict=True):
            show_run(name, status)
        with st.container(horizontal=True, vertical_alignment="center"):
            text = f"about {duration(left)} left" if left is not None else "the time left shows after the first steps"
            st.caption(f"{text}; the page may be closed meanwhile")
            st.button("Stop the demo", icon=":material/stop:", on_click=stop)


def show_run(name: str, status: RunStatus) -> None:
    """The bar of one run."""
    step, steps = status.step or 0, status.steps
    where = f"step {step} of {steps}" if steps else (status.reason or "")
    st.progress(min(step / steps, 1.0) if steps else 0.0, text=f"{name}: {state_label(status.state)}, {where}")


def stop() -> None:
    """Stop both: the one that waits first, so that it does not begin."""
    st.session_state["waits_for_demo"] = False
    for name, status in reversed(list(zip(demo.NAMES, demo.statuses(store.runs_root()), strict=True))):
        if status.active and status.state != "stopping":
            act(launch.request_stop, name)
