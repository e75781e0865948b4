"""The look that all figures share: colours that colour-blind readers can tell apart, and a second sign beside each."""

import textwrap
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

BLUE, ORANGE, GREEN, PINK, SKY, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
"""Colours of Okabe and Ito (2008) that are visible on light and on dark ground (black and yellow are not)."""

COLORS = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
PATTERNS = ("", "/", ".", "x", "\\", "-")
EMPTY = "empty"
EMPTY_LINE = 36
"""Characters in a line of a sentence that stands in for a figure: as many as half a page has room for."""
FEW = 8
"""On an axis of fewer whole numbers (steps, boxes) plotly's own ticks would stand at fractions."""


@dataclass(frozen=True)
class SeriesStyle:
    """How one series is drawn: never by its colour alone."""

    color: str
    dash: str
    marker: str
    pattern: str


def series_style(index: int) -> SeriesStyle:
    """Style of the series with this index; colours repeat after six, and then meet another dash and marker.

    >>> series_style(0).color != series_style(1).color
    True
    """
    turn = index // len(COLORS)
    second = (index + turn) % len(DASHES)
    return SeriesStyle(COLORS[index % len(COLORS)], DASHES[second], MARKERS[second], PATTERNS[second])


def plain(text: str) -> str:
    """A name as plotly shows it letter for letter: plotly reads a few HTML tags in labels, so they are escaped."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def finish(figure: go.Figure, title: str, x_title: str, y_title: str, height: int = 340) -> go.Figure:
    """Give a figure its title, axis titles (with units) and the spacing all figures share; returns the same figure.

    The legend stands at the lower edge, below the axis title, whatever height the figure is given later. A figure
    without data (`empty`) shows its sentence alone.
    """
    figure.update_layout(
        title={
            "text": title,
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 10},
            "font": {"size": 15},
        },
        height=height,
        margin={"l": 8, "r": 8, "t": 44, "b": 8},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "title": None,
        },
        hovermode="x unified",
    )
    if is_empty(figure):
        return figure
    figure.update_xaxes(title_text=x_title, automargin=True)
    if x_title == "step" and _span(figure) < FEW:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title_text=y_title, automargin=True)
    return figure


def _span(figure: go.Figure) -> float:
    """From the lowest to the highest finite x of all traces; 0 without any."""
    drawn = [trace.x for trace in figure.data if trace.x is not None]
    places = np.concatenate([np.asarray(x, dtype=np.float64) for x in ([], *drawn)])
    places = places[np.isfinite(places)]
    return float(np.ptp(places)) if len(places) else 0.0


def empty(figure: go.Figure, sentence: str) -> go.Figure:
    """Write a sentence into the middle of a figure that has nothing to show yet; returns it, its axes hidden."""
    lines = "<br>".join(textwrap.wrap(sentence, EMPTY_LINE, break_long_words=False, break_on_hyphens=False))
    figure.add_annotation(text=lines, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, opacity=0.7)
    figure.update_layout(meta=EMPTY)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def is_empty(figure: go.Figure) -> bool:
    """Whether `empty` was called for the figure."""
    return figure.layout.meta == EMPTY
