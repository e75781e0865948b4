"""Similarity pictures: the numbers arrive as they are, on scales that can be compared."""

import base64

import numpy as np
import pytest

from pages.shared.similarity_panels import drawn
from scl_core.figures.similarity import Block, Mark, matrix_figure, row_figure, scale_colors


def random_similarities(seed: int, size: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).dirichlet(np.ones(4), size)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    return random_similarities(0, 12), random_similarities(1, 12)


def test_three_matrices_teacher_student_and_student_minus_teacher(pair):
    teacher, student = pair
    panels = matrix_figure(teacher, student, squared=False).panels
    for found, wanted in zip(panels, (teacher, student, student - teacher), strict=True):
        assert np.allclose(found.values, wanted, atol=1e-6) and found.values.dtype == np.float32


def test_both_networks_share_one_scale_and_the_difference_is_symmetric(pair):
    teacher, student = pair
    figure = matrix_figure(teacher, student, squared=False)
    assert [panel.is_difference for panel in figure.panels] == [False, False, True]
    assert figure.low == 0 and figure.reach == pytest.approx(np.abs(student - teacher).max())


def test_features_with_negative_similarities_get_the_whole_scale():
    signed = np.array([[1.0, -0.5], [-0.5, 1.0]])
    assert matrix_figure(signed, signed).low == -1


def test_equal_networks_draw_a_difference_of_zero(pair):
    figure = matrix_figure(pair[0], pair[0], squared=False)
    assert figure.reach > 0 and not figure.panels[2].values.any()


def test_the_squared_difference_shares_the_one_scale(pair):
    teacher, student = pair
    figure = matrix_figure(teacher, student, (Block("Road", 0, 12),), (3, 5))
    assert not any(panel.is_difference for panel in figure.panels) and figure.marks == (Mark(3, 5),)
    assert np.allclose(figure.panels[2].values, np.square(student - teacher), atol=1e-6)


def test_a_row_lies_over_its_box_with_gaps_where_it_is_covered():
    teacher, student = np.full((4, 6), 0.75), np.full((4, 6), 0.5)
    teacher[0], student[0] = np.nan, np.nan
    figure = row_figure(teacher, student, top=10, left=20, first=(12, 22), second=(13, 25))
    assert (figure.top, figure.left, figure.stride) == (10, 20, 1)
    assert np.isnan(figure.panels[2].values[0]).all() and np.allclose(figure.panels[2].values[1:], -0.25)
    assert figure.reach == pytest.approx(0.25)
    assert set(figure.marks) == {Mark(12, 22, "1"), Mark(13, 25, "2")}


def test_a_box_that_shows_nothing_still_draws():
    nothing = np.full((3, 3), np.nan)
    figure = row_figure(nothing, nothing)
    assert len(figure.panels) == 3 and (figure.low, figure.reach) == (0, 1e-6)


def test_the_browser_is_sent_every_number_and_a_scale_from_end_to_end(pair):
    teacher, student = pair
    sent = drawn(matrix_figure(teacher, student, (Block("<b>", 0, 12),), squared=False))
    for panel, wanted in zip(sent["panels"], (teacher, student, student - teacher), strict=True):
        numbers = np.frombuffer(base64.b64decode(panel["values"]), "<f4").reshape(sent["height"], sent["width"])
        np.testing.assert_allclose(numbers, wanted, atol=1e-6)
    assert sent["scales"]["difference"]["low"] == -sent["scales"]["difference"]["high"]
    assert sent["blocks"] == [{"name": "<b>", "start": 0, "stop": 12}]
    low, middle, high = (np.frombuffer(scale_colors(True), np.uint8).reshape(256, 3)[k] for k in (0, 128, 255))
    assert low[2] > low[0] and middle.min() > 240 and high[0] > high[2]
