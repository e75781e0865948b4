"""The launch page through AppTest: every setting has its widget, mistakes are said in place, the start hands over."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from scl_core import launch
from scl_core.config import flat_fields
from tests.fake_runs import write_run
from tests.pages.conftest import run, texts

LAUNCH = "pages/runs/launch.py"


def test_the_form_shows_the_command_and_what_changes_it(runs, visit):
    app = visit(LAUNCH)
    assert "scl_core.train" in app.code[0].value and str(runs) in app.code[0].value
    field(app, "train.steps").set_value(77)
    run(app)
    assert "--train.steps 77" in app.code[0].value
    assert not app.button(key="start").disabled


def field(app: AppTest, key: str):
    """The widget of a setting, whatever it is."""
    widgets = [*app.number_input, *app.text_input, *app.selectbox, *app.toggle]
    return next(widget for widget in widgets if widget.key.endswith("|" + key))


def test_every_setting_of_the_method_and_data_has_its_widget(visit):
    app = visit(LAUNCH)
    for setting in flat_fields("scl", "scenes"):
        if setting.key not in ("run_dir", "method.name", "data.name", "train.stop_at"):
            field(app, setting.key)


@pytest.mark.parametrize("name", ["../outside", "--help; rm -rf", "a b", ".hidden", "x" * 101])
def test_a_run_name_that_cannot_be_is_refused_in_place(visit, name):
    app = visit(LAUNCH)
    app.text_input(key="run_name").input(name)
    run(app)
    assert "cannot start" in texts(app.error) and "run name" in texts(app.code)
    assert app.button(key="start").disabled


def test_a_wrong_combination_of_settings_is_said_before_the_start(visit):
    app = visit(LAUNCH)
    field(app, "method.num_boxes").set_value(2)
    field(app, "method.num_loss_boxes").set_value(5)
    run(app)
    assert "num_loss_boxes 5" in texts(app.code) and app.button(key="start").disabled


def test_a_data_folder_that_is_not_there_starts_nothing(runs, visit):
    app = visit(LAUNCH)
    next(box for box in app.selectbox if box.label == "Data").select("folder")
    run(app)
    field(app, "data.root").input(str(runs / "nowhere"))
    run(app)
    app.button(key="start").click()
    run(app)
    assert "cannot start" in texts(app.error) and "nowhere" in texts(app.code)
    assert not list(runs.iterdir())


def test_start_hands_the_form_over_and_leads_to_the_run(runs, visit, monkeypatch):
    started = []

    def pretend(config: dict, path: Path, processes: int) -> None:
        started.append((config["train"]["steps"], path, processes))
        write_run(runs, path.name, state="stopped", step=0)

    monkeypatch.setattr(launch, "launch", pretend)
    app = visit(LAUNCH)
    app.text_input(key="run_name").input("mine")
    app.number_input(key="processes").set_value(2)
    field(app, "train.steps").set_value(77)
    run(app)
    app.button(key="start").click()
    run(app)
    assert started == [(77, runs / "mine", 2)]
    assert app.title[0].value == "Runs" and app.selectbox(key="run").value == "mine"


def test_a_name_that_is_taken_is_refused_with_the_way_to_go_on(runs, visit):
    write_run(runs, "mine")
    app = visit(LAUNCH)
    app.text_input(key="run_name").input("mine")
    run(app)
    app.button(key="start").click()
    run(app)
    assert "cannot start" in texts(app.error) and "--resume" in texts(app.code)


def test_a_free_name_is_proposed(runs, visit):
    proposed = visit(LAUNCH).text_input(key="run_name").placeholder
    write_run(runs, proposed)
    assert visit(LAUNCH).text_input(key="run_name").placeholder == proposed + "-2"
