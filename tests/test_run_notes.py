"""Tags, notes and the archive of runs."""

import pytest

from scl_core.errors import UserError
from scl_core.runs import Notes, RunFolder, archive, archived, bring_back, list_runs, read_notes, summarise, write_notes
from scl_core.runs.processes import describe_process
from tests.fake_runs import write_json, write_run


def test_notes_come_back_and_stand_in_the_list(tmp_path):
    run = write_run(tmp_path, "a")
    assert summarise(run).notes == Notes()
    write_notes(run, Notes((" good ", "good", ""), "  looks\nfine "))
    assert read_notes(run) == Notes(("good",), "looks\nfine") == summarise(run).notes


@pytest.mark.parametrize("content", ["", "[]", '{"tags": 3, "note": {}}', '{"tags": null}'])
def test_damaged_notes_are_no_notes(tmp_path, content):
    run = write_run(tmp_path, "a")
    (run / "notes.json").write_text(content)
    assert summarise(run).notes == Notes() and summarise(run).problem is None


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (Notes(("x" * 41,)), "41 characters"),
        (Notes(tuple(map(str, range(21)))), "at most 20 tags"),
        (Notes((), "x" * 4001), "4000 characters"),
    ],
)
def test_notes_that_are_too_long_are_refused(tmp_path, notes, message):
    with pytest.raises(UserError, match=message):
        write_notes(write_run(tmp_path, "a"), notes)


def test_notes_need_a_folder(tmp_path):
    with pytest.raises(UserError, match="no folder yet"):
        write_notes(tmp_path / "none", Notes(("a",)))


def test_an_epoch_is_one_draw_of_each_labeled_picture(tmp_path):
    run = write_run(tmp_path, "a", step=150, state="stopped")
    assert [summarise(run).epoch for _ in range(2)] == [150 * 4 / 12] * 2


def test_an_archived_run_comes_back_whole(tmp_path):
    run = write_run(tmp_path, "a")
    before = {file.name for file in run.iterdir()} | {"run.lock"}
    assert archive(run) == "a" and not run.exists() and list_runs(tmp_path) == [] and archived(tmp_path) == ["a"]
    assert bring_back(tmp_path, "a") == "a" and archived(tmp_path) == []
    assert {file.name for file in run.iterdir()} == before and RunFolder(run).status().state == "finished"


def test_names_that_are_taken_get_a_number_both_ways(tmp_path):
    for _ in range(2):
        archive(write_run(tmp_path, "a"))
    assert archived(tmp_path) == ["a-2", "a"]
    write_run(tmp_path, "a")
    assert bring_back(tmp_path, "a") == "a-2"


def test_a_run_at_work_is_not_archived(tmp_path):
    run = write_run(tmp_path, "a", state="running", step=10)
    write_json(run / "process.json", describe_process())
    with pytest.raises(UserError, match="running: stop it"):
        archive(run)
    assert run.exists()


def test_a_launch_without_a_folder_is_forgotten(tmp_path):
    (tmp_path / ".launch").mkdir()
    (tmp_path / ".launch" / "a.yaml").write_text("seed: 1\n")
    assert [run.name for run in list_runs(tmp_path)] == ["a"]
    assert archive(tmp_path / "a") == "" and list_runs(tmp_path) == []


@pytest.mark.parametrize("name", ["nothing", "..", "../a", ""])
def test_only_archived_names_come_back(tmp_path, name):
    write_run(tmp_path, "a")
    with pytest.raises(UserError, match="not in the archive"):
        bring_back(tmp_path, name)
