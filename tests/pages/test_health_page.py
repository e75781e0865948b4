"""The page Health through AppTest: a run's verdicts are the library's, and what is missing says what to do."""

import json
import shutil

import yaml

from scl_core.microscope.health import LOOK, examine
from tests.pages.conftest import texts

HEALTH = "pages/runs/health.py"


def subheaders(app) -> list[str]:
    return [item.value for item in app.subheader]


def test_the_page_says_what_the_library_found(copy_run, visit):
    run = copy_run("a")
    app, found = visit(HEALTH, run="a"), examine(run).findings
    assert [text.split(":")[0] for text in subheaders(app)] == [finding.check for finding in found]
    assert [item.value for item in app.metric] == [finding.number for finding in found]
    assert "gradient_terms_every" in texts(app.markdown)
    asking = [finding.check for finding in found if finding.verdict == LOOK]
    assert all(check in texts(app.warning, app.success) for check in asking)


def test_a_swamped_record_is_said_with_its_step_and_picture(copy_run, visit):
    run = copy_run("a")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows[1] |= {"gradient/supervised": 0.5, "gradient/consistency": 4.0, "cosine/consistency": -0.9}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = visit(HEALTH, run="a")
    assert "Terms" in app.warning[0].value and subheaders(app)[0] == "Terms: ! take a look"
    assert app.metric[0].value == "8.00 × the labels'" and "At step 2" in texts(app.markdown)


def test_without_any_run_the_page_says_what_to_do(visit):
    app = visit(HEALTH)
    assert "no run" in app.info[0].value and app.button[0].label == "Launch a run"


def test_a_run_without_checkpoint_is_examined_as_far_as_it_goes(copy_run, visit):
    shutil.rmtree(copy_run("a") / "checkpoints")
    app = visit(HEALTH, run="a")
    assert [text.endswith("cannot say") for text in subheaders(app)] == [True, True, True, False, False]
    assert "no checkpoint yet" in texts(app.markdown)


def test_a_control_has_no_boxes_to_look_into(copy_run, visit):
    run = copy_run("a")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["method"]["structured_weight"] = 0.0
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert subheaders(visit(HEALTH, run="a"))[-1] == "Boxes: – cannot say"


def test_a_run_that_is_gone_or_broken_is_said(copy_run, visit):
    copy_run("a")
    assert "not in the runs folder" in visit(HEALTH, run="gone").warning[0].value
    for file in (copy_run("b") / "checkpoints").glob("*/student.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    app = visit(HEALTH, run="b")
    assert "cannot be shown" in app.error[0].value and not app.metric
