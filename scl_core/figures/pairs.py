"""Drawn pairs as pictures: which are kept, how far their loss strays, and where their gradient points."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from scl_core.figures.pictures import picture_figure
from scl_core.figures.style import BLUE, ORANGE, VERMILLION, finish

MOST_LINES = 120


def pairs_figure(image: np.ndarray, kept: np.ndarray, dropped: np.ndarray, top: int = 0, left: int = 0) -> go.Figure:
    """Pairs of pixels as lines over a uint8 picture [h, w, 3] whose first pixel is at (`top`, `left`).

    `kept` and `dropped` [n, 2, 2]: rows and columns of both pixels. Kept ones are solid with dots at their ends,
    dropped ones thin and dotted; at most `MOST_LINES` of each are drawn.
    """
    zoom = max(1, 480 // max(image.shape[:2]))
    figure = picture_figure(np.kron(image, np.ones((zoom, zoom, 1), dtype=np.uint8)), top, left, zoom)
    _add_lines(figure, dropped, "dropped", "lines", {"color": "#C9D1DA", "width": 1, "dash": "dot"})
    _add_lines(figure, kept, "kept", "lines+markers", {"color": ORANGE, "width": 1.2})
    return figure.update_layout(
        showlegend=True,
        legend={
            "orientation": "h",
            "y": -0.02,
            "yanchor": "top",
            "bgcolor": "rgba(60, 70, 80, 0.85)",
            "font": {"color": "white"},
        },
    )


def spread_figure(values: np.ndarray, exact: float, max_pairs: int) -> go.Figure:
    """The loss of each of many draws, and the exact one."""
    figure = go.Figure(go.Histogram(x=values, nbinsx=30, marker_color=BLUE, name="draws"))
    figure.add_vline(x=exact, line={"color": VERMILLION, "width": 2.5})
    figure.add_annotation(
        x=exact, y=1, yref="paper", text="every pair", showarrow=False, yanchor="bottom", font={"color": VERMILLION}
    )
    finish(figure, "", f"structured loss from {max_pairs:,} pairs a box", f"of {len(values)} draws", 300)
    return figure.update_layout(hovermode="closest", bargap=0.04, showlegend=False, margin={"t": 26})


def cosine_figure(
    max_pairs: Sequence[int], pixels: Sequence[float], parameters: Sequence[float], here: int
) -> go.Figure:
    """Cosine of the gradient from drawn pairs with the exact one, against how many are drawn.

    `pixels` over the predictions, `parameters` over the network's weights (empty where it was not measured).
    """
    figure = go.Figure()
    lines = (
        ("over the parameters", parameters, BLUE, "circle", "solid"),
        ("over the pixels", pixels, VERMILLION, "square", "dash"),
    )
    for name, values, color, marker, dash in lines:
        if len(values):
            figure.add_scatter(
                x=list(max_pairs),
                y=list(values),
                name=name,
                mode="lines+markers",
                line={"color": color, "dash": dash},
                marker={"symbol": marker, "size": 8},
                hovertemplate="%{x:,} pairs: %{y:.3f}",
            )
    figure.add_vline(x=here, line={"color": "gray", "dash": "dot"})
    finish(figure, "", "pairs drawn in each box, N_pair", "cosine with the exact gradient", 300)
    figure.update_xaxes(type="log", tickvals=list(max_pairs), ticktext=[f"{value:,}" for value in max_pairs])
    return figure.update_yaxes(range=[min(0, *pixels, *parameters), 1.03]).update_layout(margin={"t": 26})


def _add_lines(figure: go.Figure, pairs: np.ndarray, name: str, mode: str, line: dict) -> None:
    """All pairs as one broken line."""
    drawn = pairs[:MOST_LINES]
    gaps = np.full((len(drawn), 1), np.nan)
    rows, columns = (np.hstack([drawn[:, :, axis].astype(float), gaps]).ravel() for axis in (0, 1))
    figure.add_scatter(
        x=columns, y=rows, mode=mode, line=line, marker={"size": 4, "color": line["color"]}, name=name, hoverinfo="skip"
    )
