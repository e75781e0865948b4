"""Cosine similarities inside one CutMix box, ready to be drawn: whole matrices, and one pixel's row laid over the box.

A figure here is plain numbers: three panels on one scale or two, with their marks. `pages/shared/similarity_panels.js`
draws them on a canvas, for a chart of so many cells takes a browser ten times as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from plotly.colors import sample_colorscale

SIMILARITY_SCALE = "Cividis"
DIFFERENCE_SCALE = [[0.0, "#2166AC"], [0.25, "#92C5DE"], [0.5, "#F7F7F7"], [0.75, "#F4A582"], [1.0, "#B2182B"]]
"""Student below the teacher blue, equal white, above red."""

TEACHER, STUDENT, DIFFERENCE, SQUARED = "aᵗ", "aˢ", "aˢ − aᵗ", "(aˢ − aᵗ)²"
Place = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of a matrix that belong together, here the pixels of one class: [start, stop)."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Panel:
    """Values float32 [h, w], NaN where there is none, with a title and the symbol of a value."""

    title: str
    symbol: str
    values: np.ndarray
    is_difference: bool = False


@dataclass(frozen=True)
class Mark:
    """A ring on one cell, at its row and column of the picture (or matrix), with a word beside it."""

    row: int
    column: int
    label: str = ""


@dataclass(frozen=True)
class Figure:
    """Three panels of one shape: teacher, student, and how far they are apart.

    The value at (r, c) stands at row `top + stride * r`, column `left + stride * c`. Similarities lie from `low` to 1,
    differences from -`reach` to `reach`, each on its own scale. `blocks` are named and separated in rows and columns.
    """

    panels: tuple[Panel, ...]
    low: float
    reach: float
    top: int = 0
    left: int = 0
    stride: int = 1
    marks: tuple[Mark, ...] = ()
    blocks: tuple[Block, ...] = ()
    of_matrix: bool = False


def matrix_figure(
    teacher: np.ndarray,
    student: np.ndarray,
    blocks: Sequence[Block] = (),
    chosen: Place | None = None,
    squared: bool = True,
) -> Figure:
    """The similarity matrices of teacher and student, eq. 7 of Kim et al. 2020, and how far they are apart.

    `teacher`, `student` [P, P] with values in [-1, 1]. All three panels share one scale where the third is the squared
    difference; with `squared` False it is student minus teacher, on a scale of its own, symmetric about 0. `chosen`
    marks the cell (row, column).
    """
    apart = np.square(student - teacher) if squared else student - teacher
    third = Panel("squared difference" if squared else "student − teacher", SQUARED if squared else DIFFERENCE,
                  apart.astype(np.float32), not squared)  # fmt: skip
    marks = (Mark(*chosen),) if chosen else ()
    return _figure(teacher, student, third, blocks=tuple(blocks), marks=marks, of_matrix=True)


def row_figure(
    teacher: np.ndarray,
    student: np.ndarray,
    top: int = 0,
    left: int = 0,
    first: Place | None = None,
    second: Place | None = None,
    stride: int = 1,
) -> Figure:
    """How alike one pixel is to every pixel of its box, in the teacher's and the student's eyes, and the difference.

    `teacher`, `student` [h, w], NaN where the box is covered; `top`, `left` the box's place in the picture; `first` the
    pixel itself and `second` another one, as (row, column) of the picture. `stride` is how many rows and columns of
    the picture lie between two values.
    """
    third = Panel("student − teacher", DIFFERENCE, (student - teacher).astype(np.float32), True)
    marks = tuple(Mark(*place, label) for place, label in ((second, "2"), (first, "1")) if place)
    return _figure(teacher, student, third, top=top, left=left, stride=stride, marks=marks)


@lru_cache(maxsize=2)
def scale_colors(of_difference: bool) -> bytes:
    """The 256 colours of a scale from its low end to its high one, red, green and blue, a byte each."""
    scale = DIFFERENCE_SCALE if of_difference else SIMILARITY_SCALE
    colors = sample_colorscale(scale, list(np.linspace(0, 1, 256)), colortype="tuple")
    return (255 * np.array(colors)).round().astype(np.uint8).tobytes()


def _figure(teacher: np.ndarray, student: np.ndarray, third: Panel, **where) -> Figure:
    sides = (("teacher  aᵗ", TEACHER, teacher), ("student  aˢ", STUDENT, student))
    panels = tuple(Panel(title, symbol, values.astype(np.float32)) for title, symbol, values in sides)
    low = -1.0 if min(_finite(panel.values).min(initial=0.0) for panel in panels) < -1e-6 else 0.0
    reach = max(float(np.abs(_finite(third.values)).max(initial=0.0)), 1e-6)
    return Figure((*panels, third), low, reach, **where)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
