"""Cosine similarities inside one CutMix box as pictures: whole matrices, and one pixel's row laid over the box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scl_core.figures.style import plain

SIMILARITY_SCALE = "Cividis"
DIFFERENCE_SCALE = [[0.0, "#2166AC"], [0.25, "#92C5DE"], [0.5, "#F7F7F7"], [0.75, "#F4A582"], [1.0, "#B2182B"]]
"""Student below the teacher blue, equal white, above red."""

DIFFERENCE = "a<sup>s</sup> − a<sup>t</sup>"


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of a matrix that belong together, here the pixels of one class: [start, stop)."""

    name: str
    start: int
    stop: int


def matrix_figure(
    teacher: np.ndarray,
    student: np.ndarray,
    blocks: Sequence[Block] = (),
    chosen: tuple[int, int] | None = None,
    squared: bool = True,
    height: int = 400,
) -> go.Figure:
    """The similarity matrices of teacher and student, eq. 7 of Kim et al. 2020, and how far they are apart.

    `teacher`, `student` [P, P] with values in [-1, 1]. All three panels share one scale where the third is the squared
    difference; with `squared` False it is student minus teacher, on a scale of its own, symmetric about 0. `blocks` are
    named and separated; `chosen` marks the cell (row, column). A click on a cell selects a point at x = column,
    y = row: an invisible one, since clicks on a heatmap itself do not reach Python (streamlit issue 8760).
    """
    third = np.square(student - teacher) if squared else student - teacher
    title = "squared difference" if squared else "student − teacher"
    figure = _three_panels("teacher  a<sup>t</sup>", "student  a<sup>s</sup>", title)
    names = ("a<sup>t</sup>", "a<sup>s</sup>", "(a<sup>s</sup> − a<sup>t</sup>)²" if squared else DIFFERENCE)
    for column, values in enumerate((teacher, student, third), start=1):
        axis = "coloraxis" if squared or column < 3 else "coloraxis2"
        z = values.astype(np.float32)
        figure.add_heatmap(z=z, coloraxis=axis, hoverinfo="skip", row=1, col=column)
        _add_clickable(figure, z, names[column - 1], column)
    _mark_blocks(figure, blocks, len(teacher))
    _show_exactly(figure, 0, 0, *teacher.shape)
    if chosen is not None:
        for column in (1, 2, 3):
            _ring(figure, chosen, "", column)
    _finish(figure, float(min(teacher.min(), student.min())), float(np.abs(third).max()), height)
    if squared:
        figure.update_layout(coloraxis={"colorbar": {"lenmode": "pixels", "len": 220, "y": 1, "yanchor": "top"}})
    return figure


def _add_clickable(figure: go.Figure, values: np.ndarray, name: str, column: int) -> None:
    """An invisible point on each cell, which can be hovered and clicked."""
    rows, columns = np.indices(values.shape, dtype=np.int16)
    figure.add_scattergl(
        x=columns.ravel(),
        y=rows.ravel(),
        customdata=values.ravel(),
        mode="markers",
        marker={"color": "rgba(0, 0, 0, 0)", "size": 6},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        hovertemplate=f"pixel %{{y}} with pixel %{{x}}<br>{name} = %{{customdata:.4f}}<extra></extra>",
        showlegend=False,
        row=1,
        col=column,
    )


def row_figure(
    teacher: np.ndarray,
    student: np.ndarray,
    top: int = 0,
    left: int = 0,
    first: tuple[int, int] | None = None,
    second: tuple[int, int] | None = None,
    height: int = 320,
    stride: int = 1,
) -> go.Figure:
    """How alike one pixel is to every pixel of its box, in the teacher's and the student's eyes, and the difference.

    `teacher`, `student` [h, w], NaN where the box is covered; `top`, `left` the box's place in the picture; `first` the
    pixel itself and `second` another one, as (row, column) of the picture. `stride` is how many rows and columns of
    the picture lie between two values.
    """
    difference = student - teacher
    figure = _three_panels("teacher  a<sup>t</sup>", "student  a<sup>s</sup>", "student − teacher")
    for column, values in enumerate((teacher, student, difference), start=1):
        figure.add_heatmap(
            z=values.astype(np.float32),
            x0=left,
            y0=top,
            dx=stride,
            dy=stride,
            coloraxis="coloraxis" if column < 3 else "coloraxis2",
            hoverongaps=False,
            hovertemplate="row %{y}, column %{x}<br>%{z:.4f}<extra></extra>",
            row=1,
            col=column,
        )
        for place, label in ((second, "2"), (first, "1")):
            if place is not None:
                _ring(figure, place, label, column, below=place[0] - top < 0.2 * stride * len(teacher))
    _show_exactly(figure, top, left, stride * teacher.shape[0], stride * teacher.shape[1])
    _finish(figure, _smallest(teacher, student), _largest(difference), height)
    return figure.update_layout(plot_bgcolor="rgba(127, 127, 127, 0.25)")


