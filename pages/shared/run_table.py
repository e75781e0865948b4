"""The table of runs. A row is turned into the run's name at once: row numbers change when runs come and go."""

from functools import partial

import pandas as pd
import streamlit as st

from pages.shared import store
from pages.shared.words import STATE_SIGNS, UNREADABLE, plain_name, state_label
from scl_core.runs import RunSummary


def state_of(summary: RunSummary) -> str:
    """The state of a run, or that its folder cannot be read as one."""
    return UNREADABLE if summary.problem and summary.method is None else summary.status.state


def matches(summary: RunSummary, text: str, states: list[str], methods: list[str]) -> bool:
    """Whether a run passes the filters; an empty filter lets everything pass, words may come in any order."""
    words = " ".join([summary.name, summary.method or "", summary.data or ""]).lower()
    return (
        all(word in words for word in text.lower().split())
        and (not states or state_of(summary) in states)
        and (not methods or summary.method in methods)
    )


def filtered(runs: list[RunSummary]) -> list[RunSummary]:
    """The row of filters, and the runs that pass them. The filters are part of the page's address."""
    text, states, methods = st.columns([2, 1, 1])
    wanted = text.text_input(
        "Filter", key="filter", bind="query-params", placeholder="words of the name, data or method"
    )
    present = sorted({run.method for run in runs if run.method})
    with states:
        chosen_states = st.multiselect(
            "State", list(STATE_SIGNS), key="states", bind="query-params", placeholder="all states"
        )
    with methods:
        chosen_methods = st.multiselect(
            "Method", present, key="methods", bind="query-params", placeholder="all methods"
        )
    return [run for run in runs if matches(run, wanted or "", chosen_states, chosen_methods)]


def table_of(runs: list[RunSummary]) -> pd.DataFrame:
    """One row for each run; the mIoU columns are in percent, empty where there is no evaluation."""
    networks = list(dict.fromkeys(name for run in runs for name in run.best))
    rows = []
    for run in runs:
        row = {"State": state_label(state_of(run)), "Run": plain_name(run.name), "Method": run.method, "Data": run.data}
        row["Step"] = None if run.status.step is None else f"{run.status.step} / {run.steps or '?'}"
        for network in networks:
            row[f"Best {network}"] = scaled(run.best.get(network))
            row[f"Last {network}"] = scaled(run.last.get(network))
        rows.append(row)
    return pd.DataFrame(rows)


def scaled(share: float | None) -> float | None:
    return None if share is None else 100 * share


def pick_row(key: str, names: list[str]) -> None:
    """Keep the clicked row as the name of its run."""
    rows = st.session_state[key]["selection"]["rows"]
    st.session_state["run"] = names[rows[0]] if rows else None
    st.session_state["row_picked"] = True


def follow_selectbox() -> None:
    """Let the table mark the run that was picked elsewhere: it becomes a new widget with another row to start from."""
    st.session_state["table_turn"] = st.session_state.get("table_turn", 0) + 1


def show(picked: str | None) -> None:
    """Filters and table, the picked run's row marked; runs as a fragment, so that the numbers move with the runs.

    A click puts the run's name into the session's `run` and draws the whole page again.
    """
    if st.session_state.pop("row_picked", False):
        st.rerun()
    runs = sorted(filtered(store.summaries()), key=lambda run: state_of(run) == UNREADABLE)
    if runs:
        show_table(runs, picked)
    else:
        st.info("No run passes the filters.")


def show_table(runs: list[RunSummary], picked: str | None) -> None:
    """Draw the table.

    The runs' names are part of the widget's key, because a table that stays the same widget keeps the number of its
    selected row when a new run pushes the rows down (streamlit issue 17026).
    """
    names = [run.name for run in runs]
    key = f"runs-{hash(tuple(names))}-{st.session_state.get('table_turn', 0)}"
    table = table_of(runs)
    number, help = st.column_config.NumberColumn, "mIoU in percent on the validation list"
    scores = [column for column in table if column.startswith(("Best ", "Last "))]
    rows = [names.index(picked)] if picked in names else []
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        placeholder="–",
        column_config={name: number(name, format="%.1f", help=help) for name in scores},
        on_select=partial(pick_row, key, names),
        selection_mode="single-row",
        selection_default={"selection": {"rows": rows, "columns": [], "cells": []}},
        alt="Runs with state, step and mIoU",
    )
    if scores:
        st.caption("Best and last: mIoU in percent on the validation list.")
