"""The demo on the overview: offered, started, watched to its comparison, stopped; and the recorded one."""

from pathlib import Path

import pytest
import streamlit as st

from scl_core import demo, launch
from scl_core.errors import UserError
from tests.fake_runs import write_run
from tests.pages.conftest import run, start_running, texts


def press(app, label: str):
    next(button for button in app.button if button.label == label).click()
    return run(app)


@pytest.fixture
def training(runs: Path):
    """A demo whose first run trains while the second waits."""
    start_running(write_run(runs, "demo-supervised", method="supervised", state="running", steps=600, step=150))
    return runs


def test_the_recorded_demo_is_copied_and_compared(runs, visit):
    app = press(visit(), "Look at the recorded demo")
    assert app.title[0].value == "Compare"
    assert sorted(path.name for path in runs.iterdir()) == ["demo-scl-recorded", "demo-supervised-recorded"]
    assert sorted(app.multiselect(key="runs").value) == ["demo-scl-recorded", "demo-supervised-recorded"]


def test_a_runs_folder_that_cannot_be_written_is_said_in_place(runs, visit, monkeypatch):
    monkeypatch.setenv("SCL_RUNS", str(runs / "file"))
    (runs / "file").write_text("")
    app = press(visit(), "Look at the recorded demo")
    assert "demo did not start" in texts(app.error) and "cannot be copied" in texts(app.code)


def test_a_demo_that_cannot_start_says_why(runs, visit, monkeypatch):
    def refuse(*_):
        raise UserError("run demo-scl is there already")

    monkeypatch.setattr(demo, "start", refuse)
    app = press(visit(), "Run the demo")
    assert "demo did not start" in texts(app.error) and "there already" in texts(app.code)


def test_the_demo_starts_with_the_settings_of_the_environment(runs, visit, monkeypatch):
    started = []
    monkeypatch.setenv("SCL_DEMO_CONFIG", "short.yaml")
    monkeypatch.setattr(demo, "start", lambda *given: started.append(given))
    press(visit(), "Run the demo")
    assert started == [(runs, ["short.yaml"])]


def test_progress_then_the_comparison(training, visit):
    app = visit()
    bars = [bar.proto.text for bar in app.get("progress")]
    assert bars[0].startswith("demo-supervised: ▶ running, step 150 of 600") and bars[1].startswith("demo-scl")
    assert "left" in texts(app.caption)
    write_run(training, "demo-scl")
    (training / "demo-supervised" / "status.json").write_text('{"state": "finished", "step": 600, "steps": 600}')
    st.cache_data.clear()
    assert run(app).title[0].value == "Compare"
    assert sorted(app.multiselect(key="runs").value) == ["demo-scl", "demo-supervised"]


def test_stopping_the_demo_asks_each_run_that_works(training, visit, monkeypatch):
    asked = []
    monkeypatch.setattr(launch, "request_stop", lambda path: asked.append(Path(path).name))
    app = visit()
    next(button for button in app.button if button.label == "Stop the demo").click()
    run(app)
    assert asked == ["demo-supervised"]


def test_finished_demo_runs_do_not_lead_away(runs, visit):
    write_run(runs, "demo-supervised", method="supervised")
    write_run(runs, "demo-scl")
    assert visit().title[0].value == "Runs"
