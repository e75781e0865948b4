"""The pictures of the methods beside SCL: what they show is what they were given."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from scl_core.figures.insides import (
    MARK,
    Panel,
    agreement_figure,
    class_pixels,
    only_where,
    panels_figure,
    share_pixels,
    similarity_figure,
    with_dots,
)

PALETTE = np.array([[10, 20, 30], [200, 100, 0]], dtype=np.uint8)


def test_classes_have_their_colors_and_none_is_gray():
    assert class_pixels(np.array([[0, 1, -1]]), PALETTE).tolist() == [[[10, 20, 30], [200, 100, 0], [127, 127, 127]]]


def test_only_where_darkens_the_rest():
    pixels = np.full((1, 2, 3), 100, dtype=np.uint8)
    assert only_where(pixels, np.array([[True, False]])).tolist() == [[[100] * 3, [18] * 3]]


def test_shares_go_from_dark_to_bright_and_dots_are_where_they_belong():
    dark, middle, bright = share_pixels(np.array([[0.0, 0.5, 1.0]]))[0].astype(int).sum(1)
    assert dark < middle < bright
    marked = with_dots(np.zeros((2, 2, 3), dtype=np.uint8), np.array([[1, 0]]), (1, 2, 3))
    assert marked[1, 0].tolist() == [1, 2, 3] and marked.sum() == 6


def test_panels_are_the_pictures_pixel_for_pixel():
    pictures = [np.random.default_rng(n).integers(0, 256, (4, 6, 3), dtype=np.uint8) for n in range(4)]
    figure = panels_figure([Panel(f"<b>{n}", picture) for n, picture in enumerate(pictures)], columns=3)
    shown = [np.array(Image.open(io.BytesIO(base64.b64decode(t.source.split(",")[1])))) for t in figure.data]
    assert all(np.array_equal(a, b) for a, b in zip(shown, pictures, strict=True))
    assert figure.layout.annotations[0].text == "&lt;b&gt;0" and figure.data[3].yaxis == "y4"


def test_positives_are_marked_in_their_rows():
    values = np.array([[0.2, 0.9, 0.1], [0.5, 0.0, -0.3]])
    figure = similarity_figure(values, ["road", "sky"], ["query 0", "query 1", "query 2"], [1, 0])
    heat, marks = figure.data
    assert list(zip(marks.y, marks.x, strict=True)) == [(0, 1), (1, 0)] and marks.marker.color == MARK
    assert (heat.zmin, heat.zmax) == (-1.0, 1.0) and heat.customdata[1][2] == "sky with query 2"
    assert similarity_figure(np.zeros((0, 3)), [], ["a", "b", "c"]).layout.annotations[0].text == "no region to compare"


def test_agreement_has_a_line_for_each_class_that_is_there():
    figure = agreement_figure({20: np.array([0.5, np.nan]), 10: np.array([0.25, np.nan])}, ["road", "sky"])
    (line,) = figure.data
    assert line.name == "road" and line.x == (10, 20) and line.y == pytest.approx((25.0, 50.0))
