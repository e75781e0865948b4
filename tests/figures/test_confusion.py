"""The confusion figure: every cell can be picked, numbers are those of the matrix."""

import numpy as np
import pytest

from scl_core.figures.confusion import KINDS, confusion_figure

CLASSES = ("road", "<b>car</b>", "tree")


@pytest.mark.parametrize("kind", KINDS)
def test_each_cell_has_a_point_that_says_row_and_column(kind):
    values = np.array([[5, 1, 0, 2], [0, 0, 0, 0], [1, 2, 9, 0]]) / (1 if kind == "count" else 10)
    figure = confusion_figure(values, CLASSES, kind, "A")
    heat, points = figure.data
    assert heat.z.shape == (3, 4) and heat.hoverinfo == "skip"
    assert [list(item) for item in points.customdata] == [[row, column] for row in range(3) for column in range(4)]
    assert list(heat.x)[-1] == "void" and "&lt;b&gt;" in heat.y[1]
    assert figure.layout.clickmode == "event+select"


def test_numbers_stand_in_the_cells_and_absent_classes_have_a_dash():
    figure = confusion_figure(np.array([[0.75, 0.25], [np.nan, np.nan]]), ("a", "b"), "row", "A")
    assert [list(row) for row in figure.data[0].text] == [["75.0", "25.0"], ["–", "–"]]
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0, 100)


def test_white_is_no_difference():
    figure = confusion_figure(np.array([[0.1, -0.2], [0.0, 0.0]]), ("a", "b"), "difference", "B − A")
    assert figure.data[0].zmin == -figure.data[0].zmax == pytest.approx(-20)
    assert figure.data[0].text[0][1] == "-20.0"


def test_many_classes_carry_no_numbers():
    assert confusion_figure(np.ones((19, 19)), [f"c{n}" for n in range(19)], "count", "A").data[0].text is None
