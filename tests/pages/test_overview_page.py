"""The overview through AppTest: empty and error states, the table, one run in full, and what its buttons do."""

import shutil
from pathlib import Path

import pytest

from scl_core import launch
from scl_core.runs.processes import describe_process
from tests.fake_runs import NASTY_NAME, write_json, write_run
from tests.pages.conftest import charts, run, start_running, texts, titles

COMPARE = "pages/runs/compare.py"


def test_without_runs_the_overview_leads_to_the_launch_page(visit):
    app = visit()
    assert "No run yet" in texts(app.subheader)
    next(button for button in app.button if button.label == "Launch the first run").click().run()
    assert not app.exception
    assert app.title[0].value == "Launch a run"


def test_the_table_shows_state_step_and_scores_of_every_run(runs, visit):
    write_run(runs, "a-done")
    write_run(runs, "b-labels-alone", method="supervised", state="stopped", step=100)
    table = visit().dataframe[0].value
    assert table["Run"].tolist() == ["b-labels-alone", "a-done"]
    assert table["State"].tolist() == ["■ stopped", "✔ finished"]
    assert table["Step"].tolist() == ["100 / 400", "400 / 400"]
    assert table["Best teacher"].isna().tolist() == [True, False]
    assert 40 < table["Last student"][1] < 70


def test_a_broken_folder_stands_beside_the_good_ones(runs, visit):
    write_run(runs, "good")
    (runs / "broken").mkdir()
    (runs / "broken" / "config.yaml").write_text(": : :\n\t{")
    app = visit(run="broken")
    assert app.dataframe[0].value["State"].tolist() == ["✔ finished", "⚠ unreadable"]
    assert "cannot be read" in texts(app.warning) and "config.yaml" in texts(app.code)
    app.selectbox(key="run").select("good")
    assert "mIoU" in titles(run(app))


@pytest.mark.parametrize(
    ("words", "left"), [("done", ["a-done"]), ("SCL camvid", []), ("supervised scenes", ["b-stopped"]), ("", None)]
)
def test_filter_by_words(runs, visit, words, left):
    write_run(runs, "a-done")
    write_run(runs, "b-stopped", method="supervised", state="stopped", step=100)
    app = visit()
    app.text_input(key="filter").input(words)
    run(app)
    shown = app.dataframe[0].value["Run"].tolist() if app.dataframe else []
    assert shown == (["b-stopped", "a-done"] if left is None else left)
    assert bool(app.info) == (left == [])


def test_filter_by_state_and_method(runs, visit):
    write_run(runs, "a-done")
    write_run(runs, "b-stopped", method="supervised", state="stopped", step=100)
    app = visit()
    app.multiselect(key="states").select("stopped")
    assert run(app).dataframe[0].value["Run"].tolist() == ["b-stopped"]
    app.multiselect(key="states").unselect("stopped")
    app.multiselect(key="methods").select("scl")
    assert run(app).dataframe[0].value["Run"].tolist() == ["a-done"]
    shutil.rmtree(runs / "a-done")
    assert run(app).dataframe[0].value["Run"].tolist() == ["b-stopped"]


def test_the_address_picks_the_run_and_shows_all_of_it(runs, visit):
    write_run(runs, "first")
    write_run(runs, "second", state="failed", step=150, reason="Fault: step 151: loss not finite")
    app = visit(run="second")
    assert app.selectbox(key="run").value == "second"
    values = {metric.label: metric.value for metric in app.metric}
    assert values["State"] == "✖ failed" and values["Best mIoU"].endswith("%")
    assert "Fault: step 151" in texts(app.code) and "failed" in texts(app.error)
    assert titles(app) == ["Loss terms", "mIoU", "Learning rate"]
    assert "structured_weight: 2.0" in texts(app.code)
    assert app.button(key="resume").disabled


def test_the_picked_run_stays_when_another_run_arrives(runs, visit):
    write_run(runs, "b-mine")
    app = visit(run="b-mine")
    write_run(runs, "c-newer")
    run(app)
    assert app.selectbox(key="run").value == "b-mine"
    assert app.dataframe[0].value["Run"].tolist() == ["c-newer", "b-mine"]


