"""Per-class IoU of two or more evaluations: the table, the bars, and the bars of the differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.style import BLUE, VERMILLION, empty, finish, plain, series_style

ABSENT = "–"


@dataclass(frozen=True)
class IouTable:
    """IoU by class and evaluation: `values` float64 [C, K] in 0..1, NaN where a class is absent.

    The first evaluation is the reference of the differences.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    values: np.ndarray

    @property
    def deltas(self) -> np.ndarray:
        """Differences to the first evaluation, float64 [C, K - 1]; NaN where either lacks the class."""
        return self.values[:, 1:] - self.values[:, :1]

    @property
    def means(self) -> np.ndarray:
        """Mean IoU of each evaluation over the classes it has, float64 [K]; NaN where it has none."""
        present = np.isfinite(self.values)
        total = np.where(present, self.values, 0).sum(axis=0)
        return np.divide(total, present.sum(axis=0), out=np.full(len(self.labels), np.nan), where=present.any(axis=0))


def iou_table(columns: Mapping[str, Mapping[str, float | None]]) -> IouTable:
    """Line up `per_class_iou` records, label by label, on the union of their classes, sorted by the last difference.

    The largest gain comes first, classes without a difference last; with one evaluation, the largest IoU comes first.
    """
    classes = list(dict.fromkeys(name for record in columns.values() for name in record))
    rows = [[_number(record.get(name)) for record in columns.values()] for name in classes]
    values = np.asarray(rows, dtype=np.float64).reshape(len(classes), len(columns))
    key = values[:, -1] - values[:, 0] if len(columns) > 1 else values.sum(axis=1)
    order = np.argsort(np.where(np.isfinite(key), -key, np.inf), kind="stable")
    return IouTable(tuple(classes[index] for index in order), tuple(columns), values[order])


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else np.nan


def per_class_bars(table: IouTable) -> go.Figure:
    """Horizontal bars of the IoU in percent, one group for each class, top to bottom as in the table."""
    figure = go.Figure()
    for index, label in enumerate(table.labels):
        percent, style = 100 * table.values[:, index], series_style(index)
        texts = [ABSENT if np.isnan(value) else f"{value:.1f}" for value in percent]
        marker = _marker(style.color, style.pattern)
        _add_bars(figure, table.classes, np.nan_to_num(percent), texts, marker, "%{text} %", plain(label))
    figure.update_xaxes(range=[0, 110], tickvals=[0, 20, 40, 60, 80, 100])
    return _finish_bars(figure, "IoU by class", "IoU (%)", len(table.classes) * len(table.labels))


def delta_bars(table: IouTable, column: int = -1, ends: Mapping[str, tuple[float, float]] | None = None) -> go.Figure:
    """Horizontal bars of one column of differences in percentage points: gains blue, losses red and hatched.

    `ends` are the ends of an interval (0..1) by class; classes that are not in it, or whose ends are NaN, have none.
    """
    figure = go.Figure()
    points = 100 * table.deltas[:, column]
    texts = [ABSENT if np.isnan(point) else f"{point:+.1f}" for point in points]
    marker = _marker(
        [VERMILLION if point < 0 else BLUE for point in points], ["/" if point < 0 else "" for point in points]
    )
    _add_bars(figure, table.classes, np.nan_to_num(points), texts, marker, "%{text} points", "difference")
    reach = 1.25 * max(np.nanmax(np.abs(points), initial=0), 1)
    if ends:
        limits = 100 * np.array([ends.get(name, (np.nan, np.nan)) for name in table.classes])
        _add_intervals(figure, points, limits)
        reach = max(reach, 1.1 * np.nanmax(np.abs(limits), initial=0))
    figure.update_xaxes(range=[-reach, reach], zeroline=True)
    figure.update_traces(showlegend=False)
    meaning = f"{plain(table.labels[1:][column])} minus {plain(table.labels[0])} (percentage points)"
    return _finish_bars(figure, "IoU difference", meaning, len(table.classes))


def _add_intervals(figure: go.Figure, points: np.ndarray, limits: np.ndarray) -> None:
    """Whiskers from the low to the high end of each bar; the numbers move inside, where no whisker crosses them."""
    spread = np.nan_to_num(np.abs(limits - points[:, None]))
    hover = ["" if np.isnan(ends).any() else f"<br>interval {ends[0]:+.1f} to {ends[1]:+.1f}" for ends in limits]
    figure.update_traces(
        error_x={
            "type": "data", "symmetric": False, "array": spread[:, 1], "arrayminus": spread[:, 0],
            "color": "#8a8a8a", "thickness": 1.5, "width": 4,
        },
        customdata=hover,
        hovertemplate="%{text} points%{customdata}",
        textposition="none",
    )  # fmt: skip


def _marker(color: str | list[str], pattern: str | list[str]) -> dict:
    return {
        "color": color,
        "pattern": {
            "shape": pattern,
            "fillmode": "overlay",
            "fgcolor": "white",
            "fgopacity": 0.6,
            "size": 5,
            "solidity": 0.3,
        },
    }


def _add_bars(
    figure: go.Figure,
    classes: Sequence[str],
    lengths: np.ndarray,
    texts: list[str],
    marker: dict,
    hover: str,
    name: str,
) -> None:
    """Add one set of bars; a class that is absent has a bar of length 0 and the sign for absent beside it."""
    figure.add_bar(
        y=[plain(label) for label in classes],
        x=lengths,
        orientation="h",
        name=name,
        marker=marker,
        text=texts,
        textposition="outside",
        cliponaxis=False,
        hovertemplate=hover,
    )


def _finish_bars(figure: go.Figure, title: str, x_title: str, bars: int) -> go.Figure:
    finish(figure, title, x_title, "", height=130 + 22 * max(bars, 4))
    figure.update_yaxes(autorange="reversed", title_text=None, type="category")
    figure.update_layout(hovermode="y unified", bargap=0.25)
    return figure if bars else empty(figure, "No class to show.")
