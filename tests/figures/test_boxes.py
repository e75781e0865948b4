"""Box pictures: their pixels follow the owner map, their lines and words the records."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from scl_core.figures.boxes import (
    box_figure,
    describe_box,
    occlusion_figure,
    owner_figure,
    owner_picture,
    paste_colors,
    visible_picture,
)
from scl_core.figures.pictures import picture_figure

HEIGHT, WIDTH = 20, 30
PLACES = [(2, 3, 10, 12), (6, 8, 8, 9), (0, 20, 5, 5), (1, 21, 2, 2)]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def owner() -> np.ndarray:
    found = np.full((HEIGHT, WIDTH), -1)
    for number, (top, left, height, width) in enumerate(PLACES):
        found[top : top + height, left : left + width] = number
    return found


@pytest.fixture
def records(owner) -> list[dict]:
    names = ("top", "left", "height", "width")
    return [
        dict(zip(names, place, strict=True))
        | {
            "number": number,
            "visible": int((owner == number).sum()),
            "share": float((owner == number).sum()) / place[2] / place[3],
            "in_loss": number >= 2,
            "pairs": 100,
            "loss": 0.25 if number >= 2 else None,
            "loss_share": 0.5 if number >= 2 else None,
        }
        for number, place in enumerate(PLACES)
    ]


def shown_pixels(figure) -> np.ndarray:
    """The pixels of the figure's picture, decoded from what the browser gets."""
    source = figure.data[0].source
    return np.array(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))))


def outlines(figure) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data if trace.name and trace.name.startswith("box")}


def test_the_picture_arrives_unchanged_with_rows_downwards(image):
    figure = picture_figure(image)
    assert np.array_equal(shown_pixels(figure), image)
    assert tuple(figure.layout.xaxis.range) == (-0.5, WIDTH - 0.5)
    assert tuple(figure.layout.yaxis.range) == (HEIGHT - 0.5, -0.5)


def test_boxes_of_the_loss_are_solid_and_others_dashed(image, owner, records):
    lines = outlines(box_figure(image, owner, records))
    assert list(lines) == ["box 0", "box 1", "box 2", "box 3"]
    assert ["solid" == line.line.dash for line in lines.values()] == [False, False, True, True]
    top, left, height, width = PLACES[1]
    assert (min(lines["box 1"].x), max(lines["box 1"].x)) == (left - 0.5, left + width - 0.5)
    assert (min(lines["box 1"].y), max(lines["box 1"].y)) == (top - 0.5, top + height - 0.5)


def test_the_chosen_box_has_the_thickest_line(image, owner, records):
    widths = {name: line.line.width for name, line in outlines(box_figure(image, owner, records, chosen=2)).items()}
    assert max(widths, key=widths.get) == "box 2"


def test_hover_tells_the_boxs_numbers(records):
    text = describe_box(records[2])
    for part in ("box 2", "5 × 5 px", "21 visible (84%)", "100 pairs of 441", "0.25000", "50.0%"):
        assert part in text
    assert "loss 0" not in describe_box(records[0]) and "not in the structured loss" in describe_box(records[0])


def test_each_number_stands_on_a_pixel_that_its_box_shows(image, owner, records):
    for note in owner_figure(image, owner, records).layout.annotations:
        assert owner[int(note.y), int(note.x)] == int(note.text)


def test_a_hidden_box_has_no_number(image, owner, records):
    owner[owner == 3] = 2
    assert "3" not in [note.text for note in box_figure(image, owner, records).layout.annotations]


def test_the_owner_map_has_one_colour_a_box(owner):
    flat = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)
    pixels = owner_picture(flat, owner, len(PLACES))
    centres = [(3, 4), (9, 12), (4, 24)]
    colours = {tuple(pixels[place]) for place in centres}
    assert len(colours) == 3 and tuple(pixels[19, 0]) not in colours


def test_paste_colours_grow_brighter():
    brightness = [sum(int(color[start : start + 2], 16) for start in (1, 3, 5)) for color in paste_colors(9)]
    assert brightness == sorted(brightness) and len(set(brightness)) == 9
    assert paste_colors(0) == [] and len(paste_colors(1)) == 1


def test_visible_pixels_keep_their_colours_and_others_turn_gray(image, owner):
    pixels = visible_picture(image, owner, 0)
    shown = owner == 0
    assert np.array_equal(pixels[shown], image[shown])
    others = pixels[~shown].astype(int)
    assert np.all(others.max(1) - others.min(1) <= 1)


def test_the_occlusion_says_which_box_covers_a_pixel(image, owner, records):
    figure = occlusion_figure(image, owner, records[0], len(records))
    hover = next(trace for trace in figure.data if trace.type == "heatmap")
    top, left, height, width = PLACES[0]
    assert np.array_equal(hover.z, owner[top : top + height, left : left + width])
    assert (hover.x0, hover.y0) == (left, top)
    assert [note.text for note in figure.layout.annotations] == ["1"]


def test_the_occlusion_leaves_visible_pixels_as_they_are(image, owner, records):
    figure = occlusion_figure(image, owner, records[0], len(records))
    top, left, height, width = PLACES[0]
    pixels = shown_pixels(figure)
    zoom = pixels.shape[0] // height
    middle = pixels[zoom // 2 :: zoom, zoom // 2 :: zoom]
    inside = (slice(top, top + height), slice(left, left + width))
    shown = owner[inside] == 0
    assert np.array_equal(middle[shown], image[inside][shown])
    assert not np.array_equal(middle[~shown], image[inside][~shown])


def test_a_number_stands_inside_the_largest_part_that_a_box_shows(image, records):
    owner = np.full((HEIGHT, WIDTH), -1)
    owner[1:4, 0:3] = 0
    owner[8:19, 10:29] = 0
    note = owner_figure(image, owner, records[:1]).layout.annotations[0]
    assert 10 <= note.y <= 16 and 14 <= note.x <= 24
