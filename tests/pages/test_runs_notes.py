"""Tags, notes, sorting and the archive on the overview; what a broken-off run says."""

import time

from scl_core.runs import Notes, archived, read_notes, write_notes
from tests.fake_runs import write_json, write_lines, write_run
from tests.pages.conftest import run, start_running, texts


def listed(app) -> list[str]:
    return app.dataframe[0].value["Run"].tolist()


def press(app, label: str):
    next(button for button in app.button if button.label == label).click()
    return run(app)


def test_tags_and_note_are_saved_and_filter_the_table(runs, visit):
    folder = write_run(runs, "a")
    write_run(runs, "b")
    write_notes(runs / "b", Notes(("old",), "first try"))
    app = visit(run="a")
    next(box for box in app.multiselect if box.label == "Tags").set_value(["old"])
    app.text_area[0].input("looks good")
    press(app, "Save")
    assert read_notes(folder) == Notes(("old",), "looks good")
    assert app.dataframe[0].value["Note"].tolist() == ["first try", "looks good"]
    app.multiselect(key="tags").select("old")
    app.text_input(key="filter").input("GOOD$")
    assert listed(run(app)) == ["a"]


def test_a_note_that_cannot_be_saved_says_why(runs, visit, monkeypatch):
    folder = write_run(runs, "a")
    app = visit(run="a")
    (folder / "notes.json").mkdir()
    press(app, "Save")
    assert "not saved" in texts(app.error) and "cannot be written" in texts(app.code)


def test_a_pattern_and_what_is_none(runs, visit):
    for name in ("a-s0", "a-s1", "b-s0", "c-(x"):
        write_run(runs, name)
    app = visit(filter="^a s[01] ")
    assert listed(app) == ["a-s1", "a-s0"]
    app.text_input(key="filter").input("(x")
    assert listed(run(app)) == ["c-(x"]


def test_sorting_by_score_puts_runs_without_one_last(runs, visit):
    write_run(runs, "low", gain=-0.2)
    write_run(runs, "high", gain=0.2)
    write_run(runs, "none", step=10, state="stopped")
    app = visit()
    assert listed(app) == ["none", "low", "high"]
    app.selectbox(key="sort").select("Best mIoU")
    order = listed(run(app))
    best = app.dataframe[0].value["Best teacher"].tolist()
    assert order[-1] == "none" and best[0] > best[1]


def test_a_run_is_archived_by_name_and_comes_back(runs, visit):
    write_run(runs, "a")
    write_run(runs, "b")
    app = visit(run="a")
    assert next(button for button in app.button if button.key == "archive_now").disabled
    app.text_input(key="archive-a").input("a")
    run(app)
    press(app, "Archive")
    assert archived(runs) == ["a"] and listed(app) == ["b"] and not app.warning
    press(app, "Undo")
    assert listed(app) == ["b", "a"] and archived(runs) == []


def test_the_archive_is_listed_also_when_it_has_the_last_run(runs, visit):
    write_run(runs / ".archive", "a")
    app = visit()
    assert "No run yet" in texts(app.subheader)
    press(app, "Bring back")
    assert listed(app) == ["a"]


def test_a_lost_run_says_since_when_and_its_last_lines(runs, visit):
    folder = write_run(runs, "orphan", state="running", step=100)
    write_json(folder / "status.json", {"state": "running", "step": 100, "steps": 400, "time": time.time() - 300})
    app = visit(run="orphan")
    assert "5 min" in texts(app.error) and "91/400  loss" in texts(app.code)


def test_an_alarm_that_holds_is_shown(runs, visit):
    folder = write_run(runs, "a")
    rows = [{"step": 50, "kind": "teacher", "on": True, "text": "the teacher stays behind"}]
    write_lines(folder / "alarms.jsonl", rows)
    app = visit(run="a")
    assert "alarm" in texts(app.warning) and "since step 50: the teacher stays behind" in texts(app.code)
    write_lines(folder / "alarms.jsonl", [*rows, {"step": 90, "kind": "teacher", "on": False, "text": "over"}])
    assert not run(app).warning


def test_the_end_of_a_watched_run_is_told(runs, visit):
    folder = write_run(runs, "busy", state="running", step=100)
    start_running(folder)
    app = visit(run="busy")
    write_json(folder / "status.json", {"state": "stopped", "step": 120, "steps": 400})
    run(app)
    run(app)
    assert "■ stopped" in app.metric[0].value