def _three_panels(*titles: str) -> go.Figure:
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.035)
    figure.update_annotations(font_size=14, yshift=6)
    return figure


def _ring(figure: go.Figure, place: tuple[int, int], label: str, column: int, below: bool = False) -> None:
    """A ring of two colours and a number: visible on every ground; the number `below` it near the upper border."""
    for color, width in (("black", 4), ("white", 2)):
        figure.add_scatter(
            x=[place[1]],
            y=[place[0]],
            mode="markers+text" if color == "white" and label else "markers",
            marker={"size": 14, "color": "rgba(0, 0, 0, 0)", "line": {"color": color, "width": width}},
            text=f"<b>{label}</b>",
            textposition="bottom right" if below else "top right",
            textfont={"color": "white", "size": 13, "shadow": "0 0 3px black, 0 0 3px black, 0 0 3px black"},
            cliponaxis=False,
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=column,
        )


def _mark_blocks(figure: go.Figure, blocks: Sequence[Block], size: int) -> None:
    """Thin lines between the blocks, their names along the axes where there is room."""
    ticks = [
        ((block.start + block.stop - 1) / 2, plain(block.name))
        for block in blocks
        if block.stop - block.start > size / 18
    ]
    shapes = []  # set at once: adding them one by one takes plotly a tenth of a second
    for x, y in (("x", "y"), ("x2", "y2"), ("x3", "y3")):
        for place in (block.start - 0.5 for block in blocks[1:]):
            line = {"type": "line", "line": {"color": "rgba(128, 128, 128, 0.9)", "width": 1}}
            shapes.append(line | {"x0": 0, "x1": 1, "xref": f"{x} domain", "y0": place, "y1": place, "yref": y})
            shapes.append(line | {"x0": place, "x1": place, "xref": x, "y0": 0, "y1": 1, "yref": f"{y} domain"})
    figure.update_layout(shapes=shapes)
    places, names = [place for place, _ in ticks], [name for _, name in ticks]
    figure.update_xaxes(tickvals=places, ticktext=names, tickangle=-35)
    figure.update_yaxes(tickvals=places, ticktext=names)


def _finish(figure: go.Figure, smallest: float, largest_difference: float, height: int) -> go.Figure:
    """One scale for both networks, another for their difference, square pixels, first row on top."""
    low = -1.0 if smallest < -1e-6 else 0.0
    reach = max(largest_difference, 1e-6)
    bar = {"thickness": 11, "len": 0.46, "outlinewidth": 0, "x": 1.01, "xanchor": "left", "tickfont": {"size": 11}}
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 34, "b": 4, "pad": 0},
        coloraxis={"colorscale": SIMILARITY_SCALE, "cmin": low, "cmax": 1.0, "colorbar": bar | {"y": 0.77}},
        coloraxis2={
            "colorscale": DIFFERENCE_SCALE,
            "cmin": -reach,
            "cmax": reach,
            "colorbar": bar | {"y": 0.23, "tickformat": "+.2g", "nticks": 5},
        },
        plot_bgcolor="rgba(0, 0, 0, 0)",
        dragmode=False,
    )
    figure.update_xaxes(showgrid=False, zeroline=False, constrain="domain", automargin=True)
    figure.update_yaxes(showgrid=False, zeroline=False, constrain="domain", automargin=True)
    for column, axis in ((1, "x"), (2, "x2"), (3, "x3")):
        figure.update_yaxes(scaleanchor=axis, constraintoward="top", row=1, col=column)
    return figure


def _show_exactly(figure: go.Figure, top: int, left: int, height: int, width: int) -> None:
    """Axes that end where the values end, the first row on top; rows are named at the left panel alone."""
    low, right, bottom = left - 0.5, left + width - 0.5, top + height - 0.5
    figure.update_xaxes(range=[low, right], minallowed=low, maxallowed=right, autorange=False)
    figure.update_yaxes(range=[bottom, top - 0.5], minallowed=top - 0.5, maxallowed=bottom, autorange=False)
    for column in (2, 3):
        figure.update_yaxes(showticklabels=False, ticks="", row=1, col=column)


def _smallest(*arrays: np.ndarray) -> float:
    found = [float(np.nanmin(array)) for array in arrays if np.isfinite(array).any()]
    return min(found, default=0.0)


def _largest(difference: np.ndarray) -> float:
    return float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else 0.0
