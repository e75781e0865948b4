"""The comparison of checkpoints: matrices, intervals, picked cells, pictures, and what is said where one is missing."""

import json
import shutil
import sys

import pytest

from pages.shared import evaluations as ev
from pages.shared.compare_export import FILES, report_of
from scl_core import jobs
from scl_core.comparison import compare_scores, pictures_with
from scl_core.figures.report import to_json, to_markdown
from scl_core.runs import RunFolder
from tests.fake_runs import CLASSES, write_run
from tests.pages.conftest import run, texts, titles
from tests.tiny import wait_for

COMPARE = "pages/runs/compare.py"


def test_intervals_and_support_stand_beside_the_differences(copy_run, visit):
    run = RunFolder(copy_run("one"))
    app = visit(COMPARE, runs="one")
    table = app.dataframe[1].value
    assert table.columns.tolist() == ["Class", "teacher", "student", "Δ student", "95 % student", "Pixels"]
    _, teacher, names = run.read_evaluation(3, "val", "teacher")
    _, student, _ = run.read_evaluation(3, "val", "student")
    assert table["Pixels"].sum() == teacher.sum() and len(names) == 4
    expected = compare_scores(teacher, student, app.number_input(key="block").value)
    assert f"{100 * expected.mean:+.1f} points" in texts(app.text)
    assert not app.warning


def test_the_band_along_the_borders_has_scores_of_its_own(copy_run, visit):
    run = RunFolder(copy_run("one"))
    app = visit(COMPARE, runs="one")
    assert app.dataframe[0].value["Boundary"].notna().all()
    whole = app.dataframe[1].value["Pixels"].sum()
    app.segmented_control(key="area").set_value("boundary").run()
    assert not app.exception
    assert app.dataframe[1].value["Pixels"].sum() == run.read_boundary(3, "val", "teacher").sum() < whole


@pytest.mark.parametrize(("kind", "charts"), [("by row", 2), ("by column", 2), ("counts", 2), ("difference", 1)])
def test_matrices_of_both(copy_run, visit, kind, charts):
    copy_run("one")
    app = visit(COMPARE, runs="one", kind=kind)
    own = [title for title in titles(app) if title.startswith(("teacher", "student"))]
    assert len(own) == charts


def test_a_picked_cell_leads_to_its_pictures(copy_run, visit):
    run = RunFolder(copy_run("one"))
    _, confusions, names = run.read_evaluation(3, "val", "student")
    total = confusions.sum(0)
    row, column = divmod(int((total - 10**9 * (total == total.diagonal())).argmax()), total.shape[1])
    order, counts = pictures_with(confusions, row, column)
    app = visit(COMPARE, runs="one", cell=f"1-{row}-{column}")
    frame = next(table.value for table in app.dataframe if "Picture" in table.value and "Pixels" in table.value)
    assert frame["Picture"].tolist() == [names[i] for i in order] and frame["Pixels"].tolist() == counts.tolist()
    link = app.get("page_link")[0].proto
    assert "predictions" in link.page


@pytest.mark.parametrize("cell", ["9-0-0", "0-99-0", "x", "0-0", "0--1-2"])
def test_a_cell_that_is_not_there_is_left_alone(copy_run, visit, cell):
    copy_run("one")
    assert "hold it" not in texts(visit(COMPARE, runs="one", cell=cell).markdown)


def test_pictures_with_the_largest_difference_first(copy_run, visit):
    copy_run("one")
    app = visit(COMPARE, runs="one")
    frame = next(table.value for table in app.dataframe if "Δ" in table.value)
    assert frame["Δ"].abs().is_monotonic_decreasing and len(frame) == 4


def test_three_evaluations_ask_which_two_to_lay_beside_each_other(copy_run, visit):
    copy_run("one")
    labels = [f"A · {name} · val · step {step}" for name, step in (("teacher", 3), ("student", 3), ("teacher", 1))]
    app = visit(COMPARE, runs="one", evaluation=labels)
    assert app.multiselect[1].value == labels
    assert app.selectbox(key="against").options == labels[1:]


def test_missing_matrices_are_said_in_a_sentence(copy_run, visit):
    run = copy_run("one")
    for file in (run / "evaluations").glob("*.npz"):
        file.unlink()
    app = visit(COMPARE, runs="one")
    assert "are not stored; score it by Evaluate a checkpoint" in texts(app.text)
    assert "IoU difference" in titles(app)


def test_other_pictures_are_said_in_a_sentence(copy_run, visit):
    copy_run("a")
    other = copy_run("b")
    run = RunFolder(other)
    record, confusions, names = run.read_evaluation(3, "val", "teacher")
    kept = {key: record[key] for key in ("mean_iou", "per_class_iou", "protocol", "pictures")} | {"list_hash": "f" * 12}
    run.write_evaluation(3, "val", "teacher", kept, confusions, [name + "x" for name in names])
    labels = ["A · teacher · val · step 3", "B · teacher · val · step 3"]
    app = visit(COMPARE, runs=["a", "b"], evaluation=labels)
    assert "different pictures" in texts(app.warning)
    assert "scored on different pictures" in texts(app.text)