def test_a_deleted_run_is_said_and_the_others_stay(runs, visit):
    write_run(runs, "here")
    app = visit(run="gone")
    assert "not in the runs folder" in texts(app.warning) and "gone" in texts(app.code)
    assert app.selectbox(key="run").value is None

    app.selectbox(key="run").select("here")
    run(app)
    write_run(runs, "other")
    shutil.rmtree(runs / "here")
    run(app)
    assert "not in the runs folder" in texts(app.warning)
    assert app.selectbox(key="run").options == ["other"]


def test_a_run_whose_process_is_gone_is_lost(runs, visit):
    write_run(runs, "orphan", state="running", step=100)
    app = visit(run="orphan")
    assert "lost" in app.metric[0].value
    assert not [button for button in app.button if button.key == "stop"]


def test_a_running_run_is_live_until_paused_and_can_be_stopped(runs, visit, monkeypatch):
    start_running(write_run(runs, "busy", state="running", step=100))
    asked = []
    monkeypatch.setattr(launch, "request_stop", lambda path: asked.append(Path(path)))
    app = visit(run="busy")
    assert app.toggle(key="live").value and "left" in app.get("progress")[0].proto.text
    app.toggle(key="live").set_value(False)
    run(app)
    app.button(key="stop").click()
    run(app)
    assert asked == [runs / "busy"]


def test_a_run_that_was_asked_to_stop_can_be_killed(runs, visit, monkeypatch):
    start_running(write_run(runs, "busy", state="running", step=100))
    (runs / ".launch").mkdir()
    write_json(runs / ".launch" / "busy.stop.json", describe_process())
    killed = []
    monkeypatch.setattr(launch, "kill", lambda path: killed.append(Path(path)))
    app = visit(run="busy")
    assert "stopping" in app.metric[0].value
    assert not [button for button in app.button if button.key == "stop"]
    app.button(key="kill").click()
    run(app)
    assert killed == [runs / "busy"]


def test_a_stopped_run_with_a_checkpoint_is_resumed_on_as_many_processes(runs, visit, monkeypatch):
    folder = write_run(runs, "paused", state="stopped", step=100)
    write_json(folder / "environment.json", {"world_size": 2})
    (folder / "checkpoints" / "00000100").mkdir(parents=True)
    resumed = []
    monkeypatch.setattr(launch, "resume", lambda path, processes: resumed.append((Path(path), processes)))
    app = visit(run="paused")
    app.button(key="resume").click()
    run(app)
    assert resumed == [(folder, 2)]


def test_an_action_that_fails_says_so_in_plain_words(runs, visit):
    folder = write_run(runs, "busy", state="running", step=100)
    start_running(folder)
    app = visit(run="busy")
    (folder / "process.json").unlink()
    app.button(key="stop").click()
    run(app)
    assert "did not work" in texts(app.error) and "no process" in texts(app.code)


def test_smoothing_and_log_axis_reach_the_figure(runs, visit):
    write_run(runs, "a")
    app = visit(run="a")
    smooth_traces = len(charts(app)[0]["data"])
    app.slider(key="smoothing").set_value(0.0)
    app.toggle(key="log_scale").set_value(True)
    figure = charts(run(app))[0]
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert len(figure["data"]) == smooth_traces // 2


def test_a_name_is_shown_as_text_alone(runs, visit):
    name = NASTY_NAME.replace("/", "_")
    write_run(runs, name, reason=NASTY_NAME, state="stopped", classes=("Sky", NASTY_NAME))
    for app in (visit(run=name), visit(COMPARE, runs=name)):
        read = texts([*app.markdown, *app.caption, *app.error, *app.info, *app.warning, *app.subheader, *app.title])
        assert "onerror" not in read
        labels = [widget.label for widget in [*app.button, *app.metric, *app.toggle, *app.tabs]]
        assert not [label for label in labels if "onerror" in label]
