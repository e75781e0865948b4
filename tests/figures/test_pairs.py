"""Figures of drawn pairs and of checkpoints that play."""

import numpy as np
import pytest

from scl_core.figures.pairs import MOST_LINES, cosine_figure, pairs_figure, spread_figure
from scl_core.figures.playing import checkpoints_figure


def test_each_pair_is_a_line_of_its_own_at_its_place():
    kept = np.array([[[10, 20], [12, 25]], [[11, 21], [13, 22]]])
    figure = pairs_figure(np.zeros((8, 9, 3), dtype=np.uint8), kept, kept[:0], top=10, left=20)
    line = next(trace for trace in figure.data if trace.name == "kept")
    assert [str(x) for x in line.x] == ["20.0", "25.0", "nan", "21.0", "22.0", "nan"]
    assert [str(y) for y in line.y] == ["10.0", "12.0", "nan", "11.0", "13.0", "nan"]


def test_of_many_pairs_some_are_drawn():
    many = np.zeros((5 * MOST_LINES, 2, 2), dtype=int)
    figure = pairs_figure(np.zeros((8, 9, 3), dtype=np.uint8), many, many)
    assert {len(trace.x) for trace in figure.data if trace.type == "scatter"} == {3 * MOST_LINES}


def test_the_exact_loss_stands_in_the_spread():
    figure = spread_figure(np.array([0.1, 0.2, 0.3]), 0.21, 500)
    assert figure.layout.shapes[0].x0 == 0.21 and "500 pairs" in figure.layout.xaxis.title.text


@pytest.mark.parametrize("parameters", [[0.7, 0.9], []])
def test_cosines_are_drawn_where_they_were_measured(parameters):
    figure = cosine_figure([30, 9000], [0.1, 0.6], parameters, 500)
    names = [trace.name for trace in figure.data]
    assert names == (["over the parameters"] if parameters else []) + ["over the pixels"]
    assert figure.layout.xaxis.type == "log"


def test_each_checkpoint_is_a_frame_of_three_pictures():
    maps = [np.zeros((4, 6), dtype=np.uint8), np.ones((4, 6), dtype=np.uint8)]
    palette = np.array([[0, 0, 0], [200, 100, 50]], dtype=np.uint8)
    figure = checkpoints_figure([10, 20], maps, maps[::-1], palette)
    assert [frame.name for frame in figure.frames] == ["10", "20"]
    assert all(len(frame.data) == 3 for frame in figure.frames)
    assert figure.frames[0].data[0].source == figure.frames[1].data[1].source
    assert [step.label for step in figure.layout.sliders[0].steps] == ["10", "20"]


def test_no_checkpoint_is_refused():
    with pytest.raises(ValueError, match="no step"):
        checkpoints_figure([], [], [], np.zeros((1, 3), dtype=np.uint8))
