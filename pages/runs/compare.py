"""Two or more evaluations class by class, the curves of their runs, and the settings in which the runs differ."""

import streamlit as st

from pages.shared import compare_views as views
from pages.shared import comparing, store
from pages.shared import evaluations as ev
from pages.shared.compare_export import show_exports
from pages.shared.job_panel import job_button
from pages.shared.messages import offer_launch, say_problem
from pages.shared.settings_diff import settings_table
from pages.shared.words import plain_name
from scl_core.figures.curves import by_network, mean_iou_curves
from scl_core.jobs import job_command


def pick_runs() -> list[str]:
    """The runs to compare, part of the page's address; at first the two newest, the older one first."""
    names = [run.name for run in store.summaries() if run.last or run.best]
    if "runs" not in st.session_state and "runs" not in st.query_params:
        st.session_state["runs"] = [run.name for run in store.summaries() if run.last][1::-1]
    return st.multiselect(
        "Runs", names, key="runs", bind="query-params", format_func=plain_name, placeholder="Pick runs"
    )


def pick_evaluations(found: dict[str, ev.Evaluation]) -> list[ev.Evaluation]:
    """The evaluations to compare; the first is the reference of the differences."""
    key = "evaluations-" + str(hash(tuple(found)))
    help = "The first one is the reference of the differences."
    proposed = ev.proposed(found)
    kept = [label for label in st.query_params.get_all("evaluation") if label in found]
    labels = st.multiselect("Evaluations", list(found), default=kept or proposed, key=key, help=help)
    st.query_params["evaluation"] = [] if labels == proposed else labels
    return [found[label] for label in labels]


def evaluate_another(names: list[str]) -> None:
    """Score a checkpoint that has no evaluation yet, in a process of its own."""
    with st.expander("Evaluate a checkpoint", icon=":material/calculate:"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox("Run", names, format_func=plain_name, key="score_run", width=330)
            run = store.run_folder(name)
            steps = run.checkpoints()
            step = st.selectbox("Checkpoint", steps[::-1], key=f"score_step-{name}", width=130)
            split = st.selectbox("List", ["val", "test", "train"], key="score_split", width=110)
        if step is None:
            st.info("This run has no checkpoint on disk to evaluate.")
            return
        command = job_command("evaluate", run.path, "--split", split, "--checkpoint", str(step))
        job_button(run, "evaluate", "Evaluate", command, key=f"evaluate-{name}")


def show_curves(names: list[str]) -> None:
    """mIoU of every chosen run over its steps, the network that counts, on the validation list."""
    groups = {}
    for index, name in enumerate(names):
        networks = by_network(store.run_folder(name).evaluations(), "val")
        groups |= {f"{ev.letter(index)} · {network}": records for network, records in networks.items()}
    st.plotly_chart(mean_iou_curves(groups), key="curves", alt="mIoU of the runs over their steps")


def show_settings(names: list[str]) -> None:
    """The settings of the runs, by default only where they differ."""
    only = st.toggle("Only differences", value=True, key="only_differences", bind="query-params")
    table = settings_table({f"{ev.letter(index)} · {plain_name(name)}": name for index, name in enumerate(names)}, only)
    if len(table):
        st.dataframe(table, hide_index=True, height="content", alt="Settings of the runs")
    else:
        st.info("These runs have the same settings." if len(names) > 1 else "Pick a second run to see what differs.")


st.title("Compare")
if not any(run.last for run in store.summaries()):
    offer_launch("There is no evaluation to compare yet. A run evaluates its networks every few hundred steps.")

names = pick_runs()
found, problems = ev.evaluations_of(names)
for name, problem in problems.items():
    say_problem("The evaluations of this run cannot be read:", f"{name}\n{problem}")
chosen = pick_evaluations(found)
if not chosen:
    st.info("Pick at least one evaluation.")
    st.stop()

st.dataframe(
    ev.overview(chosen),
    hide_index=True,
    alt="The evaluations that are compared, with their mIoU",
    column_config={
        "mIoU": st.column_config.NumberColumn("mIoU (%)", format="%.1f"),
        "Boundary": st.column_config.NumberColumn(
            "Boundary (%)", format="%.1f", help="mIoU of the pixels near a border of two labels alone."
        ),
    },
)
for what in ev.disagreements(chosen):
    st.warning(f"These evaluations have different {what}: their scores cannot be compared.", icon=":material/rule:")
evaluate_another(names)
pair = comparing.pick_two(chosen)
classes, confusion, pictures, curves, settings, export = st.tabs(
    ["Classes", "Confusion", "Pictures", "Curves", "Settings", "Export"], key="compare_tab"
)
with classes:
    views.show_classes(chosen)
with confusion:
    views.show_confusion(pair)
with pictures:
    views.show_pictures(pair)
with curves:
    show_curves(names)
with settings:
    show_settings(names)
with export:
    show_exports(chosen, pair, names, st.session_state.get("block"))