def test_evaluating_from_the_page(copy_run, visit):
    run = RunFolder(copy_run("one"))
    app = visit(COMPARE, runs="one")
    app.selectbox(key="score_split").select("test").run()
    app.button(key="start-evaluate-one").click().run()
    assert not app.exception and app.button(key="cancel-evaluate-one")
    wait_for(lambda: not jobs.read_job(run, "evaluate").running, seconds=120)
    app.run()
    assert not app.exception
    assert [row["step"] for row in run.evaluations() if row["split"] == "test"] == [3, 3]
    assert jobs.read_job(run, "evaluate") is None


def test_an_evaluation_that_fails_says_why(copy_run, visit):
    run = RunFolder(copy_run("one"))
    jobs.start_job(run, "evaluate", [sys.executable, "-c", "import sys; sys.exit('error: no such list')"])
    wait_for(lambda: not jobs.read_job(run, "evaluate").running)
    app = visit(COMPARE, runs="one")
    assert "no such list" in texts(app.code)
    app.button(key="forget-evaluate-one").click().run()
    assert app.button(key="start-evaluate-one")


def test_the_exports_hold_what_the_page_shows(copy_run, visit):
    run = RunFolder(copy_run("one"))
    app = visit(COMPARE, runs="one")
    assert [button.proto.label for button in app.get("download_button")] == list(FILES)
    items = list(ev.evaluations_of(["one"])[0].values())[-2:]
    report = report_of(items, ["one"], None)
    record, confusions, _ = run.read_evaluation(3, "val", "teacher")
    found = json.loads(to_json(report))
    assert found["iou"]["teacher"] == pytest.approx(record["per_class_iou"])
    assert found["confusion"]["teacher"] == confusions.sum(0).tolist()
    assert found["evaluations"][0]["list_hash"] == record["list_hash"]
    assert set(found["interval_95"]["student"]) == {*record["per_class_iou"], "mean"}
    for _, _, write in FILES.values():
        assert len(write(report)) > 100


def test_an_export_without_matrices_says_so(copy_run, runs):
    run = copy_run("one")
    for file in (run / "evaluations").glob("*.npz"):
        file.unlink()
    report = report_of(list(ev.evaluations_of(["one"])[0].values())[-2:], ["one"], None)
    assert "Without intervals" in to_markdown(report) and not report.matrices


# Runs that have scores alone


def test_nothing_to_compare_leads_to_the_launch_page(runs, visit):
    write_run(runs, "young", step=10)
    app = visit(COMPARE)
    assert "no evaluation" in texts(app.info)
    app.button[0].click().run()
    assert app.title[0].value == "Launch a run"


def test_two_runs_class_by_class_largest_gain_first(runs, visit):
    write_run(runs, "plain", method="supervised")
    write_run(runs, "better", gain=0.05)
    app = visit(COMPARE, runs=["plain", "better"])
    summary, classes = (table.value for table in app.dataframe[:2])
    assert summary["Run"].tolist() == ["plain", "better"] and summary["Network"].tolist() == ["student", "teacher"]
    deltas = classes[classes.columns[-1]]
    assert deltas.dropna().is_monotonic_decreasing
    assert set(classes["Class"]) == set(CLASSES) and classes["Class"].iloc[-1] == "Train"
    assert classes.iloc[-1, 1:].isna().all()
    assert not app.warning
    assert titles(app) == ["IoU difference", "IoU by class", "mIoU"]


def test_networks_of_one_run_are_compared_at_its_last_step(runs, visit):
    write_run(runs, "one")
    app = visit(COMPARE, runs="one")
    assert app.dataframe[0].value["Network"].tolist() == ["teacher", "student"]
    assert app.dataframe[0].value["Step"].tolist() == [400, 400]
    assert "second run" in texts(app.info)


def test_any_evaluations_can_be_picked(runs, visit):
    write_run(runs, "one")
    app = visit(COMPARE, runs="one")
    picker = app.multiselect[1]
    for label in list(picker.value):
        picker.unselect(label)
    picker.select("A · student · val · step 200").select("A · student · val · step 400")
    run(app)
    assert app.dataframe[1].value.columns.tolist() == ["Class", "step 200", "step 400", "Δ step 400"]
    for label in list(app.multiselect[1].value):
        app.multiselect[1].unselect(label)
    assert "at least one evaluation" in texts(run(app).info)


def test_scores_on_other_pictures_are_not_compared_in_silence(runs, visit):
    write_run(runs, "a")
    write_run(runs, "b", list_hash="ffffffffffff")
    app = visit(COMPARE, runs=["a", "b"])
    assert "different pictures" in texts(app.warning)


def test_settings_show_the_differences_or_all(runs, visit):
    write_run(runs, "a", seed=0)
    write_run(runs, "b", seed=1)
    app = visit(COMPARE, runs=["a", "b"])
    assert app.dataframe[-1].value["Setting"].tolist() == ["seed"]
    app.toggle(key="only_differences").set_value(False)
    assert "train.steps" in run(app).dataframe[-1].value["Setting"].tolist()


def test_a_run_that_is_deleted_meanwhile_leaves_the_comparison(runs, visit):
    write_run(runs, "a")
    write_run(runs, "b")
    app = visit(COMPARE, runs=["a", "b"])
    shutil.rmtree(runs / "b")
    run(app)
    assert app.dataframe[0].value["Run"].unique().tolist() == ["a"]


def test_a_run_of_the_address_that_is_gone_does_not_hide_the_others(runs, visit):
    write_run(runs, "a")
    app = visit(COMPARE, runs=["a", "gone"])
    assert app.dataframe[0].value["Run"].unique().tolist() == ["a"]
