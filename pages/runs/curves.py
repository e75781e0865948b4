"""One recorded quantity of several runs over each other, alone or as mean and spread over seeds; and what differs."""

import streamlit as st

from pages.shared import run_curves, store
from pages.shared.messages import FOLDER_OFF, offer_launch, say_problem
from pages.shared.settings_diff import settings_table
from pages.shared.words import plain_name
from scl_core.figures.run_groups import AXES, overlay, scale_axes, spread

REFRESH_SECONDS = 3
FIRST_RUNS = 4


def pick_runs() -> list[str]:
    """The runs to draw, part of the page's address; at first the newest that have taken a step."""
    names = [run.name for run in store.summaries()]
    if "curves" not in st.session_state and "curves" not in st.query_params:
        st.session_state["curves"] = [run.name for run in store.summaries() if run.status.step][:FIRST_RUNS]
    return st.multiselect(
        "Runs", names, key="curves", bind="query-params", format_func=plain_name, placeholder="Pick runs"
    )


def show(names: list[str]) -> None:
    """Choices and figure; drawn again while a run works."""
    runs, problems = run_curves.read(names)
    for name, problem in problems.items():
        say_problem("This run cannot be drawn:", f"{name}\n{problem}", FOLDER_OFF)
    known = list(dict.fromkeys(quantity for run in runs for quantity in run.quantities()))
    if not known:
        st.info("None of these runs has recorded a step yet.")
        return
    what, over, smooth = st.columns([2, 2, 2], gap="medium")
    quantity = what.selectbox("Quantity", known, key="quantity", bind="query-params")
    axis = over.segmented_control("Over", list(AXES), default="step", required=True, key="axis", bind="query-params")
    smoothing = smooth.slider("Smoothing", 0.0, 0.99, 0.0, key="curve_smoothing", bind="query-params")
    with st.container(horizontal=True):
        grouped = st.toggle(
            "Group over seeds", key="grouped", bind="query-params", help="Mean and standard deviation; n in the name."
        )
        log_x = st.toggle("Logarithmic axis below", key="log_x", bind="query-params")
        log_y = st.toggle("Logarithmic axis at the side", key="log_y", bind="query-params")
    draw(runs, quantity, axis, smoothing, grouped, log_x, log_y)


def draw(runs, quantity: str, axis: str, smoothing: float, grouped: bool, log_x: bool, log_y: bool) -> None:
    """The figure."""
    look = {"axis": axis, "smoothing": smoothing, "unit": run_curves.unit(quantity)}
    if grouped:
        groups = {
            label: [run.curve(quantity, axis) for run in members] for label, members in run_curves.groups(runs).items()
        }
        figure = spread(groups, quantity, **look)
        st.caption("A line is the mean of its runs, the band one standard deviation (n − 1) around it.")
    else:
        figure = overlay({plain_name(run.summary.name): run.curve(quantity, axis) for run in runs}, quantity, **look)
    alt = f"{quantity} of {len(runs)} runs over {axis}"
    st.plotly_chart(scale_axes(figure, log_x, log_y), key="curves_figure", alt=alt)


st.title("Curves")
if not store.summaries():
    offer_launch("There is no run to draw yet.")

names = pick_runs()
if not names:
    st.info("Pick at least one run.")
    st.stop()
active = any(run.status.active for run in store.summaries() if run.name in names)
live = active and st.toggle("Live", value=True, key="curves_live", help="New points reset a zoom: pause to look.")
st.fragment(show, run_every=REFRESH_SECONDS if live else None)(names)
if len(names) > 1:
    st.subheader("Settings that differ")
    table = settings_table({plain_name(name): name for name in names}, only_differences=True)
    if len(table):
        st.dataframe(table, hide_index=True, height="content", alt="Settings in which the runs differ")
    else:
        st.info("These runs have the same settings.")
