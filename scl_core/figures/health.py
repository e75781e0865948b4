"""The pictures of a run's health: pulls, batch norms, classes in boxes, copies beside each other."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.style import BLUE, VERMILLION, empty, finish, is_empty

LIMIT = {"color": VERMILLION, "dash": "dash", "width": 2}


def pull_figure(steps: np.ndarray, ratios: np.ndarray, limit: float) -> go.Figure:
    """How many times as strongly as the labels the unlabeled terms pull, [N] at `steps` [N], and the limit."""
    figure = go.Figure()
    line = {"color": BLUE, "width": 2}
    figure.add_scatter(x=steps, y=ratios, mode="lines+markers", line=line, name="unlabeled / labels", showlegend=False)
    if not len(steps):
        empty(figure, "No gradients were measured.")
    figure.update_yaxes(rangemode="tozero")
    finish(figure, "Unlabeled terms against the labels", "step", "times the labels' pull", 300)
    return _limited(figure, limit, min(steps, default=0), max(steps, default=0))


def layers_figure(distances: np.ndarray, limit: float) -> go.Figure:
    """The distance of teacher and student in each batch norm, [L] in standard deviations, from input to output."""
    figure = go.Figure(
        go.Bar(
            x=np.arange(1, len(distances) + 1),
            y=distances,
            marker_color=BLUE,
            showlegend=False,
            hovertemplate="layer %{x}: %{y:.3f}<extra></extra>",
        )
    )
    if not len(distances):
        empty(figure, "This network has no batch norm.")
    finish(figure, "Batch norm, teacher against student", "layer", "standard deviations", 300)
    return _limited(figure.update_layout(hovermode="closest"), limit, 0.5, len(distances) + 0.5)


def classes_figure(classes: Sequence[int]) -> go.Figure:
    """How many boxes hold one class, two, three …; `classes` [N] by box."""
    counts = np.bincount(np.asarray(classes, dtype=np.int64), minlength=3)[1:]
    names = [str(number) for number in range(1, len(counts) + 1)]
    marker = {
        "color": [VERMILLION, *[BLUE] * (len(counts) - 1)],
        "pattern": {"shape": ["/", *[""] * (len(counts) - 1)]},
    }
    figure = go.Figure(
        go.Bar(x=names, y=counts, marker=marker, hovertemplate="%{y} boxes with %{x} classes<extra></extra>")
    )
    finish(figure, "Classes in a box", "classes in the box", "boxes", 300)
    return figure.update_layout(hovermode="closest").update_xaxes(type="category")


def _limited(figure: go.Figure, limit: float, first: float, last: float) -> go.Figure:
    """The figure with a dashed line at the limit from `first` to `last` on the x axis, named in the legend."""
    if not is_empty(figure):
        name = f"limit {limit:g}"
        figure.add_scatter(x=[first, last], y=[limit] * 2, mode="lines", line=LIMIT, name=name, hoverinfo="skip")
    return figure.update_layout(showlegend=True)
