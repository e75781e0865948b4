"""Curves over training steps: loss terms, learning rate and mIoU, of one run or of several."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.style import empty, finish, plain, series_style

Record = Mapping[str, object]
MAX_POINTS = 2000
NOT_MEASURED = "No gradients were measured: train with --train.gradient_terms_every 100."
TARGETS = {"targets/classes": "targets of unlabeled pictures", "labels/classes": "labels"}
NOT_LOSSES = ("step", "epoch", "learning_rate", "seconds", "data_seconds")


def series(records: Sequence[Record], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [N] int64 (rising) and values [N] float64 of one key; NaN where a record has null or no number.

    A step that was recorded twice (a resumed run repeats some) counts with its last record.
    """
    last = {record["step"]: record.get(key) for record in records if isinstance(record.get("step"), int)}
    steps = sorted(last)
    values = [float(last[step]) if isinstance(last[step], (int, float)) else np.nan for step in steps]
    return np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64)


def loss_terms(records: Sequence[Record]) -> list[str]:
    """Names of the loss terms in the records: the total, `loss`, first, then the terms in the order they appear."""
    names = dict.fromkeys(key for row in records for key in row if key not in NOT_LOSSES and "/" not in key)
    terms = [name for name in names if any(isinstance(record.get(name), (int, float)) for record in records)]
    return sorted(terms, key=lambda name: name != "loss")


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential moving average of values [N], corrected for its start; 0 <= weight < 1, 0 leaves them unchanged.

    The correction (division by 1 - weight^n) keeps the first points from being drawn to zero. A NaN stays a NaN in its
    place and does not touch its neighbours. Raises ValueError for a weight outside [0, 1).
    """
    if not 0 <= weight < 1:
        raise ValueError(f"smoothing must be at least 0 and below 1, not {weight}")
    smoothed, average, total = np.full(len(values), np.nan), 0.0, 0.0
    for index, value in enumerate(values):
        if np.isfinite(value):
            average = weight * average + (1 - weight) * value
            total = weight * total + (1 - weight)
            smoothed[index] = average / total
    return smoothed


def downsample(steps: np.ndarray, values: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` of the points [N]: each stretch keeps its lowest and its highest, so no spike is lost."""
    if len(steps) <= limit:
        return steps, values
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(steps)), limit // 2):
        finite = stretch[np.isfinite(values[stretch])]
        picked = {finite[values[finite].argmin()], finite[values[finite].argmax()]} if len(finite) else {stretch[0]}
        kept.extend(sorted(int(index) for index in picked))
    return steps[kept], values[kept]


def add_line(
    figure: go.Figure, label: str, index: int, steps: np.ndarray, values: np.ndarray, smoothing: float
) -> None:
    """Add one curve; a smoothed one keeps its raw line, thin and pale, behind it."""
    style, name = series_style(index), plain(label)
    line = {"color": style.color, "dash": style.dash, "width": 2}
    if smoothing > 0:
        x, y = downsample(steps, values)
        raw = {"color": style.color, "width": 1}
        figure.add_scatter(
            x=x, y=y, mode="lines", line=raw, opacity=0.3, legendgroup=name, showlegend=False, hoverinfo="skip"
        )
    x, y = downsample(steps, smooth(values, smoothing))
    mode = "lines+markers" if np.isfinite(y).sum() < 2 else "lines"
    figure.add_scatter(x=x, y=y, mode=mode, name=name, line=line, legendgroup=name, hovertemplate="%{y:.4g}")


def loss_curves(
    records: Sequence[Record], terms: Sequence[str] | None = None, smoothing: float = 0.0, log_scale: bool = False
) -> go.Figure:
    """Loss terms of one run over its steps; `loss` is the weighted total, the terms are drawn before weighing.

    `terms` defaults to all in the records; `smoothing` is the weight of `smooth` and keeps the raw line visible.
    """
    figure = go.Figure()
    for index, term in enumerate(loss_terms(records) if terms is None else terms):
        label = "loss (weighted total)" if term == "loss" else term
        add_line(figure, label, index, *series(records, term), smoothing)
    if not records:
        empty(figure, "No step has been recorded yet.")
    figure.update_yaxes(type="log" if log_scale else "linear")
    return finish(figure, "Loss terms", "step", "loss (unitless)")


