"""Class files: names with and without colors, and the line that is wrong."""

import json

import numpy as np
import pytest

from scl_core.data.classes import EXAMPLE, default_palette, read_classes
from scl_core.errors import UserError


def test_text_with_and_without_colors(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("road 128 64 128\n\ntraffic light\nlane 2\nstop sign 1 2 3\n")
    names, palette = read_classes(path)
    assert names == ("road", "traffic light", "lane 2", "stop sign")
    assert palette.dtype == np.uint8 and palette[0].tolist() == [128, 64, 128] and palette[3].tolist() == [1, 2, 3]
    assert np.array_equal(palette[1], default_palette(4)[1])


def test_the_example_in_the_message_can_be_read(tmp_path):
    (tmp_path / "classes.txt").write_text(EXAMPLE)
    assert read_classes(tmp_path / "classes.txt")[0] == ("road", "building", "car")


@pytest.mark.parametrize(
    "content",
    [
        ["a", "b"],
        {"classes": ["a", "b"]},
        [{"name": "a", "color": [9, 8, 7]}, {"name": "b"}],
        {"classes": [{"name": "a"}, "b"]},
    ],
)
def test_json_forms(tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(content))
    names, palette = read_classes(path)
    assert names == ("a", "b") and palette.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "", r"c\.txt: 0 classes"),
        ("c.txt", "\n".join(f"class{i}" for i in range(256)), r"c\.txt: 256 classes"),
        ("c.txt", "road\ncar\n\nroad\n", r"c\.txt line 1: class name 'road' is repeated"),
        ("c.txt", "road 1 2 300\n", r"c\.txt line 1: color \[1, 2, 300\] of 'road'"),
        ("c.txt", "road 1 -2 3\n", r"c\.txt line 1: color \[1, -2, 3\]"),
        ("c.json", "{", r"c\.json: not valid JSON"),
        ("c.json", '{"names": []}', r"c\.json: expected a list of classes"),
        ("c.json", '["a", 3]', r"c\.json entry 2: expected a name"),
        ("c.json", '["a", ""]', r"c\.json entry 2: class name '' is empty"),
        ("c.json", '[{"name": "a", "color": "red"}]', r"c\.json entry 1: color red of 'a'"),
    ],
)
def test_wrong_files_name_the_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_classes(tmp_path / name)


def test_default_colors_are_distinct_and_do_not_move():
    palette = default_palette(255)
    assert len(np.unique(palette, axis=0)) == 255
    assert np.array_equal(palette[:7], default_palette(7))
    assert palette.any(1).all()
