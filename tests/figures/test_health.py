"""The figures of a run's health: the limit is in sight and named, and a figure without data says so alone."""

import numpy as np
import pytest

from scl_core.figures.health import layers_figure, pull_figure
from scl_core.figures.playing import checkpoints_figure
from scl_core.figures.style import is_empty


def limit_of(figure):
    (found,) = [trace for trace in figure.data if str(trace.name).startswith("limit")]
    return found


def test_the_limit_spans_what_is_drawn_and_is_named():
    pulls = pull_figure(np.array([10, 20, 60]), np.array([1.0, 8.0, 0.5]), 3.0)
    assert limit_of(pulls).name == "limit 3" and list(limit_of(pulls).x) == [10, 60] and pulls.layout.showlegend
    layers = limit_of(layers_figure(np.array([0.3, 0.1]), 0.2))
    assert list(layers.x) == [0.5, 2.5] and list(layers.y) == [0.2, 0.2]


def test_without_data_there_is_no_limit():
    for figure in (pull_figure(np.array([]), np.array([]), 3.0), layers_figure(np.array([]), 0.2)):
        assert is_empty(figure) and not [trace for trace in figure.data if str(trace.name).startswith("limit")]


def test_the_player_is_as_high_as_its_pictures_need():
    heights = [player(shape).layout.height for shape in ((32, 64), (48, 64), (64, 64))]
    assert heights == sorted(heights) and len(set(heights)) == 3
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], abs=1)


def player(shape):
    maps = [np.zeros(shape, dtype=np.int64)] * 2
    return checkpoints_figure([1, 2], maps, maps, np.zeros((2, 3), dtype=np.uint8))
