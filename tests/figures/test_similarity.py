"""Similarity pictures: the numbers arrive as they are, on scales that can be compared."""

import numpy as np
import pytest

from scl_core.figures.similarity import Block, matrix_figure, row_figure


def random_similarities(seed: int, size: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).dirichlet(np.ones(4), size)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    return random_similarities(0, 12), random_similarities(1, 12)


def heatmaps(figure) -> list:
    return [trace for trace in figure.data if trace.type == "heatmap"]


def test_three_matrices_teacher_student_and_student_minus_teacher(pair):
    teacher, student = pair
    maps = heatmaps(matrix_figure(teacher, student, squared=False))
    for found, wanted in zip(maps, (teacher, student, student - teacher), strict=True):
        assert np.allclose(found.z, wanted, atol=1e-6) and found.z.dtype == np.float32


def test_both_networks_share_one_scale_and_the_difference_is_symmetric(pair):
    teacher, student = pair
    figure = matrix_figure(teacher, student, squared=False)
    assert [trace.coloraxis for trace in heatmaps(figure)] == ["coloraxis", "coloraxis", "coloraxis2"]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    reach = np.abs(student - teacher).max()
    assert figure.layout.coloraxis2.cmax == -figure.layout.coloraxis2.cmin == pytest.approx(reach)


def test_features_with_negative_similarities_get_the_whole_scale():
    signed = np.array([[1.0, -0.5], [-0.5, 1.0]])
    assert matrix_figure(signed, signed).layout.coloraxis.cmin == -1


def test_equal_networks_draw_a_difference_of_zero(pair):
    figure = matrix_figure(pair[0], pair[0])
    assert figure.layout.coloraxis2.cmax > 0
    assert not heatmaps(figure)[2].z.any()


def test_blocks_are_separated_and_named_where_there_is_room(pair):
    blocks = [Block("Road <b>", 0, 6), Block("Sky", 6, 11), Block("Pole", 11, 12)]
    figure = matrix_figure(*pair, blocks)
    assert list(figure.layout.yaxis.ticktext) == ["Road &lt;b&gt;", "Sky", "Pole"]
    assert list(figure.layout.yaxis.tickvals) == [2.5, 8.0, 11.0]
    assert {shape.y0 for shape in figure.layout.shapes if shape.y0 == shape.y1} == {5.5, 10.5}


def test_a_row_lies_over_its_box_with_gaps_where_it_is_covered():
    teacher, student = np.full((4, 6), 0.75), np.full((4, 6), 0.5)
    teacher[0], student[0] = np.nan, np.nan
    figure = row_figure(teacher, student, top=10, left=20, first=(12, 22), second=(13, 25))
    maps = heatmaps(figure)
    assert all((trace.x0, trace.y0) == (20, 10) for trace in maps)
    assert np.isnan(maps[2].z[0]).all() and np.allclose(maps[2].z[1:], -0.25)
    assert figure.layout.coloraxis2.cmax == pytest.approx(0.25)
    marks = {(trace.text, trace.y[0], trace.x[0]) for trace in figure.data if trace.type == "scatter"}
    assert marks == {("<b>1</b>", 12, 22), ("<b>2</b>", 13, 25)}


def test_a_box_that_shows_nothing_still_draws():
    nothing = np.full((3, 3), np.nan)
    assert len(heatmaps(row_figure(nothing, nothing))) == 3


def test_the_squared_difference_shares_the_one_scale(pair):
    teacher, student = pair
    figure = matrix_figure(teacher, student)
    assert [trace.coloraxis for trace in heatmaps(figure)] == ["coloraxis"] * 3
    assert np.allclose(heatmaps(figure)[2].z, np.square(student - teacher), atol=1e-6)


def test_every_cell_can_be_clicked_and_names_its_row_and_column(pair):
    points = [trace for trace in matrix_figure(*pair).data if trace.type == "scattergl"]
    assert len(points) == 3
    for trace, values in zip(points[:2], pair, strict=True):
        assert np.allclose(trace.customdata, values[trace.y, trace.x], atol=1e-6)


def test_a_stride_spreads_the_values_over_the_picture():
    figure = row_figure(np.eye(4), np.eye(4), first=(6, 9), stride=3)
    assert all((trace.dx, trace.dy) == (3, 3) for trace in heatmaps(figure))
    assert tuple(figure.layout.xaxis.range) == (-0.5, 11.5)
