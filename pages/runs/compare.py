"""Two or more evaluations class by class, the curves of their runs, and the settings in which the runs differ."""

import pandas as pd
import streamlit as st

from pages.shared import evaluations as ev
from pages.shared import store
from pages.shared.settings_diff import settings_table
from pages.shared.words import plain_name
from scl_core.figures.curves import by_network, mean_iou_curves
from scl_core.figures.iou import IouTable, delta_bars, iou_table, per_class_bars


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
    labels = st.multiselect("Evaluations", list(found), default=ev.proposed(found), key=key, help=help)
    return [found[label] for label in labels]


def show_classes(table: IouTable) -> None:
    """IoU by class as a table to read and save, the differences as bars, all values as bars."""
    others = table.labels[1:]
    reading, *drawing = st.columns([2, 3], gap="large") if len(others) < 2 else [st.container(), *st.columns(2)]
    with reading:
        frame, formats = class_table(table)
        st.dataframe(frame, hide_index=True, placeholder="–", column_config=formats, height="content")
        st.caption("IoU in percent, Δ in percentage points. A dash: neither labels nor prediction have the class.")
        csv = frame.to_csv(index=False)
        st.download_button(
            "Download CSV", csv, "per_class_iou.csv", "text/csv", icon=":material/download:", on_click="ignore"
        )
    for index, label in enumerate(others):
        place = drawing[index % len(drawing)]
        place.plotly_chart(delta_bars(table, index), key=f"delta-{label}", alt="IoU differences by class")
    (st if others else drawing[0]).plotly_chart(per_class_bars(table), key="bars", alt="IoU by class")


def class_table(table: IouTable) -> tuple[pd.DataFrame, dict]:
    """One row for each class, largest gain first, and how its columns are written."""
    frame = pd.DataFrame(100 * table.values, columns=list(table.labels))
    frame.insert(0, "Class", [plain_name(name) for name in table.classes])
    for index, label in enumerate(table.labels[1:]):
        frame[f"Δ {label}"] = 100 * table.deltas[:, index]
    number = st.column_config.NumberColumn
    return frame, {name: number(name, format="%+.1f" if name[0] == "Δ" else "%.1f") for name in frame.columns[1:]}


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
        st.dataframe(table, hide_index=True, height="content")
    else:
        st.info("These runs have the same settings." if len(names) > 1 else "Pick a second run to see what differs.")


st.title("Compare")
if not any(run.last for run in store.summaries()):
    st.info("There is no evaluation to compare yet. A run evaluates its networks every few hundred steps.")
    if st.button("Launch a run", icon=":material/rocket_launch:"):
        st.switch_page("pages/runs/launch.py")
    st.stop()

names = pick_runs()
found, problems = ev.evaluations_of(names)
for name, problem in problems.items():
    st.error("The evaluations of this run cannot be read:")
    st.code(f"{plain_name(name)}\n{problem}", language=None, wrap_lines=True)
chosen = pick_evaluations(found)
if not chosen:
    st.info("Pick at least one evaluation.")
    st.stop()

st.dataframe(
    ev.overview(chosen),
    hide_index=True,
    column_config={"mIoU": st.column_config.NumberColumn("mIoU (%)", format="%.1f")},
)
for what in ev.disagreements(chosen):
    st.warning(
        f"These evaluations were taken on different {what}: their scores cannot be compared.", icon=":material/rule:"
    )
classes, curves, settings = st.tabs(["Classes", "Curves", "Settings"], key="compare_tab")
with classes:
    labels = ev.short_labels(chosen)
    show_classes(iou_table({label: ev.class_scores(item) for label, item in zip(labels, chosen, strict=True)}))
with curves:
    show_curves(names)
with settings:
    show_settings(names)
