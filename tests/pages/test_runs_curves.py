"""The curves of several runs: empty states, every control, groups over seeds, broken and deleted runs."""

import json
import shutil
from pathlib import Path

from tests.fake_runs import write_run
from tests.pages.conftest import charts, run, start_running, texts, titles

CURVES = "pages/runs/curves.py"


def names(app) -> list[str]:
    return [trace["name"] for trace in charts(app)[0]["data"] if trace.get("name")]


def test_without_runs_it_leads_to_the_launch_page(runs, visit):
    app = visit(CURVES)
    assert "no run to draw" in texts(app.info)
    app.button[0].click().run()
    assert app.title[0].value == "Launch a run"


def test_runs_without_a_step_and_no_run_at_all_are_said(runs, visit):
    write_run(runs, "young", step=0)
    app = visit(CURVES)
    assert "Pick at least one run" in texts(app.info)
    app.multiselect(key="curves").select("young")
    assert "recorded a step" in texts(run(app).info)


def test_runs_lie_over_each_other_and_the_address_keeps_them(runs, visit):
    write_run(runs, "a")
    write_run(runs, "b", method="supervised")
    app = visit(CURVES, curves=["a", "b"], quantity="loss", axis="time")
    assert names(app) == ["a", "b"] and titles(app) == ["loss"]
    assert charts(app)[0]["layout"]["xaxis"]["title"]["text"] == "training time (minutes)"
    assert "method.name" in app.dataframe[0].value["Setting"].tolist()


def test_every_control_reaches_the_figure(runs, visit):
    write_run(runs, "a")
    app = visit(CURVES, curves="a")
    assert titles(app) == ["mIoU teacher"] and names(app) == ["a"]
    app.selectbox(key="quantity").select("structured")
    app.slider(key="curve_smoothing").set_value(0.5)
    app.toggle(key="log_x").set_value(True)
    app.toggle(key="log_y").set_value(True)
    app.segmented_control(key="axis").set_value("epoch")
    figure = charts(run(app))[0]
    assert figure["layout"]["title"]["text"] == "structured" and len(figure["data"]) == 2
    assert (figure["layout"]["xaxis"]["type"], figure["layout"]["yaxis"]["type"]) == ("log", "log")
    assert figure["layout"]["xaxis"]["title"]["text"].startswith("epoch")


def measure(run_dir: Path) -> None:
    """Add what training measures only at some steps: here every hundredth."""
    file = run_dir / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[99::100]:
        row |= {"gradient/supervised": 2.0, "gradient/structured": 0.5, "cosine/structured": 0.25}
        row |= {"targets/classes": 3.0, "labels/classes": 4.0, "targets/share/Sky": 0.5}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_was_measured_at_some_steps_is_drawn_there(runs, visit):
    measure(write_run(runs, "a"))
    app = visit(CURVES, curves="a", quantity="cosine/structured")
    options = app.selectbox(key="quantity").options
    assert "targets/classes" in options and not any("share" in option for option in options)
    assert titles(app) == ["cosine/structured"] and len(charts(app)[0]["data"]) == 1
    shown = titles(visit(run="a"))
    assert {"Pull of each term", "Direction against the supervised term", "Variety of the targets"} <= set(shown)
    write_run(runs, "b")
    assert "Pull of each term" not in titles(visit(run="b"))


def test_the_run_that_was_looked_at_is_looked_at_again(runs, visit):
    write_run(runs, "a")
    write_run(runs, "b")
    app = visit(run="a")
    app.switch_page(CURVES).run()
    app.switch_page("pages/runs/overview.py").run()
    assert app.selectbox(key="run").value == "a"


def test_runs_that_differ_in_their_seed_are_one_group(runs, visit):
    for seed in (0, 1, 2):
        write_run(runs, f"scl-{seed}", seed=seed)
    write_run(runs, "heavier", gain=0.5)
    write_run(runs, "plain", method="supervised")
    app = visit(CURVES, curves=["scl-0", "scl-1", "scl-2", "heavier", "plain"], grouped="true")
    assert set(names(app)) == {
        "scl · scenes · structured_weight 2.0 (n = 3)",
        "scl · scenes · structured_weight 2.5 (n = 1)",
    }
    app.selectbox(key="quantity").select("loss")
    assert "supervised · scenes (n = 1)" in names(run(app))


def test_a_broken_or_deleted_run_leaves_the_others(runs, visit):
    write_run(runs, "a")
    write_run(runs, "b")
    app = visit(CURVES, curves=["a", "b"])
    (runs / "b" / "metrics.jsonl").unlink()
    (runs / "b" / "metrics.jsonl").mkdir()
    run(app)
    assert "cannot be drawn" in texts(app.error) and names(app) == ["a"]
    shutil.rmtree(runs / "b")
    assert names(run(app)) == ["a"]


def test_a_working_run_is_live_until_paused(runs, visit):
    start_running(write_run(runs, "busy", state="running", step=50))
    app = visit(CURVES, curves="busy")
    app.toggle(key="curves_live").set_value(False)
    run(app)
    assert len(charts(app)) == 1
