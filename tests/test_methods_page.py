"""docs/methods.md names only settings that exist, with the defaults and the presets' values that hold."""

import re

import pytest
import yaml

from scl_core.config import flat_fields, flatten, load_config, to_dict
from scl_core.methods import METHODS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
SECTIONS = {title: body for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)}
NAMES = [name for title in SECTIONS for name in re.findall(r"`(\w+)`", title)]


def rows_of(name):
    """Settings with the printed default, and the printed values of Cityscapes and VOC, row by row."""
    body = next(body for title, body in SECTIONS.items() if f"`{name}`" in title)
    for row in re.findall(r"^\| .* \|$", body, re.MULTILINE):
        *_, settings, presets = (cell.strip() for cell in row[1:-1].split("|"))
        if found := re.findall(r"`((?:method|model|train)\.\w+): ([^`]+)`", settings):
            printed = [re.findall(r"`([^`]+)`", part) for part in presets.split(" / ")] if presets else []
            yield found, (printed * 2)[:2]


def test_every_method_but_the_papers_own_has_a_section():
    assert sorted(NAMES) == sorted(METHODS.keys() - {"scl", "supervised"})


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_that_of_the_method(name):
    defaults = {field.key: field.default for field in flat_fields(name, "scenes")}
    printed = [pair for found, _ in rows_of(name) for pair in found]
    known = {key: value for key, value in printed if key in defaults}
    assert len(known) == len({key for key, _ in printed}) or name == "rc2l_pp"
    assert {key: yaml.safe_load(value) for key, value in known.items()} == {key: defaults[key] for key in known}
    assert len(known) >= 3


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rc2l_pp"])
@pytest.mark.parametrize(("number", "data"), [(0, "cityscapes"), (1, "voc")])
def test_every_value_of_the_presets_is_in_their_file(name, number, data):
    preset = load_config([ROOT / f"experiments/{data}/{name}.yaml"], {"data.root": data})
    values, checked = flatten(to_dict(preset)), 0
    for found, printed in rows_of(name):
        if printed:
            assert [values[key] for key, _ in found] == [yaml.safe_load(value) for value in printed[number]], found
            checked += len(found)
    assert checked >= 3
