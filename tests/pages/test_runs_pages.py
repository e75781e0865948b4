"""The pages of the Runs section, driven through the app: empty states, error states, every control."""

import json
import shutil
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from scl_core import launch
from scl_core.config import flat_fields
from scl_core.runs.processes import describe_process
from tests.fake_runs import CLASSES, NASTY_NAME, write_json, write_run

COMPARE, LAUNCH = "pages/runs/compare.py", "pages/runs/launch.py"


@pytest.fixture
def root(tmp_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCL_RUNS", str(tmp_runs))
    st.cache_data.clear()
    return tmp_runs


@pytest.fixture
def open_page(root: Path, project_root: Path):
    """`open_page(page, run="a")` starts the app, goes to a page and returns it after a run without an exception."""

    def open_page(page: str | None = None, **query: str | list[str]) -> AppTest:
        app = AppTest.from_file(project_root / "app.py", default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        if page is not None:
            app.switch_page(page)
        return run(app)

    return open_page


def run(app: AppTest) -> AppTest:
    st.cache_data.clear()
    app.run()
    assert not app.exception, app.exception
    return app


def start_running(folder: Path) -> None:
    """Make this test's own process the one that works on the run, seen working a moment ago."""
    write_json(folder / "process.json", describe_process())


def charts(app: AppTest) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def titles(app: AppTest) -> list[str]:
    return [chart["layout"]["title"]["text"] for chart in charts(app)]


def texts(elements) -> str:
    return "\n".join(element.value for element in elements)


# Overview


def test_without_runs_the_overview_leads_to_the_launch_page(open_page):
    app = open_page()
    assert "No run yet" in texts(app.subheader)
    next(button for button in app.button if button.label == "Launch the first run").click().run()
    assert not app.exception
    assert app.title[0].value == "Launch a run"


def test_the_table_shows_state_step_and_scores_of_every_run(root, open_page):
    write_run(root, "a-done")
    write_run(root, "b-labels-alone", method="supervised", state="stopped", step=100)
    table = open_page().dataframe[0].value
    assert table["Run"].tolist() == ["b-labels-alone", "a-done"]
    assert table["State"].tolist() == ["■ stopped", "✔ finished"]
    assert table["Step"].tolist() == ["100 / 400", "400 / 400"]
    assert table["Best teacher"].isna().tolist() == [True, False]
    assert 40 < table["Last student"][1] < 70


def test_a_broken_folder_stands_beside_the_good_ones(root, open_page):
    write_run(root, "good")
    (root / "broken").mkdir()
    (root / "broken" / "config.yaml").write_text(": : :\n\t{")
    app = open_page(run="broken")
    assert app.dataframe[0].value["State"].tolist() == ["✔ finished", "⚠ unreadable"]
    assert "cannot be read" in texts(app.warning) and "config.yaml" in texts(app.code)
    app.selectbox(key="run").select("good")
    assert "mIoU" in titles(run(app))


@pytest.mark.parametrize(
    ("words", "left"), [("done", ["a-done"]), ("SCL camvid", []), ("supervised scenes", ["b-stopped"]), ("", None)]
)
def test_filter_by_words(root, open_page, words, left):
    write_run(root, "a-done")
    write_run(root, "b-stopped", method="supervised", state="stopped", step=100)
    app = open_page()
    app.text_input(key="filter").input(words)
    run(app)
    shown = app.dataframe[0].value["Run"].tolist() if app.dataframe else []
    assert shown == (["b-stopped", "a-done"] if left is None else left)
    assert bool(app.info) == (left == [])


def test_filter_by_state_and_method(root, open_page):
    write_run(root, "a-done")
    write_run(root, "b-stopped", method="supervised", state="stopped", step=100)
    app = open_page()
    app.multiselect(key="states").select("stopped")
    assert run(app).dataframe[0].value["Run"].tolist() == ["b-stopped"]
    app.multiselect(key="states").unselect("stopped")
    app.multiselect(key="methods").select("scl")
    assert run(app).dataframe[0].value["Run"].tolist() == ["a-done"]
    shutil.rmtree(root / "a-done")
    assert run(app).dataframe[0].value["Run"].tolist() == ["b-stopped"]


def test_the_address_picks_the_run_and_shows_all_of_it(root, open_page):
    write_run(root, "first")
    write_run(root, "second", state="failed", step=150, reason="Fault: step 151: loss not finite")
    app = open_page(run="second")
    assert app.selectbox(key="run").value == "second"
    values = {metric.label: metric.value for metric in app.metric}
    assert values["State"] == "✖ failed" and values["Best mIoU"].endswith("%")
    assert "Fault: step 151" in texts(app.code) and "failed" in texts(app.error)
    assert titles(app) == ["Loss terms", "mIoU", "Learning rate"]
    assert "structured_weight: 2.0" in texts(app.code)
    assert app.button(key="resume").disabled


def test_the_picked_run_stays_when_another_run_arrives(root, open_page):
    write_run(root, "b-mine")
    app = open_page(run="b-mine")
    write_run(root, "c-newer")
    run(app)
    assert app.selectbox(key="run").value == "b-mine"
    assert app.dataframe[0].value["Run"].tolist() == ["c-newer", "b-mine"]


def test_a_deleted_run_is_said_and_the_others_stay(root, open_page):
    write_run(root, "here")
    app = open_page(run="gone")
    assert "not in the runs folder" in texts(app.warning) and "gone" in texts(app.code)
    assert app.selectbox(key="run").value is None

    app.selectbox(key="run").select("here")
    run(app)
    write_run(root, "other")
    shutil.rmtree(root / "here")
    run(app)
    assert "not in the runs folder" in texts(app.warning)
    assert app.selectbox(key="run").options == ["other"]


def test_a_run_whose_process_is_gone_is_lost(root, open_page):
    write_run(root, "orphan", state="running", step=100)
    app = open_page(run="orphan")
    assert "lost" in app.metric[0].value
    assert not [button for button in app.button if button.key == "stop"]


def test_a_running_run_is_live_until_paused_and_can_be_stopped(root, open_page, monkeypatch):
    start_running(write_run(root, "busy", state="running", step=100))
    asked = []
    monkeypatch.setattr(launch, "request_stop", lambda path: asked.append(Path(path)))
    app = open_page(run="busy")
    assert app.toggle(key="live").value and "left" in app.get("progress")[0].proto.text
    app.toggle(key="live").set_value(False)
    run(app)
    app.button(key="stop").click()
    run(app)
    assert asked == [root / "busy"]


def test_a_run_that_was_asked_to_stop_can_be_killed(root, open_page, monkeypatch):
    start_running(write_run(root, "busy", state="running", step=100))
    (root / ".launch").mkdir()
    write_json(root / ".launch" / "busy.stop.json", describe_process())
    killed = []
    monkeypatch.setattr(launch, "kill", lambda path: killed.append(Path(path)))
    app = open_page(run="busy")
    assert "stopping" in app.metric[0].value
    assert not [button for button in app.button if button.key == "stop"]
    app.button(key="kill").click()
    run(app)
    assert killed == [root / "busy"]


def test_a_stopped_run_with_a_checkpoint_is_resumed_on_as_many_processes(root, open_page, monkeypatch):
    folder = write_run(root, "paused", state="stopped", step=100)
    write_json(folder / "environment.json", {"world_size": 2})
    (folder / "checkpoints" / "00000100").mkdir(parents=True)
    resumed = []
    monkeypatch.setattr(launch, "resume", lambda path, processes: resumed.append((Path(path), processes)))
    app = open_page(run="paused")
    app.button(key="resume").click()
    run(app)
    assert resumed == [(folder, 2)]


def test_an_action_that_fails_says_so_in_plain_words(root, open_page):
    folder = write_run(root, "busy", state="running", step=100)
    start_running(folder)
    app = open_page(run="busy")
    (folder / "process.json").unlink()
    app.button(key="stop").click()
    run(app)
    assert "did not work" in texts(app.error) and "no process" in texts(app.code)


def test_smoothing_and_log_axis_reach_the_figure(root, open_page):
    write_run(root, "a")
    app = open_page(run="a")
    smooth_traces = len(charts(app)[0]["data"])
    app.slider(key="smoothing").set_value(0.0)
    app.toggle(key="log_scale").set_value(True)
    figure = charts(run(app))[0]
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert len(figure["data"]) == smooth_traces // 2


def test_a_name_is_shown_as_text_alone(root, open_page):
    name = NASTY_NAME.replace("/", "_")
    write_run(root, name, reason=NASTY_NAME, state="stopped", classes=("Sky", NASTY_NAME))
    for app in (open_page(run=name), open_page(COMPARE, runs=name)):
        read = texts([*app.markdown, *app.caption, *app.error, *app.info, *app.warning, *app.subheader, *app.title])
        assert "onerror" not in read
        labels = [widget.label for widget in [*app.button, *app.metric, *app.toggle, *app.tabs]]
        assert not [label for label in labels if "onerror" in label]


# Launch


def test_the_form_shows_the_command_and_what_changes_it(root, open_page):
    app = open_page(LAUNCH)
    assert "scl_core.train" in app.code[0].value and str(root) in app.code[0].value
    field(app, "train.steps").set_value(77)
    run(app)
    assert "--train.steps 77" in app.code[0].value
    assert not app.button(key="start").disabled


def field(app: AppTest, key: str):
    """The widget of a setting, whatever it is."""
    widgets = [*app.number_input, *app.text_input, *app.selectbox, *app.toggle]
    return next(widget for widget in widgets if widget.key.endswith("|" + key))


def test_every_setting_of_the_method_and_data_has_its_widget(open_page):
    app = open_page(LAUNCH)
    for setting in flat_fields("scl", "scenes"):
        if setting.key not in ("run_dir", "method.name", "data.name", "train.stop_at"):
            field(app, setting.key)


@pytest.mark.parametrize("name", ["../outside", "--help; rm -rf", "a b", ".hidden", "x" * 101])
def test_a_run_name_that_cannot_be_is_refused_in_place(open_page, name):
    app = open_page(LAUNCH)
    app.text_input(key="run_name").input(name)
    run(app)
    assert "cannot start" in texts(app.error) and "run name" in texts(app.code)
    assert app.button(key="start").disabled


def test_a_wrong_combination_of_settings_is_said_before_the_start(open_page):
    app = open_page(LAUNCH)
    field(app, "method.num_boxes").set_value(2)
    field(app, "method.num_loss_boxes").set_value(5)
    run(app)
    assert "num_loss_boxes 5" in texts(app.code) and app.button(key="start").disabled


def test_a_data_folder_that_is_not_there_starts_nothing(root, open_page):
    app = open_page(LAUNCH)
    next(box for box in app.selectbox if box.label == "Data").select("folder")
    run(app)
    field(app, "data.root").input(str(root / "nowhere"))
    run(app)
    app.button(key="start").click()
    run(app)
    assert "cannot start" in texts(app.error) and "nowhere" in texts(app.code)
    assert not list(root.iterdir())


def test_start_hands_the_form_over_and_leads_to_the_run(root, open_page, monkeypatch):
    started = []

    def pretend(config: dict, path: Path, processes: int) -> None:
        started.append((config["train"]["steps"], path, processes))
        write_run(root, path.name, state="stopped", step=0)

    monkeypatch.setattr(launch, "launch", pretend)
    app = open_page(LAUNCH)
    app.text_input(key="run_name").input("mine")
    app.number_input(key="processes").set_value(2)
    field(app, "train.steps").set_value(77)
    run(app)
    app.button(key="start").click()
    run(app)
    assert started == [(77, root / "mine", 2)]
    assert app.title[0].value == "Runs" and app.selectbox(key="run").value == "mine"


def test_a_name_that_is_taken_is_refused_with_the_way_to_go_on(root, open_page):
    write_run(root, "mine")
    app = open_page(LAUNCH)
    app.text_input(key="run_name").input("mine")
    run(app)
    app.button(key="start").click()
    run(app)
    assert "cannot start" in texts(app.error) and "--resume" in texts(app.code)


def test_a_free_name_is_proposed(root, open_page):
    proposed = open_page(LAUNCH).text_input(key="run_name").placeholder
    write_run(root, proposed)
    assert open_page(LAUNCH).text_input(key="run_name").placeholder == proposed + "-2"


# Compare


def test_nothing_to_compare_leads_to_the_launch_page(root, open_page):
    write_run(root, "young", step=10)
    app = open_page(COMPARE)
    assert "no evaluation" in texts(app.info)
    app.button[0].click().run()
    assert app.title[0].value == "Launch a run"


def test_two_runs_class_by_class_largest_gain_first(root, open_page):
    write_run(root, "plain", method="supervised")
    write_run(root, "better", gain=0.05)
    app = open_page(COMPARE, runs=["plain", "better"])
    summary, classes = (table.value for table in app.dataframe[:2])
    assert summary["Run"].tolist() == ["plain", "better"] and summary["Network"].tolist() == ["student", "teacher"]
    deltas = classes[classes.columns[-1]]
    assert deltas.dropna().is_monotonic_decreasing
    assert set(classes["Class"]) == set(CLASSES) and classes["Class"].iloc[-1] == "Train"
    assert classes.iloc[-1, 1:].isna().all()
    assert not app.warning
    assert titles(app) == ["IoU difference", "IoU by class", "mIoU"]


def test_networks_of_one_run_are_compared_at_its_last_step(root, open_page):
    write_run(root, "one")
    app = open_page(COMPARE, runs="one")
    assert app.dataframe[0].value["Network"].tolist() == ["teacher", "student"]
    assert app.dataframe[0].value["Step"].tolist() == [400, 400]
    assert "second run" in texts(app.info)


def test_any_evaluations_can_be_picked(root, open_page):
    write_run(root, "one")
    app = open_page(COMPARE, runs="one")
    picker = app.multiselect[1]
    for label in list(picker.value):
        picker.unselect(label)
    picker.select("A · student · val · step 200").select("A · student · val · step 400")
    run(app)
    assert app.dataframe[1].value.columns.tolist() == ["Class", "step 200", "step 400", "Δ step 400"]
    for label in list(app.multiselect[1].value):
        app.multiselect[1].unselect(label)
    assert "at least one evaluation" in texts(run(app).info)


def test_scores_on_other_pictures_are_not_compared_in_silence(root, open_page):
    write_run(root, "a")
    write_run(root, "b", list_hash="ffffffffffff")
    app = open_page(COMPARE, runs=["a", "b"])
    assert "different pictures" in texts(app.warning)


def test_settings_show_the_differences_or_all(root, open_page):
    write_run(root, "a", seed=0)
    write_run(root, "b", seed=1)
    app = open_page(COMPARE, runs=["a", "b"])
    assert app.dataframe[-1].value["Setting"].tolist() == ["seed"]
    app.toggle(key="only_differences").set_value(False)
    assert "train.steps" in run(app).dataframe[-1].value["Setting"].tolist()


def test_a_run_that_is_deleted_meanwhile_leaves_the_comparison(root, open_page):
    write_run(root, "a")
    write_run(root, "b")
    app = open_page(COMPARE, runs=["a", "b"])
    shutil.rmtree(root / "b")
    run(app)
    assert app.dataframe[0].value["Run"].unique().tolist() == ["a"]


def test_a_run_of_the_address_that_is_gone_does_not_hide_the_others(root, open_page):
    write_run(root, "a")
    app = open_page(COMPARE, runs=["a", "gone"])
    assert app.dataframe[0].value["Run"].unique().tolist() == ["a"]
