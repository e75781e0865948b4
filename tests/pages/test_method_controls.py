"""Each control of the Method pages moved, and what the page then shows beside the library's own number."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st

from pages.shared import similarity_views
from scl_core.cutmix import box_owner, sample_boxes
from scl_core.figures import similarity as figures
from scl_core.losses.supervised import allowed_classes
from scl_core.microscope import dissect
from scl_core.microscope.pair_study import study
from scl_core.microscope.replay import batch_of_step
from scl_core.probe import similarity_maps, similarity_matrices, similarity_rows
from scl_core.restore import restore
from scl_core.seeding import generator_for
from tests.method_run import NAME, library_probe
from tests.pages.conftest import checked, texts
from tests.pages.test_method_pages import CUTMIX, SIMILARITY, boxes_drawn, metric
from tests.pages.test_microscope_pages import PAIRS, PLAYGROUND

SIZE = (48, 64)


def covered(seed: int, step: int, pair: int, count: int = 5, area: float = 0.5, mode: str = "union") -> str:
    """The covered share of a draw of boxes, as the page writes it."""
    boxes = sample_boxes(*SIZE, count, area, mode, generator_for(seed, step, pair, "boxes"))
    return f"{float((box_owner(boxes, *SIZE) >= 0).float().mean()):.1%}"


def test_seed_step_and_pair_are_those_of_the_draw(with_run, open_view):
    app = open_view(CUTMIX, run=NAME)
    assert metric(app, "Covered by boxes") == covered(0, 3, 1)
    for key, value, place in (("seed", 4, (4, 3, 1)), ("step", 9, (4, 9, 1)), ("pair", 0, (4, 9, 0))):
        checked(app.number_input(key=key).set_value(value).run())
        assert metric(app, "Covered by boxes") == covered(*place)


def test_the_sliders_of_what_if_draw_other_boxes(with_run, open_view):
    app = open_view(CUTMIX, run=NAME)
    checked(app.toggle(key="what_if").set_value(True).run())
    assert metric(app, "Covered by boxes") == covered(0, 3, 1), "at first as the method draws them"
    settings = {"count": 5, "area": 0.5, "mode": "union"}
    for key, name, value in (("boxes", "count", 9), ("area", "area", 0.2)):
        checked(app.slider(key=key).set_value(value).run())
        settings[name] = value
        assert metric(app, "Covered by boxes") == covered(0, 3, 1, **settings)
    checked(app.segmented_control(key="area_mode").set_value("sum").run())
    assert metric(app, "Covered by boxes") == covered(0, 3, 1, 9, 0.2, "sum")
    checked(app.slider(key="loss_boxes").set_value(2).run())
    assert len(boxes_drawn(app)) == 9 and "dash" in app.get("plotly_chart")[0].proto.spec
    settings = SimpleNamespace(num_boxes=9, total_area=0.2, area_mode="sum")
    many, visible = dissect.box_statistics(*SIZE, settings, 0)
    assert metric(app, "Covered on average") == f"{many.mean():.1%}"
    assert metric(app, "Loss boxes that show nothing") == f"{(visible[:, -2:] == 0).mean():.1%}"


def test_another_checkpoint_and_another_box_are_taken_apart(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME)
    checked(app.selectbox(key="checkpoint").set_value("last").run())
    assert app.number_input(key="step").value == 4
    checked(app.number_input(key="step").set_value(3).run())
    probe = library_probe(with_run, step=3, checkpoint=3)
    assert metric(app, "Structured loss") == f"{probe.structured:.5f}" != f"{library_probe(with_run).structured:.5f}"
    number = min((box for box in probe.report if box.in_loss and box.visible), key=lambda box: box.term).number
    checked(app.selectbox(key="box").set_value(number).run())
    assert f"Box {number}: every pixel with every pixel" in texts(app.subheader)


@pytest.fixture
def drawn(monkeypatch) -> dict[str, list]:
    """What the page hands to the figures of similarities, call by call."""
    st.cache_resource.clear()
    calls: dict[str, list] = {}

    def spy(where, name: str) -> None:
        real, calls[name] = getattr(where, name), []
        monkeypatch.setattr(
            where, name, lambda *given, **more: calls[name].append((given, more)) or real(*given, **more)
        )

    for name in ("matrix_figure", "row_figure"):
        spy(figures, name)
    spy(similarity_views, "class_pair_figure")
    return calls


def heaviest(probe) -> int:
    return max((box for box in probe.report if box.in_loss), key=lambda box: (box.term, box.visible)).number


def test_the_matrices_stand_in_the_chosen_order(with_run, open_view, drawn):
    app = open_view(SIMILARITY, run=NAME)
    probe = library_probe(with_run)
    assert drawn["matrix_figure"][-1][0][4] is True
    app.segmented_control(key="third").set_value("signed")
    for word, order in (("row by row", "raster"), ("by likeness", "cluster")):
        checked(app.segmented_control(key="order").set_value(word).run())
        found = similarity_matrices(probe, heaviest(probe), similarity_views.MOST, order)
        given = drawn["matrix_figure"][-1][0]
        np.testing.assert_allclose(given[0], found.teacher, atol=1e-5)
        np.testing.assert_allclose(given[1], found.student, atol=1e-5)
        assert given[4] is False


def test_maps_are_of_the_box_or_the_picture_and_pins_stay(with_run, open_view, drawn):
    app = open_view(SIMILARITY, run=NAME)
    probe = library_probe(with_run)
    words = next(item.value for item in app.subheader if item.value.startswith("Pixel 1")).split(":")[0].split(", ")
    place = tuple(int(word.split()[1]) for word in words[1:])
    np.testing.assert_allclose(
        drawn["row_figure"][-1][0][0], similarity_rows(probe, heaviest(probe), *place)[0], atol=1e-5
    )
    checked(app.segmented_control(key="over").set_value("picture").run())
    teacher, student = similarity_maps(probe, *place)
    for found, expected in zip(drawn["row_figure"][-1][0], (teacher, student), strict=False):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    app.segmented_control(key="over").set_value("box")
    checked(app.button(key="pin").click().run())
    np.testing.assert_allclose(drawn["row_figure"][-1][0][0], teacher, atol=1e-5)
    assert app.query_params["pins"] == "{}-{}".format(*place)


def test_the_classes_are_of_all_boxes_or_of_this_one(with_run, open_view, drawn):
    app = open_view(SIMILARITY, run=NAME)
    probe = library_probe(with_run)
    parts = dissect.exact_parts(probe)
    np.testing.assert_allclose(drawn["class_pair_figure"][-1][0][0], parts.class_pairs, atol=1e-7)
    checked(app.segmented_control(key="classes_of").set_value("this box").run())
    np.testing.assert_allclose(drawn["class_pair_figure"][-1][0][0], parts.boxes[heaviest(probe)], atol=1e-7)


def test_fewer_pairs_spread_as_the_library_finds(with_run, open_view):
    app = open_view(PAIRS, run=NAME, parameters="false")
    checked(app.select_slider(key="n_pair").set_value(30).run())
    found = study(library_probe(with_run), 30)
    assert metric(app, "Spread") == f"± {found.values.std() / found.exact:.1%}"
    assert metric(app, "Cosine over the pixels") == f"{found.over_pixels.mean():.3f}"


def test_the_window_relaxes_the_chosen_labeled_picture(with_run, open_view):
    app = open_view(PAIRS, run=NAME, parameters="false")
    restored = restore(with_run)
    source = restored.open_data()
    labels = batch_of_step(restored.config, source, 1, 3, 0).labels
    for index, window in ((1, 9), (0, 5)):
        app.number_input(key="labeled").set_value(index)
        checked(app.select_slider(key="window").set_value(window).run())
        counts = allowed_classes(labels[index][None], window, len(source.class_names)).sum(1)
        share = (counts > 1).sum() / (counts > 0).sum()
        assert metric(app, "Pixels with more than one class") == f"{float(share):.1%}"


def test_knobs_of_the_formula_weigh_as_the_method_does(with_run, open_view):
    app = open_view(PLAYGROUND, run=NAME)
    terms = app.dataframe[0].value.set_index("term")["recomputed"]
    method = restore(with_run, 2).method
    changes = {}
    for key, value in (("consistency_weight", 3.5), ("start", 0.9), ("ramp", 0.3)):
        checked(app.slider(key=key).set_value(value).run())
        changes[key] = value
        method.config = replace(method.config, **changes)
        total = sum(weight * terms[name] for name, weight in method.weights(3).items())
        shown = float(app.latex[1].value.split(r"\mathbf{")[1].split("}")[0])
        assert shown == pytest.approx(total, abs=2e-5), changes


def test_threshold_and_temperature_are_the_librarys(with_run, open_view):
    app = open_view(PLAYGROUND, run=NAME)
    probe = library_probe(with_run)
    checked(app.slider(key="threshold").set_value(0.2).run())
    assert metric(app, "Pixels above the threshold") == f"{dissect.confident_share(probe, 0.2):.1%}"
    checked(app.slider(key="temperature").set_value(2.5).run())
    shown = [metric(app, name) for name in ("Pixel-wise consistency", "Structured, every pair")]
    assert shown == [f"{value:.5f}" for value in dissect.losses_at(probe, 2.5)]


def test_without_a_run_the_two_weights_weigh_the_pair(with_run, open_view):
    app = open_view(PLAYGROUND)
    app.slider(key="consistency_weight").set_value(0.0)
    checked(app.slider(key="structured_weight").set_value(4.0).run())
    structured, total = app.latex[0].value.split(r"\cdot ")[2].split(r" = \mathbf{")
    assert float(total.split("}")[0]) == pytest.approx(4 * float(structured), abs=3e-5)


def test_chosen_pictures_are_picked_one_by_one(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME)
    source = restore(with_run).open_data()
    first, second = source.pictures("val").names[0], source.pictures("labeled").names[1]
    checked(app.selectbox(key="pictures").set_value("chosen").run())
    for key, value in (("from_a", "val"), ("picture_a", first), ("from_b", "labeled"), ("picture_b", second)):
        checked(app.selectbox(key=key).set_value(value).run())
    expected = {"pictures": "chosen", "from_a": "val", "picture_a": first, "from_b": "labeled", "picture_b": second}
    again = open_view(SIMILARITY, run=NAME, **expected)
    assert metric(app, "Structured loss") == metric(again, "Structured loss")
    assert metric(app, "Structured loss") != f"{library_probe(with_run).structured:.5f}"
