"""Confusion matrices as pictures: counts, shares of a row or column, and the difference of two."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.style import finish, plain

KINDS = {
    "row": "share of the label's pixels (rows add up to 100 %)",
    "column": "share of the prediction's pixels (columns add up to 100 %)",
    "count": "pixels (colour: logarithm)",
    "difference": "difference of the rows' shares (percentage points)",
}
WRITTEN = 12
"""Up to this many classes the cells carry their numbers."""


def confusion_figure(values: np.ndarray, classes: Sequence[str], kind: str, title: str) -> go.Figure:
    """A matrix [C, C], or [C, C + 1] with void predictions last; rows are labels, columns predictions.

    `values`: pixels for "count", shares (0 to 1, differences -1 to 1) for the other `KINDS`; NaN where a class is
    absent. Each cell is also a transparent point whose `customdata` is [row, column], so that it can be picked.
    """
    names = [plain(name) for name in classes]
    columns = names + ["void"] * (values.shape[1] - len(names))
    texts = [[cell_text(value, kind) for value in row] for row in values]
    figure = go.Figure()
    figure.add_heatmap(
        z=cell_levels(values, kind).astype(np.float32),
        x=columns,
        y=names,
        hoverinfo="skip",
        text=texts if len(names) <= WRITTEN else None,
        texttemplate="%{text}" if len(names) <= WRITTEN else None,
        xgap=1,
        ygap=1,
        showscale=False,
        **color_range(values, kind),
    )
    add_cells(figure, names, columns, texts)
    finish(figure, title, "Prediction", "Label", height=120 + 34 * max(len(names), 5))
    figure.update_layout(hovermode="closest", clickmode="event+select", dragmode=False)
    figure.update_xaxes(type="category", tickangle=-45, showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def cell_text(value: float, kind: str) -> str:
    """One number as it stands in a cell: a dash for an absent class, nothing where nothing is."""
    if np.isnan(value):
        return "–"
    if kind == "count":
        return f"{int(value):,}" if value else ""
    return "" if not value else f"{100 * value:+.1f}" if kind == "difference" else f"{100 * value:.1f}"


def cell_levels(values: np.ndarray, kind: str) -> np.ndarray:
    """What the colour shows: the logarithm of counts, all other values in percent."""
    return np.log10(1 + values.astype(np.float64)) if kind == "count" else 100 * values


def color_range(values: np.ndarray, kind: str) -> dict:
    """Scale and ends: white in the middle of differences, from dark to bright for the others."""
    if kind == "difference":
        reach = 100 * max(float(np.nanmax(np.abs(values), initial=0)), 0.01)
        return {"colorscale": "RdBu", "zmin": -reach, "zmax": reach}
    top = 100.0 if kind != "count" else max(float(np.log10(1 + values.max(initial=0))), 1.0)
    return {"colorscale": "Cividis", "zmin": 0, "zmax": top}


def add_cells(figure: go.Figure, names: list[str], columns: list[str], texts: list[list[str]]) -> None:
    """A transparent point on each cell: heatmaps report no click to the page, points do."""
    places = [(row, column) for row in range(len(names)) for column in range(len(columns))]
    figure.add_scatter(
        x=[columns[column] for _, column in places],
        y=[names[row] for row, _ in places],
        customdata=[[row, column] for row, column in places],
        text=[texts[row][column] or "0" for row, column in places],
        mode="markers",
        marker={"color": "rgba(0,0,0,0)", "size": 24, "symbol": "square"},
        selected={"marker": {"color": "rgba(213,94,0,0.55)", "opacity": 1}},
        unselected={"marker": {"opacity": 0}},
        hovertemplate="label %{y}<br>prediction %{x}<br>%{text}<extra></extra>",
        showlegend=False,
    )
