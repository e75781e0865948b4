"""Forest plot: differences of paired runs with their intervals, one row for each contrast."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from scl_core.figures.style import finish, plain, series_style


@dataclass(frozen=True)
class ForestRow:
    """One contrast: its name, mean, 95 % interval (None = no interval) and the pairs behind it, all in points."""

    name: str
    mean: float
    interval: tuple[float, float] | None
    pairs: Sequence[float]


def forest(rows: Sequence[ForestRow], title: str, primary: int = 0) -> go.Figure:
    """Means with intervals from the top down, every pair as a small mark below; the first `primary` rows stand out."""
    figure = go.Figure()
    places = list(range(len(rows), 0, -1))
    pairs = [(value, place - 0.22) for row, place in zip(rows, places, strict=True) for value in row.pairs]
    figure.add_scatter(
        x=[value for value, _ in pairs],
        y=[height for _, height in pairs],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 9, "color": "gray"},
        name="one pair",
        hovertemplate="%{x:+.2f} points<extra>one pair</extra>",
    )
    groups = (("primary contrast", range(primary)), ("secondary contrast", range(primary, len(rows))))
    for index, (name, chosen) in enumerate(groups):
        if chosen:
            figure.add_trace(_means([rows[k] for k in chosen], [places[k] for k in chosen], name, index))
    figure.add_vline(x=0, line={"color": "gray", "width": 1})
    names = [plain(row.name) for row in rows]
    finish(figure, title, "difference in mIoU (points)", "", height=110 + 44 * len(rows))
    figure.update_yaxes(tickvals=places, ticktext=names, range=[0.4, len(rows) + 0.6], zeroline=False)
    return figure.update_layout(hovermode="closest")


def _means(rows: Sequence[ForestRow], places: Sequence[int], name: str, index: int) -> go.Scatter:
    style = series_style(index)
    bounds = [row.interval or (row.mean, row.mean) for row in rows]
    return go.Scatter(
        x=[row.mean for row in rows],
        y=list(places),
        mode="markers",
        name=name,
        marker={"symbol": style.marker, "size": 10, "color": style.color},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - row.mean for row, (_, high) in zip(rows, bounds, strict=True)],
            "arrayminus": [row.mean - low for row, (low, _) in zip(rows, bounds, strict=True)],
            "color": style.color,
        },
        hovertemplate="%{x:+.2f} points<extra></extra>",
    )
