"""The page on the methods beside SCL through AppTest, on real runs of a few steps of four of them."""

import json
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from scl_core.command_line import run_command
from scl_core.train import main as train
from tests.tiny import tiny_options

OTHERS = "pages/method/others.py"
SETTINGS = {
    "cps": {},
    "pcr": {"method__start": 0.0, "method__grid": 8},
    "rc2l_pp": {"method__min_area": 1, "method__num_boxes": 2},
    "unimatch": {"method__confidence_threshold": 0.2},
    "supervised": {},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in SETTINGS.items():
        few = {"train__steps": 4, "train__checkpoint_every": 2, "train__evaluate_every": 4}
        assert run_command(train, tiny_options(folder / name, method__name=name, **few, **settings)) == 0
    return folder


@pytest.fixture
def open_page(project_root: Path, runs: Path, monkeypatch):
    def open_page(**query: str) -> AppTest:
        monkeypatch.setenv("SCL_RUNS", str(runs))
        st.cache_data.clear()
        app = AppTest.from_file(project_root / "app.py", default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        app.switch_page(OTHERS)
        app.run()
        assert not app.exception, app.exception
        return app

    return open_page


def titles(app: AppTest) -> list[str]:
    """The titles of the panels and the names of the traces, of every chart."""
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    panels = [note["text"] for chart in charts for note in chart["layout"].get("annotations", [])]
    return panels + [trace["name"] for chart in charts for trace in chart["data"] if trace.get("name")]


def said(app: AppTest) -> str:
    return " ".join(item.value for item in [*app.markdown, *app.info, *app.caption, *app.text])


def test_without_a_run_it_says_which_methods_there_are(open_page):
    assert "Pick a run of one of these methods: cps, pcr, rc2l, rc2l_pp, fixmatch, unimatch" in said(open_page())


def test_a_run_of_another_method_is_named(open_page):
    assert "supervised is of method supervised; pick a run" in said(open_page(run="supervised"))


def test_cps_shows_both_networks_and_their_agreement_by_class_over_the_checkpoints(open_page):
    app = open_page(run="cps", pair="0")
    assert {"first network", "second network", "where they differ"} <= set(titles(app))
    lines = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")][1]["data"]
    assert lines and "that the run keeps (2)" in said(app)


def test_pcr_shows_prototypes_and_the_sampled_pixels(open_page):
    app = open_page(run="pcr", pair="0")
    assert {"linear predictor", "prototype predictor", "sampled pixels, kept ones white"} <= set(titles(app))
    assert "sampled pixels" in said(app) and len(app.get("plotly_chart")) == 2


def test_rc2l_marks_the_positive_of_each_region(open_page):
    app = open_page(run="rc2l_pp", pair="0")
    assert "the teacher's regions" in titles(app) and "positive" in titles(app)


def test_unimatch_shows_both_strong_views(open_page):
    found = titles(open_page(run="unimatch", pair="0"))
    assert [title for title in found if title.startswith("strong view")][1].startswith("strong view 2")
