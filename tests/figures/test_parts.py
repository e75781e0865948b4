"""Figures of what a loss is made of."""

import numpy as np
import pytest

from scl_core.figures.parts import class_pair_figure, confidence_figure, draws_figure, weights_figure


def test_class_pairs_leave_out_what_carries_nothing_and_add_up_to_all():
    matrix = np.diag([2.0, 0.0, 1.0, 0.0])
    matrix[0, 2] = matrix[2, 0] = 0.5
    trace = class_pair_figure(matrix, ["Road <b>", "Sky", "Pole", "Tree"]).data[0]
    assert list(trace.x) == ["Road &lt;b&gt;", "Pole"]
    assert trace.z.sum() == pytest.approx(100) and trace.z[0, 0] == pytest.approx(50)


def test_draws_show_what_was_asked_for_and_the_median_of_each_box():
    visible = np.arange(30).reshape(10, 3)
    figure = draws_figure(np.linspace(0.3, 0.6, 10), visible, 100, asked=0.5, here=0.41)
    assert sorted(shape.x0 for shape in figure.layout.shapes) == [pytest.approx(41), pytest.approx(50)]
    median = next(trace for trace in figure.data if trace.name == "median")
    assert list(median.y) == list(np.median(visible, axis=0))


def test_no_boxes_have_no_distribution():
    assert draws_figure(np.zeros(3), np.zeros((3, 0), dtype=int), 100, 0.0, 0.0).data


def test_weights_are_told_apart_without_colour():
    figure = weights_figure({"supervised": [1, 1], "structured": [0, 2]}, [1, 2], step=2)
    assert len({(trace.line.dash, trace.line.color) for trace in figure.data}) == 2
    assert figure.layout.shapes[0].x0 == 2


def test_the_confidence_adds_up_to_all_pixels():
    trace = confidence_figure(np.linspace(0, 1, 500), 0.7).data[0]
    assert sum(trace.y) == pytest.approx(100)
    assert len({color for place, color in zip(trace.x, trace.marker.color, strict=True) if place > 0.7}) == 1
