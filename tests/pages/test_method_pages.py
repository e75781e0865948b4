"""The Method pages through AppTest: what they say without a run, with one, and when an address is out of date."""

import json
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from scl_core.probe import similarity_rows
from tests.method_run import NAME, library_probe
from tests.pages.conftest import checked

CUTMIX, SIMILARITY = "pages/method/cutmix.py", "pages/method/similarity.py"


@pytest.fixture
def no_runs(tmp_runs: Path, monkeypatch) -> None:
    monkeypatch.setenv("SCL_RUNS", str(tmp_runs))
    st.cache_data.clear()


def metric(app: AppTest, label: str) -> str:
    return next(item.value for item in app.metric if item.label.startswith(label))


def boxes_drawn(app: AppTest) -> list[str]:
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    return [trace["name"] for trace in specs[0]["data"] if trace.get("name")]


def test_cutmix_works_without_any_run(no_runs, open_view):
    app = open_view(CUTMIX)
    assert metric(app, "Boxes that show nothing").endswith("of 8")
    assert boxes_drawn(app) == [f"box {number}" for number in range(8)]


def test_the_paste_slider_pastes_one_box_after_another(no_runs, open_view):
    app = open_view(CUTMIX, pasted="3")
    assert boxes_drawn(app) == ["box 0", "box 1", "box 2"]
    checked(app.slider(key="pasted").set_value(4).run())
    assert boxes_drawn(app) == ["box 0", "box 1", "box 2", "box 3"]
    checked(app.slider(key="pasted").set_value(0).run())
    assert metric(app, "Covered by boxes") == "0.0%" and len(app.get("plotly_chart")) == 1


def test_fewer_pasted_boxes_than_the_chosen_one_are_no_error(no_runs, open_view):
    app = open_view(CUTMIX, box="7")
    assert app.number_input(key="box").value == 7
    checked(app.slider(key="pasted").set_value(2).run())
    assert app.number_input(key="box").value in (0, 1)


def test_fewer_boxes_than_are_pasted_are_all_pasted(no_runs, open_view):
    app = open_view(CUTMIX, what_if="true", pasted="7", box="6")
    checked(app.slider(key="boxes").set_value(4).run())
    assert app.slider(key="pasted").value == 4 and app.number_input(key="box").value < 4
    assert boxes_drawn(app) == ["box 0", "box 1", "box 2", "box 3"]


def test_an_address_with_impossible_values_shows_the_page(no_runs, open_view):
    app = open_view(CUTMIX, seed="abc", step="-4", pair="77", what_if="true", boxes="999", box="50", area_mode="none")
    assert len(boxes_drawn(app)) == 8


def test_no_boxes_say_what_to_do(no_runs, open_view):
    app = open_view(CUTMIX, what_if="true", boxes="0")
    assert "Move the slider" in app.info[0].value


def test_loss_boxes_are_the_last_pasted(no_runs, open_view):
    app = open_view(CUTMIX, what_if="true", loss_boxes="2", seed="4")
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    solid = [trace["name"] for trace in spec["data"] if trace.get("name") and trace["line"]["dash"] == "solid"]
    assert solid == ["box 6", "box 7"]


def test_the_seed_draws_other_boxes(no_runs, open_view):
    shares = {metric(open_view(CUTMIX, seed=seed), "Covered by boxes") for seed in ("0", "1", "2")}
    assert len(shares) > 1


def test_similarity_without_a_run_says_that_the_networks_are_untrained(no_runs, open_view):
    app = open_view(SIMILARITY)
    assert "untrained" in app.info[0].value
    assert metric(app, "Loss boxes") == "8 of 8"


def test_a_run_of_the_address_that_is_gone_is_said(no_runs, open_view):
    app = open_view(SIMILARITY, run="gone")
    assert any("not in the runs folder" in warning.value for warning in app.warning)


def test_the_pages_loss_is_the_librarys(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, step="3", pair="0")
    probe = library_probe(with_run, step=3, pair=0)
    assert metric(app, "Structured loss") == f"{probe.structured:.5f}"
    assert metric(app, "Pixel-wise consistency") == f"{probe.consistency:.5f}"
    assert metric(app, "Loss boxes") == "4 of 5"
    total = f"{probe.structured:.6f}"
    assert app.latex[0].value.count(total) == 2, "the boxes' terms add up to the loss"


def test_the_table_ranks_the_boxes_by_what_they_add(with_run, open_view):
    table = open_view(SIMILARITY, run=NAME).dataframe[0].value
    probe = library_probe(with_run)
    assert table["loss"].is_monotonic_decreasing
    assert {row.box: pytest.approx(row.loss, rel=1e-5) for row in table.itertuples()} == {
        box.number: box.loss for box in probe.report if box.in_loss
    }


def test_a_pair_of_pixels_in_the_address_shows_its_numbers(with_run, open_view):
    probe = library_probe(with_run)
    box = max((box for box in probe.report if box.in_loss), key=lambda box: box.visible)
    places = probe.shown(box.number).nonzero().tolist()
    first, second = places[0], places[-1]
    app = open_view(
        SIMILARITY, run=NAME, box=str(box.number), pixel="{}-{}".format(*first), second="{}-{}".format(*second)
    )
    teacher, student = similarity_rows(probe, box.number, *first)
    at = (second[0] - box.top, second[1] - box.left)
    assert metric(app, "Teacher") == f"{teacher[at]:.4f}"
    assert metric(app, "Student") == f"{student[at]:.4f}"
    assert metric(app, "(aˢ") == f"{np.square(float(student[at]) - float(teacher[at])):.6f}"


@pytest.mark.parametrize("pixel", ["5000-1", "x-y", "-1-2", "", "1-2-3"])
def test_a_pixel_that_the_box_does_not_show_is_replaced_by_one_that_it_does(with_run, open_view, pixel):
    app = open_view(SIMILARITY, run=NAME, pixel=pixel)
    heading = next(item.value for item in app.subheader if item.value.startswith("Pixel 1"))
    row, column = (int(part.split()[1]) for part in heading.split(":")[0].split(", ")[1:])
    assert library_probe(with_run).shown(int(app.selectbox(key="box").value))[row, column]


def test_order_and_stride_are_said(with_run, open_view):
    app = open_view(SIMILARITY, run=NAME, order="row by row")
    assert any("stride" in caption.value for caption in app.caption)


def test_a_run_without_checkpoint_shows_its_untrained_networks(with_run, tmp_runs, monkeypatch, open_view):
    (tmp_runs / NAME).mkdir()
    for name in ("config.yaml", "status.json", "environment.json", "resolved.txt", "metrics.jsonl"):
        (tmp_runs / NAME / name).write_bytes((with_run / name).read_bytes())
    monkeypatch.setenv("SCL_RUNS", str(tmp_runs))
    st.cache_data.clear()
    app = open_view(SIMILARITY, run=NAME, step="1")
    assert "untrained" in app.info[0].value
    assert "row 1 of metrics.jsonl" in app.success[0].value, "the first weights are those before step 1"


def test_a_damaged_checkpoint_is_told_in_a_line(with_run, tmp_runs, monkeypatch, open_view):
    target = tmp_runs / NAME
    for file in with_run.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(with_run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(b"torn" if file.suffix == ".safetensors" else file.read_bytes())
    monkeypatch.setenv("SCL_RUNS", str(tmp_runs))
    st.cache_data.clear()
    app = open_view(SIMILARITY, run=NAME)
    assert app.error and "Traceback" not in app.code[0].value
