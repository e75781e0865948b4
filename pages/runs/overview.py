"""All runs, and below them the one that is picked: its state, its curves, its log, and what can be done with it."""

import streamlit as st

from pages.shared import demo_panel, run_detail, run_notes, run_table, store
from pages.shared.words import plain_name


def show_empty() -> None:
    """The first look at the app: what to do next."""
    with st.container(border=True):
        st.subheader("No run yet")
        st.write(
            "The demo trains a network twice on street scenes that the program draws: from 12 labeled pictures alone, "
            "and with 188 unlabeled ones beside them. Then it compares the two, class by class."
        )
        demo_panel.show_offer()
        st.divider()
        st.write("Or choose data, method and settings yourself.")
        if st.button("Launch the first run", icon=":material/rocket_launch:"):
            st.switch_page("pages/runs/launch.py")
        st.caption("Runs that are started in a terminal appear here too. They are read from this folder:")
        st.code(str(store.runs_root().resolve()), language=None)


def show_missing(name: str) -> None:
    """A run of the address, or of the last look, that is not there."""
    st.warning("This run is not in the runs folder. It may have been moved or deleted; pick another one.")
    st.code(plain_name(name), language=None)


demo_panel.go_on()
head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom")
head.title("Runs", width="content")
runs = store.summaries()
run_notes.show_last_action()
if not runs:
    show_empty()
    run_notes.show_archive()
    st.stop()
if head.button("New run", icon=":material/add:"):
    st.switch_page("pages/runs/launch.py")

demo_panel.show_progress()
names = [run.name for run in runs]
if "run" not in st.session_state and "run" not in st.query_params and store.looked_at(names):
    st.session_state["run"] = store.looked_at(names)
wanted = st.session_state["run"] if "run" in st.session_state else st.query_params.get("run")
if wanted and wanted not in names:
    show_missing(wanted)
    st.session_state["run"] = None

refresh_seconds = 3 if any(run.status.active for run in runs) else 10
st.fragment(run_table.show, run_every=refresh_seconds)(wanted)

if runs.skipped:
    st.caption(f"{runs.skipped} links in the runs folder were not followed.")

row = st.container(horizontal=True, vertical_alignment="bottom")
picked = row.selectbox(
    "Run",
    names,
    index=None,
    key="run",
    bind="query-params",
    format_func=plain_name,
    placeholder="Pick a run here or in the table",
    on_change=run_table.follow_selectbox,
)
store.look_at(picked)
if picked:
    run_detail.show(next(run for run in runs if run.name == picked), row)
run_notes.show_archive()
