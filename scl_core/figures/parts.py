"""What a loss is made of: by pairs of classes, by draws of boxes, by weights over the schedule, by confidence."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scl_core.figures.style import BLUE, FEW, VERMILLION, finish, plain, series_style

SHARE_SCALE = "Cividis"


def class_pair_figure(matrix: np.ndarray, names: Sequence[str], height: int = 380) -> go.Figure:
    """Which share of the loss the pairs (class, class) carry: `matrix` [C, C] in parts of the loss, symmetric.

    Classes that carry nothing are left out; a cell holds its percentage where there is room for it.
    """
    present = np.flatnonzero(np.abs(matrix).sum(0) > 1e-4 * max(np.abs(matrix).sum(), 1e-30))
    shares = 100 * matrix[np.ix_(present, present)] / (matrix.sum() or 1.0)
    labels = [plain(names[index]) for index in present]
    figure = go.Figure(
        go.Heatmap(
            z=shares.astype(np.float32),
            x=labels,
            y=labels,
            text=[[f"{value:.0f}" if value >= 0.5 else "" for value in row] for row in shares],
            texttemplate="%{text}" if len(present) <= 14 else None,
            colorscale=SHARE_SCALE,
            zmin=0,
            colorbar={"title": {"text": "% of the loss"}, "thickness": 11, "outlinewidth": 0},
            hovertemplate="%{y} with %{x}<br>%{z:.2f} % of the loss<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(tickangle=-35, automargin=True, showgrid=False)
    return figure.update_layout(height=height, margin={"l": 4, "r": 4, "t": 8, "b": 4}, dragmode=False)


def draws_figure(covered: np.ndarray, visible: np.ndarray, pixels: int, asked: float, here: float) -> go.Figure:
    """What many draws of boxes became: the covered share, [draws], and the share of the picture each box shows.

    `visible` [draws, N] counts pixels of a picture of `pixels`; `asked` and `here` are the covered share that was asked
    for and that of the draw on the page.
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12, column_widths=[0.42, 0.58])
    figure.add_histogram(x=100 * covered, nbinsx=24, marker_color=BLUE, name="draws", row=1, col=1)
    for value, dash, word in ((asked, "dash", "asked"), (here, "solid", "here")):
        figure.add_vline(x=100 * value, line={"color": VERMILLION, "dash": dash, "width": 2}, row=1, col=1)
        figure.add_annotation(
            x=100 * value, y=1.02 if word == "here" else 1.1, yref="y domain", xref="x", text=word, showarrow=False,
            font={"color": VERMILLION}, yanchor="bottom",
        )  # fmt: skip
    levels = 100 * np.percentile(visible, [5, 25, 50, 75, 95], axis=0) / pixels if visible.size else np.zeros((5, 0))
    numbers = np.arange(visible.shape[1])
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    for low, high, opacity in ((0, 4, 0.18), (1, 3, 0.32)):
        figure.add_scatter(x=numbers, y=levels[low], **band, row=1, col=2)
        figure.add_scatter(
            x=numbers, y=levels[high], **band, fill="tonexty", fillcolor=f"rgba(0, 114, 178, {opacity})", row=1, col=2
        )
    figure.add_scatter(
        x=numbers,
        y=levels[2],
        mode="lines+markers",
        line={"color": BLUE},
        name="median",
        hovertemplate="box %{x}<br>median %{y:.2f} % of the picture<extra></extra>",
        row=1,
        col=2,
    )
    figure.update_xaxes(title_text="covered, % of the picture", row=1, col=1)
    figure.update_yaxes(title_text="draws", row=1, col=1)
    figure.update_xaxes(title_text="box, in paste order", dtick=1 if len(numbers) <= FEW else None, row=1, col=2)
    figure.update_yaxes(title_text="shown, % of the picture", rangemode="tozero", row=1, col=2)
    return figure.update_layout(
        height=300, margin={"l": 4, "r": 4, "t": 44, "b": 4}, showlegend=False, hovermode="closest", dragmode=False
    )


def weights_figure(weights: Mapping[str, Sequence[float]], steps: Sequence[int], step: int) -> go.Figure:
    """The weight of each term over the steps of the schedule, and where `step` is."""
    figure = go.Figure()
    for index, (name, values) in enumerate(weights.items()):
        style = series_style(index)
        figure.add_scatter(
            x=list(steps), y=list(values), name=plain(name), line={"color": style.color, "dash": style.dash}
        )
    figure.add_vline(x=step, line={"color": "gray", "width": 1.5, "dash": "dot"})
    figure.add_annotation(
        x=step, y=1, yref="paper", text=f"step {step}", showarrow=False, yanchor="bottom", font={"color": "gray"}
    )
    return finish(figure, "", "step", "weight", 280)


def confidence_figure(confidence: np.ndarray, threshold: float) -> go.Figure:
    """How sure the teacher is: a histogram of its highest probability over the valid pixels, and the threshold."""
    counts, edges = np.histogram(confidence, bins=100, range=(0, 1))
    middle = (edges[:-1] + edges[1:]) / 2
    share = 100 * counts / max(counts.sum(), 1)
    colors = [BLUE if place >= threshold else "rgba(127, 127, 127, 0.55)" for place in middle]
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=share,
            marker={"color": colors},
            hovertemplate="probability %{x:.2f}<br>%{y:.1f} % of the pixels<extra></extra>",
        )
    )
    side = "top left" if threshold > 0.5 else "top right"
    line = {"color": VERMILLION, "width": 2}
    figure.add_vline(x=threshold, line=line, annotation_text=f"≥ {threshold:g}", annotation_position=side)
    finish(figure, "", "highest probability of the teacher", "% of the pixels", 280)
    return figure.update_layout(bargap=0.05, hovermode="closest", margin={"t": 16})
