"""The table of runs. A row is turned into the run's name at once: row numbers change when runs come and go."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from pages.shared import store
from pages.shared.words import STATE_SIGNS, UNREADABLE, plain_name, state_label
from scl_core.runs import RunSummary


def state_of(summary: RunSummary) -> str:
    """The state of a run, or that its folder cannot be read as one."""
    return UNREADABLE if summary.problem and summary.method is None else summary.status.state


def matches(summary: RunSummary, text: str, states: list[str], methods: list[str], tags: list[str]) -> bool:
    """Whether a run passes the filters: every word of `text`, a regular expression, is found in what names the run."""
    named = [summary.name, summary.method or "", summary.data or "", *summary.notes.tags, summary.notes.note]
    return (
        all(pattern(word).search(" ".join(named)) for word in text.split())
        and (not states or state_of(summary) in states)
        and (not methods or summary.method in methods)
        and set(tags) <= set(summary.notes.tags)
    )


def pattern(word: str) -> re.Pattern:
    """A regular expression, or the word letter by letter where it is none; upper and lower case are one."""
    try:
        return re.compile(word, re.IGNORECASE)
    except re.error:
        return re.compile(re.escape(word), re.IGNORECASE)


def filtered(runs: list[RunSummary]) -> list[RunSummary]:
    """The row of filters, and the runs that pass them. The filters are part of the page's address."""
    text, states, methods, tags, order = st.columns([3, 2, 2, 2, 2])
    help = "Words in any order, each a regular expression, looked for in name, method, data, tags and note."
    wanted = text.text_input("Filter", key="filter", bind="query-params", placeholder="camvid s[0-3]$", help=help)
    with states:
        chosen_states = choose("State", list(STATE_SIGNS), "states")
    with methods:
        chosen_methods = choose("Method", sorted({run.method for run in runs if run.method}), "methods")
    with tags:
        chosen_tags = choose("Tag", sorted({tag for run in runs for tag in run.notes.tags}), "tags")
    with order:
        first = st.selectbox("Sort by", list(ORDERS), key="sort", bind="query-params")
    passing = [run for run in runs if matches(run, wanted or "", chosen_states, chosen_methods, chosen_tags)]
    return sorted(passing, key=ORDERS[first], reverse=True)


def choose(label: str, options: list[str], key: str) -> list[str]:
    """One of the filters; empty lets everything pass."""
    return st.multiselect(label, options, key=key, bind="query-params", placeholder="all")


def score(summary: RunSummary, kind: str) -> float:
    """The best or last score of the network that counts; without one a run comes last."""
    return getattr(summary, kind).get(summary.counting, -1.0)


ORDERS: dict[str, Callable[[RunSummary], Any]] = {
    "Newest name": lambda run: run.name,
    "Best mIoU": lambda run: score(run, "best"),
    "Last mIoU": lambda run: score(run, "last"),
    "Step": lambda run: run.status.step or 0,
    "State": lambda run: run.status.state,
}


def table_of(runs: list[RunSummary]) -> pd.DataFrame:
    """One row for each run; the mIoU columns are in percent, empty where there is no evaluation."""
    networks = list(dict.fromkeys(name for run in runs for name in run.best))
    rows = []
    for run in runs:
        row = {"State": state_label(state_of(run)), "Run": plain_name(run.name), "Method": run.method, "Data": run.data}
        row["Step"] = None if run.status.step is None else f"{run.status.step} / {run.steps or '?'}"
        row["Epoch"] = run.epoch
        for network in networks:
            row[f"Best {network}"] = scaled(run.best.get(network))
            row[f"Last {network}"] = scaled(run.last.get(network))
        row["Tags"] = [plain_name(tag) for tag in run.notes.tags]
        row["Note"] = plain_name(run.notes.note.partition("\n")[0])
        rows.append(row)
    table = pd.DataFrame(rows)
    unused = [name for name in ("Tags", "Note") if rows and not any(row[name] for row in rows)]
    return table.drop(columns=unused)


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
    epochs = number("Epoch", format="%.1f", help="How often each labeled picture has been drawn, on average")
    names_wide = st.column_config.TextColumn("Run", width="medium")
    methods_wide = st.column_config.TextColumn("Method", width=110)
    rows = [names.index(picked)] if picked in names else []
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        placeholder="–",
        column_config={name: number(name, format="%.1f", help=help) for name in scores}
        | {"Epoch": epochs, "Run": names_wide, "Method": methods_wide},
        on_select=partial(pick_row, key, names),
        selection_mode="single-row",
        selection_default={"selection": {"rows": rows, "columns": [], "cells": []}},
        alt="Runs with state, step and mIoU",
    )
    if scores:
        st.caption("Best and last: mIoU in percent on the validation list.")