def learning_rate_curve(records: Sequence[Record]) -> go.Figure:
    """Learning rate of one run over its steps."""
    figure = go.Figure()
    add_line(figure, "learning rate", 0, *series(records, "learning_rate"), 0.0)
    figure.update_yaxes(rangemode="tozero", exponentformat="power")
    figure.update_traces(showlegend=False)
    if not records:
        empty(figure, "No step has been recorded yet.")
    return finish(figure, "Learning rate", "step", "learning rate")


def gradient_curves(records: Sequence[Record]) -> go.Figure:
    """Norm of each weighted term's gradient over the steps at which it was measured, on a log axis."""
    figure = go.Figure()
    _add_measured(figure, records, "gradient/")
    figure.update_yaxes(type="log")
    if not figure.data:
        empty(figure, NOT_MEASURED)
    return finish(figure, "Pull of each term", "step", "norm of the weighted gradient")


def cosine_curves(records: Sequence[Record]) -> go.Figure:
    """Cosine of each unlabeled term's gradient with the supervised one's: 1 along it, 0 across, -1 against it."""
    figure = go.Figure()
    _add_measured(figure, records, "cosine/", first_style=1)
    figure.update_yaxes(range=[-1.05, 1.05], zeroline=True)
    if not figure.data:
        empty(figure, NOT_MEASURED)
    return finish(figure, "Direction against the supervised term", "step", "cosine")


def target_curves(records: Sequence[Record]) -> go.Figure:
    """How varied the targets of unlabeled pictures are, beside the labels: effective numbers of classes."""
    figure = go.Figure()
    for index, (key, label) in enumerate(TARGETS.items()):
        add_line(figure, label, index, *_measured(records, key), 0.0)
    figure.update_yaxes(rangemode="tozero")
    if not any(len(line.x) for line in figure.data):
        empty(figure, "No targets have been counted yet.")
    return finish(figure, "Variety of the targets", "step", "effective number of classes")


def _add_measured(figure: go.Figure, records: Sequence[Record], prefix: str, first_style: int = 0) -> None:
    """One curve for each column that begins with `prefix` and has a value."""
    names = dict.fromkeys(key for record in records for key in record if key.startswith(prefix))
    for index, name in enumerate(names):
        steps, values = _measured(records, name)
        if len(steps):
            add_line(figure, name.removeprefix(prefix), index + first_style, steps, values, 0.0)


def _measured(records: Sequence[Record], key: str) -> tuple[np.ndarray, np.ndarray]:
    """`series` without the steps at which nothing was measured, so that a line goes from one value to the next."""
    steps, values = series(records, key)
    measured = np.isfinite(values)
    return steps[measured], values[measured]


def mean_iou_curves(groups: Mapping[str, Sequence[Record]]) -> go.Figure:
    """mIoU in percent over steps, one line for each label (a network, or a run); takes records of evaluations."""
    figure = go.Figure()
    for index, (label, records) in enumerate(groups.items()):
        style = series_style(index)
        steps, values = series(records, "mean_iou")
        marker = {"symbol": style.marker, "size": 8, "color": style.color}
        line = {"color": style.color, "dash": style.dash, "width": 2}
        name = plain(label)
        figure.add_scatter(x=steps, y=100 * values, mode="lines+markers", name=name, line=line, marker=marker)
    figure.update_traces(hovertemplate="%{y:.1f} %")
    if not any(groups.values()):
        empty(figure, "No evaluation yet.")
    return finish(figure, "mIoU", "step", "mIoU (%)")


def by_network(evaluations: Sequence[Record], split: str) -> dict[str, list[Record]]:
    """The evaluations on one split under the run's own protocol, by network, in the order of their first appearance."""
    groups: dict[str, list[Record]] = {}
    for record in evaluations:
        if record.get("split") == split and not record.get("variant"):
            groups.setdefault(str(record.get("network")), []).append(record)
    return groups
