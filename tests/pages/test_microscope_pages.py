"""One selection for all Method pages: its sources, its steps, and the pages Pairs and Playground, through AppTest."""

import io
import shutil
import sys

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from skimage import data

from scl_core import demo
from scl_core.config import flatten, load_config, to_dict
from scl_core.methods import StepDraws
from scl_core.methods.weak_to_strong import drawn_area
from scl_core.microscope.dissect import exact_parts
from scl_core.restore import restore
from scl_core.runs import RunFolder
from scl_core.storage.plain_yaml import to_yaml
from tests.method_run import NAME, library_probe
from tests.methods.foreign import FOREIGN
from tests.pages.conftest import checked
from tests.pages.test_method_pages import CUTMIX, SIMILARITY, boxes_drawn, metric

PAIRS, PLAYGROUND = "pages/method/pairs.py", "pages/method/playground.py"
PAGES = [CUTMIX, SIMILARITY, PAIRS, PLAYGROUND]
OWN_NETWORK = """
import torch
def build(num_classes):
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, num_classes, 5, padding=2)
def wrong(num_classes):
    return torch.nn.Conv2d(3, num_classes + 1, 1)
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch) -> str:
    (tmp_path / "somebodys_network.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    st.cache_resource.clear()
    yield "somebodys_network"
    sys.modules.pop("somebodys_network", None)


@pytest.mark.parametrize("page", PAGES)
def test_a_run_that_is_gone_and_a_seed_that_is_none_leave_the_page(with_run, open_view, page):
    app = open_view(page, run="gone", seed="x", checkpoint="77", pixel="1-1", pins="x.9-9", parameters="false")
    assert any("not in the runs folder" in warning.value for warning in app.warning)


def test_the_step_after_a_checkpoint_is_the_row_of_the_metrics(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, checkpoint="2", step="3")
    assert "row 3 of metrics.jsonl" in app.success[0].value
    assert app.dataframe[-1].value["recomputed"].tolist() == pytest.approx(app.dataframe[-1].value["logged"].tolist())


@pytest.mark.parametrize("page", PAGES)
def test_a_run_opens_at_a_step_that_training_took(with_run, open_view, page):
    app = open_view(page, run=NAME)
    assert (app.selectbox(key="checkpoint").value, app.number_input(key="step").value) == ("2", 3)
    assert any("**Step 3 is a training step**" in caption.value for caption in app.caption)
    assert "row 3 of metrics.jsonl" in app.success[0].value if page in (SIMILARITY, PLAYGROUND) else not app.success


def test_the_step_follows_the_networks_until_another_is_asked_for(with_run, open_view):
    app = open_view(CUTMIX, run=NAME)
    checked(app.selectbox(key="checkpoint").set_value("untrained").run())
    assert app.number_input(key="step").value == 1
    checked(app.selectbox(key="checkpoint").set_value("last").run())
    assert app.number_input(key="step").value == 4
    assert any("has written no such row" in caption.value for caption in app.caption)
    checked(app.number_input(key="step").set_value(7).run())
    checked(app.selectbox(key="checkpoint").set_value("2").run())
    assert app.number_input(key="step").value == 7 and app.button(key="go_to_step").label == "Show step 3"


def test_any_other_step_is_no_training_step_until_the_button_goes_there(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, checkpoint="2", step="2", seed="5")
    assert any("Not a training step" in caption.value for caption in app.caption) and not app.success
    checked(app.button(key="go_to_step").click().run())
    assert app.number_input(key="step").value == 3 and "row 3" in app.success[0].value


def test_a_click_leads_to_a_step_that_has_its_row(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, checkpoint="3", step="4")
    assert not app.success
    checked(app.button(key="go_to_written").click().run())
    assert app.selectbox(key="checkpoint").value == "2" and "row 3 of metrics.jsonl" in app.success[0].value


def test_the_recorded_demo_is_compared_at_its_first_step(runs, open_view):
    demo.copy_recorded(runs)
    app = open_view(SIMILARITY, run="demo-scl-recorded")
    assert any("has written no such row" in caption.value for caption in app.caption)
    checked(app.button(key="go_to_written").click().run())
    assert (app.selectbox(key="checkpoint").value, app.number_input(key="step").value) == ("untrained", 1)
    assert "row 1 of metrics.jsonl" in app.success[0].value


@pytest.mark.parametrize("page", [SIMILARITY, PAIRS, PLAYGROUND])
def test_somebodys_network_opens_after_a_click_and_never_from_a_link(with_run, open_view, own_module, page):
    app = open_view(page, run=NAME, checkpoint="own module", network=f"{own_module}:build")
    assert own_module not in sys.modules and "A link alone never runs it" in app.info[0].value
    checked(app.button(key="open_network").click().run())
    assert own_module in sys.modules and any("Your own network" in info.value for info in app.info)


@pytest.mark.parametrize("name, told", [("wrong", "need"), ("gone", "no callable")])
def test_a_network_that_does_not_fit_is_told_in_a_line(with_run, open_view, own_module, name, told):
    app = open_view(SIMILARITY, run=NAME, checkpoint="own module", network=f"{own_module}:{name}")
    checked(app.button(key="open_network").click().run())
    assert app.error and told in app.code[0].value and "Traceback" not in app.code[0].value


def as_file(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def test_two_pictures_of_ones_own_are_mixed(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, pictures="chosen", from_a="my files", from_b="my files")
    assert "Give two pictures" in app.info[0].value
    for side, picture in (("a", data.astronaut()), ("b", data.coffee())):
        app.file_uploader(key=f"upload_{side}").upload(f"{side}.png", as_file(picture), "image/png")
    checked(app.run())
    assert metric(app, "Loss boxes") == "4 of 5"
    assert any("you chose these pictures" in caption.value for caption in app.caption)
    kept = {name: app.query_params[name] for name in ("pictures", "from_a", "from_b", "picture_a", "picture_b")}
    assert kept["picture_a"].endswith("-a.png") and kept["picture_b"].endswith("-b.png")
    st.cache_resource.clear()
    again = open_view(SIMILARITY, run=NAME, **kept)
    assert metric(again, "Structured loss") == metric(app, "Structured loss"), "the address alone restores the view"


def test_any_two_pictures_of_the_lists_are_mixed(with_run, open_view):
    source = restore(with_run).open_data()
    first, second = source.pictures("val").names[0], source.pictures("unlabeled").names[4]
    app = open_view(SIMILARITY, run=NAME, pictures="chosen", from_a="val", picture_a=first, picture_b=second)
    assert (app.selectbox(key="picture_a").value, app.selectbox(key="picture_b").value) == (first, second)
    assert metric(app, "Loss boxes") == "4 of 5" and not app.warning
    gone = open_view(SIMILARITY, run=NAME, pictures="chosen", picture_a="scene_gone")
    assert "not there any more" in gone.warning[0].value and metric(gone, "Loss boxes") == "4 of 5"


def test_a_broken_picture_is_told_by_its_name(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, pictures="chosen", from_a="my files", from_b="my files")
    app.file_uploader(key="upload_a").upload("torn.png", as_file(data.astronaut())[:500], "image/png")
    app.file_uploader(key="upload_b").upload("cup.png", as_file(data.coffee()), "image/png")
    checked(app.run())
    assert "torn.png" in app.code[0].value and "/tmp" not in app.code[0].value


def test_the_parts_of_the_loss_add_up_to_it(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME)
    sums = [latex.value.split("= ")[1].strip("\n$") for latex in app.latex if latex.value.count("=") == 1]
    parts = exact_parts(library_probe(with_run))
    assert len(set(sums)) == 1 and len(sums) == 3
    assert float(sums[0]) == pytest.approx(parts.loss, rel=1e-4)


def test_a_clicked_cell_names_its_two_pixels(with_run, open_view):
    probe = library_probe(with_run)
    box = max((box for box in probe.report if box.in_loss), key=lambda box: box.term)
    app = open_view(SIMILARITY, run=NAME, box=str(box.number), order="row by row", third="signed")
    key = f"matrices-{box.number}-raster"
    app.session_state[key] = {"selection": {"points": [{"x": 3, "y": 1}], "point_indices": [], "box": [], "lasso": []}}
    checked(app.run())
    assert len(app.get("bidi_component")) >= 3


@pytest.mark.parametrize("over", ["box", "picture"])
def test_a_pinned_pixel_keeps_its_map(with_run, open_view, over):
    app = open_view(SIMILARITY, run=NAME, over=over, classes_of="this box")
    before = len(app.get("bidi_component"))
    checked(app.button(key="pin").click().run())
    assert len(app.get("bidi_component")) == before + 1 and app.query_params["pins"]
    checked(app.button(key="unpin").click().run())
    assert len(app.get("bidi_component")) == before


def test_the_selection_goes_along_from_page_to_page(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, checkpoint="2", step="3", pair="0")
    app.button(key="pin").click().run()
    for page in (PAIRS, PLAYGROUND, CUTMIX, SIMILARITY):
        checked(app.switch_page(page).run())
        assert app.selectbox(key="run").value == NAME and app.selectbox(key="checkpoint").value == "2"
        assert (app.number_input(key="step").value, app.number_input(key="pair").value) == (3, 0)
    assert any("Pinned" in text.value for text in app.markdown)


def test_boxes_are_drawn_as_the_runs_method_draws_them(copy_run, open_view):
    run = copy_run(NAME)
    shared = {key: value for key, value in flatten(RunFolder(run).config()).items() if not key.startswith("method.")}
    config = load_config((), shared | {"method.name": "fixmatch", "method.num_boxes": 2})
    (run / "config.yaml").write_text(to_yaml(to_dict(config)))
    shutil.rmtree(run / "checkpoints")
    for step in (1, 2, 3):
        mixed, area = drawn_area(config.method, StepDraws(0, step), 0, view=0)
        app = open_view(CUTMIX, run=NAME, step=str(step), pair="0")
        told = next(caption.value for caption in app.caption if caption.value.startswith("As fixmatch"))
        assert f"2 boxes, covered share {area:g}." in told and ("left this pair unmixed" in told) == (not mixed)
        assert boxes_drawn(app) == ["box 0", "box 1"]


def test_hover_tells_each_boxs_loss_once_all_are_pasted(with_run, open_view):
    app = open_view(CUTMIX, run=NAME, pair="1")
    assert "of all boxes" in app.get("plotly_chart")[0].proto.spec
    checked(app.slider(key="pasted").set_value(4).run())
    assert "of all boxes" not in app.get("plotly_chart")[0].proto.spec


def test_pairs_tell_value_direction_and_cost(with_run, open_view):
    app = open_view(PAIRS, run=NAME, n_pair="100")
    assert metric(app, "Exact") == f"{exact_parts(library_probe(with_run)).loss:.5f}"
    assert -1 <= float(metric(app, "Cosine over the parameters")) <= 1
    assert any("100 different pairs" in c.value or "different pairs of" in c.value for c in app.caption)
    checked(app.toggle(key="parameters").set_value(False).run())
    assert not [item for item in app.metric if item.label.startswith("Cosine over the param")]
    checked(app.select_slider(key="n_pair").set_value(9000).run())


def test_a_pixels_classes_grow_with_the_window(with_run, open_view):
    relaxed = []
    for window in ("1", "9"):
        app = open_view(PAIRS, run=NAME, window=window, label_pixel="10-10", labeled="1")
        relaxed.append(float(metric(app, "Pixels with more than one class").rstrip("%")))
        assert any(text.value.startswith("**Row 10, column 10**") for text in app.markdown)
    assert relaxed[0] == 0 < relaxed[1]


def test_the_formula_holds_the_steps_numbers_and_follows_its_knobs(with_run, open_view):
    app = open_view(PLAYGROUND, run=NAME, checkpoint="2", step="3")
    logged = app.dataframe[0].value["logged"].iloc[-1]
    assert f"{logged:.5f}" in app.latex[1].value and app.success
    checked(app.slider(key="structured_weight").set_value(0.0).run())
    assert r"+ 0.000 \cdot" in app.latex[1].value and not app.success


def test_without_a_run_the_playground_plays_with_one_pair(with_run, open_view):
    app = open_view(PLAYGROUND)
    assert "This pair alone" in " ".join(caption.value for caption in app.caption)
    before = metric(app, "Structured, every pair")
    checked(app.slider(key="temperature").set_value(3.0).run())
    assert metric(app, "Structured, every pair") != before
    checked(app.slider(key="threshold").set_value(0.0).run())
    assert metric(app, "Pixels above the threshold") == "100.0%"


def test_the_checkpoints_of_a_run_play(with_run, open_view):
    app = open_view(PLAYGROUND, run=NAME)
    assert app.dataframe[-1].value["step"].tolist() == RunFolder(with_run).checkpoints()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method.structured_region": "whole", "method.structured_on": "logits"}, None),
        ({"method.structured_region": "window", "method.structured_radius": 3}, "at most 3 rows and columns"),
        ({"method.structured_pair_weights": "class_area"}, "of the plain pairs"),
        ({"method.structured_on": "features", "method.structured_teacher": FOREIGN}, f"the features of {FOREIGN}"),
    ],
)
def test_the_page_takes_apart_the_form_that_the_run_trains(copy_run, open_view, settings, told):
    run = copy_run(NAME)
    changed = flatten(RunFolder(run).config()) | {"method.max_pairs": None} | settings
    (run / "config.yaml").write_text(to_yaml(to_dict(load_config((), changed))))
    app = open_view(SIMILARITY, run=NAME, step="3", pair="1")
    probe = library_probe(run)
    assert not any("eq." in item.label for item in app.metric if item.label.startswith("Structured"))
    assert metric(app, "Structured loss") == f"{probe.structured:.5f}"
    sentences = [info.value for info in app.info]
    assert any(told in sentence for sentence in sentences) if told else not sentences
