"""The page that leads from the paper to the code names only what exists, with the defaults that hold."""

import importlib
import re

import pytest
import torch
import yaml

from scl_core.config import flat_fields, flatten, load_config, to_dict
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "paper_to_code.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def defaults() -> dict:
    return {field.key: field.default for field in flat_fields("scl", "scenes")}


def test_every_function_is_in_its_file(page):
    named = re.findall(r"`(scl_core/[\w/]+)\.py`:\s+((?:`\w+`(?:, )?)+)", page)
    assert len(named) >= 12
    for module, functions in named:
        for function in re.findall(r"\w+", functions):
            assert hasattr(importlib.import_module(module.replace("/", ".")), function), (module, function)


def test_every_equation_has_its_row(page):
    assert re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_every_setting_exists_with_the_default_that_is_printed(page, defaults):
    printed = re.findall(r"`((?:method|augment|train)\.\w+): ([^`]+)`", page)
    assert len(printed) >= 15
    assert {key: yaml.safe_load(value) for key, value in printed} == {key: defaults[key] for key, _ in printed}
    assert set(re.findall(r"`((?:method|augment|train)\.\w+)`", page)) <= defaults.keys()


def test_the_papers_column_is_its_preset(page):
    preset = load_config([ROOT / "experiments/cityscapes/scl_paper.yaml"], {"data.root": "cityscapes"})
    values = flatten(to_dict(preset))
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| ") and row.count(" | ") == 4]
    checked = 0
    for *_, settings, papers in rows:
        keys = re.findall(r"`((?:method|augment|train)\.\w+): [^`]+`", settings)
        printed = [yaml.safe_load(value) for value in re.findall(r"`([^`]+)`", papers)]
        if keys:
            assert printed == [values[key] for key in keys]
            checked += len(keys)
    assert checked >= 25


def test_every_arm_is_a_good_command_line(page):
    section = page[page.index("## Ablation arms") : page.index("## The loss over every pair")]
    arms = re.findall(r"`(--[^`]*)`", section)
    assert len(arms) >= 10
    for arm in arms:
        words = arm.replace("--", "").split()
        given = dict(zip(words[::2], words[1::2], strict=True)) if len(words) > 1 else {}
        assert load_config([], given) and (given or words[0] in {field.key for field in flat_fields("scl", "scenes")})


def test_the_identity_and_its_gradient_as_printed():
    student = torch.rand(4, 30, dtype=torch.float64)
    s, t = (p / p.norm(dim=0) for p in (student, torch.rand(4, 30, dtype=torch.float64)))
    s.requires_grad_()
    d, q = s - t, s + t
    similarities = s.T @ s - t.T @ t
    torch.testing.assert_close(similarities, (d.T @ q + q.T @ d) / 2)
    loss = ((d @ d.T * (q @ q.T)).sum() + (d @ q.T * (d @ q.T).T).sum()) / (2 * 30**2)
    torch.testing.assert_close(loss, similarities.square().mean())
    (gradient,) = torch.autograd.grad(similarities.square().mean(), s)
    torch.testing.assert_close(2 / 30**2 * (s @ q.T @ d + s @ d.T @ q), gradient)
