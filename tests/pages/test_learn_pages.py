"""Lesson and glossary: every step opens with the library's numbers, and every word leads to what is there."""

import importlib

import numpy as np
import pytest

from pages.shared.glossary_terms import TERMS
from scl_core.config import flat_fields
from scl_core.losses.structured import cosine_similarity_matrix
from scl_core.methods import METHODS
from scl_core.microscope.lesson import (
    PAIRS,
    RUN,
    example_pair,
    heaviest_box,
    open_lesson,
    similarity_of,
    squared_distances,
)
from tests.pages.conftest import checked, texts

LESSON, GLOSSARY = "pages/learn/lesson.py", "pages/learn/glossary.py"


@pytest.fixture(scope="module")
def first_lesson():
    return open_lesson()


def test_every_step_shows_its_formula_with_the_librarys_number(visit, first_lesson):
    app = visit(LESSON)
    probe = first_lesson.probe
    box = probe.report[heaviest_box(probe)]
    said = {}
    for number in range(1, 11):
        said[number] = texts(app.latex)
        assert app.subheader[0].value.startswith(f"{number}. ") and (
            app.get("plotly_chart") or app.get("bidi_component")
        )
        if number < 10:
            checked(app.button(key="next_below").click().run())
    assert app.button(key="next_below").disabled
    assert f"{first_lesson.terms['supervised']:.4f}" in said[1]
    assert f"{first_lesson.average.after:.5f}" in said[2]
    assert f"{probe.consistency:.5f}" in said[6]
    pixels = example_pair(probe, box.number, PAIRS[0])
    assert all(f"{value:.4f}" in said[7] for value in similarity_of(probe, *pixels))
    assert f"{box.loss:.5f}" in said[8]
    assert f"{probe.structured:.5f}" in said[9]
    assert f"{first_lesson.loss:.5f}" in said[10]
    checked(app.button(key="back_below").click().run())
    assert app.subheader[0].value.startswith("9. ")


def test_the_step_and_the_pictures_are_in_the_address(visit):
    app = visit(LESSON, lesson="6", lesson_pair="2")
    assert app.subheader[0].value.startswith("6. ")
    assert f"{open_lesson(1).terms['consistency']:.5f}" in texts(app.latex)
    assert visit(LESSON, lesson="44").subheader[0].value.startswith("1. ")


def test_without_the_recorded_demo_the_lesson_is_untrained(tmp_path):
    lesson = open_lesson(0, tmp_path / "gone")
    assert lesson.trained_steps == 0 and lesson.average.teacher == lesson.average.student
    assert open_lesson(0, RUN).trained_steps > 0


def test_the_lessons_numbers_add_up(first_lesson):
    lesson, probe = first_lesson, first_lesson.probe
    assert np.nanmean(squared_distances(probe)) == pytest.approx(lesson.terms["consistency"], rel=1e-5)
    weighted = sum(lesson.weights[name] * value for name, value in lesson.terms.items())
    assert lesson.loss == pytest.approx(weighted)
    average = lesson.average
    mixed = average.decay * average.teacher + (1 - average.decay) * average.student
    assert mixed == pytest.approx(average.after) and average.decay == pytest.approx(0.97, abs=1e-3)


def test_the_disputed_pair_is_disputed_more_than_the_others(first_lesson):
    probe = first_lesson.probe
    number = heaviest_box(probe)
    found = {kind: similarity_of(probe, *example_pair(probe, number, kind)) for kind in PAIRS}
    apart = {kind: (student - teacher) ** 2 for kind, (teacher, student) in found.items()}
    assert apart[PAIRS[0]] > max(apart[PAIRS[1]], apart[PAIRS[2]])
    assert min(found[PAIRS[1]]) > 0.9 > max(found[PAIRS[2]])
    first, second = example_pair(probe, number, PAIRS[0])
    two = probe.teacher[:, [first[0], second[0]], [first[1], second[1]]]
    assert found[PAIRS[0]][0] == pytest.approx(float(cosine_similarity_matrix(two)[0, 1]), abs=1e-5)
    with pytest.raises(ValueError, match="must be one of"):
        example_pair(probe, number, "any")


@pytest.mark.parametrize("entry", TERMS, ids=lambda entry: entry.name)
def test_every_word_leads_to_something_that_is_there(entry):
    known = {field.key for method in METHODS for field in flat_fields(method)}
    assert set(entry.settings) <= known
    for dotted in entry.functions:
        assert resolve(dotted) is not None
    assert entry.equation or entry.functions


def resolve(dotted: str):
    """The object behind `package.module.name` or `package.module.Class.method`."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    return None


def test_the_glossary_is_searched_and_linked(visit):
    everything = visit(GLOSSARY)
    assert len(everything.latex) == sum(bool(entry.equation) for entry in TERMS)
    found = visit(GLOSSARY, term="owner")
    assert "owner map" in texts(found.markdown) and len(found.latex) < len(everything.latex)
    assert r"T_n" in texts(visit(GLOSSARY, term="method.num_boxes").latex)
    assert "every entry" in texts(visit(GLOSSARY, term="no such word").info)
