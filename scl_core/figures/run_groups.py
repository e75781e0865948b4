"""One recorded quantity of several runs in one figure: each run for itself, or groups of runs as mean and spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.curves import Record, add_line, downsample, series, smooth
from scl_core.figures.style import empty, finish, plain, series_style

AXES = {"step": "step", "epoch": "epoch (draws of each labeled picture)", "time": "training time (minutes)"}


@dataclass(frozen=True)
class Curve:
    """One quantity of one run: where it stands on the axis, and its values, both [N] float64."""

    x: np.ndarray
    y: np.ndarray


def curve(
    records: Sequence[Record],
    key: str,
    axis: str = "step",
    steps_per_epoch: float | None = None,
    seconds: Sequence[Record] | None = None,
) -> Curve:
    """One key of a run's records over steps, epochs, or the time that its steps took.

    `seconds` are the metrics that tell the time of each step, where `records` are evaluations; evaluations themselves
    take no time on this axis. Raises ValueError for an axis that is not in `AXES`; epochs of unknown length are NaN.
    """
    if axis not in AXES:
        raise ValueError(f"axis {axis!r} is not one of {', '.join(AXES)}")
    steps, values = series(records, key)
    if axis == "step":
        return Curve(steps.astype(np.float64), values)
    if axis == "epoch":
        return Curve(steps / (steps_per_epoch or np.nan), values)
    timed, taken = series(records if seconds is None else seconds, "seconds")
    minutes = np.concatenate([[0.0], np.cumsum(np.nan_to_num(taken)) / 60])
    return Curve(minutes[np.searchsorted(timed, steps, side="right")], values)


def overlay(
    curves: Mapping[str, Curve], key: str, axis: str = "step", smoothing: float = 0.0, unit: str = "unitless"
) -> go.Figure:
    """One curve for each label; a smoothed one keeps its raw line, thin and pale, to its very end."""
    figure = go.Figure()
    for index, (label, one) in enumerate(curves.items()):
        add_line(figure, label, index, one.x, one.y, smoothing)
    return finished(figure, key, axis, unit)


def spread(
    groups: Mapping[str, Sequence[Curve]], key: str, axis: str = "step", smoothing: float = 0.0, unit: str = "unitless"
) -> go.Figure:
    """Mean of each group over what all its runs have, with one standard deviation (n - 1) around it; n stands beside.

    A group of one run is that run. Each run is smoothed before the mean is taken.
    """
    figure = go.Figure()
    for index, (label, curves) in enumerate(groups.items()):
        x, values = common(curves)
        values = np.stack([smooth(row, smoothing) for row in values]) if len(values) else values
        add_group(figure, f"{label} (n = {len(curves)})", index, x, values)
    return finished(figure, key, axis, unit)


def common(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Where all curves have a point, [M], and their values there, [n, M]; none for curves that share nothing.

    On an axis where runs never meet exactly, such as time, the curves are read between their points, from where the
    last begins to where the first ends.
    """
    curves = [Curve(one.x[keep], one.y[keep]) for one in curves for keep in [np.isfinite(one.x) & np.isfinite(one.y)]]
    if not curves or not all(len(one.x) for one in curves):
        return np.empty(0), np.empty((len(curves), 0))
    first, last = max(one.x[0] for one in curves), min(one.x[-1] for one in curves)
    x = np.unique(np.concatenate([one.x for one in curves]))
    x = x[(x >= first) & (x <= last)]
    return x, np.stack([np.interp(x, one.x, one.y) for one in curves])


def add_group(figure: go.Figure, label: str, index: int, x: np.ndarray, values: np.ndarray) -> None:
    """The mean of [n, M] values as a line, one standard deviation as a band."""
    if not len(x):
        return
    mean = values.mean(0)
    if len(values) > 1:
        wide = values.std(0, ddof=1)
        fill = {"fill": "toself", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        low_x, low = downsample(x, mean - wide)
        high_x, high = downsample(x, mean + wide)
        band = (np.concatenate([low_x, high_x[::-1]]), np.concatenate([low, high[::-1]]))
        color = series_style(index).color
        figure.add_scatter(x=band[0], y=band[1], fillcolor=color, opacity=0.2, legendgroup=plain(label), **fill)
    add_line(figure, label, index, x, mean, 0.0)


def finished(figure: go.Figure, key: str, axis: str, unit: str) -> go.Figure:
    """Titles, and a sentence where there is nothing to draw."""
    drawn = [trace for trace in figure.data if np.isfinite(np.asarray(trace.y, dtype=np.float64)).any()]
    if not drawn:
        empty(figure, f"None of these runs has recorded {plain(key)} on this axis.")
    return finish(figure, plain(key), AXES[axis], f"{plain(key)} ({unit})", height=460)


def scale_axes(figure: go.Figure, log_x: bool, log_y: bool) -> go.Figure:
    """Make axes logarithmic; returns the same figure."""
    figure.update_xaxes(type="log" if log_x else "linear")
    figure.update_yaxes(type="log" if log_y else "linear")
    return figure
