"""Each control of the Runs, Images and Learn pages moved, and what the page then shows beside the library's number."""

import ast
import base64
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pages.shared import segmentation_viewer as viewer
from pages.shared.launch_form import EXPERIMENTS
from scl_core import agreement, comparison, jobs
from scl_core.config_files import read_file
from scl_core.figures.confusion import cell_levels
from scl_core.inference import predict_classes
from scl_core.microscope.health import overlap
from scl_core.microscope.lesson import PAIRS, example_pair, heaviest_box, open_lesson, similarity_of
from scl_core.restore import restore
from scl_core.runs import RunFolder, archived
from tests.fake_runs import write_run
from tests.pages.conftest import charts, checked, texts
from tests.pages.test_launch_page import field
from tests.pages.test_spoilt_runs import move_to_folder

COMPARE, HEALTH, LAUNCH, CURVES = (f"pages/runs/{name}.py" for name in ("compare", "health", "launch", "curves"))
PREDICTIONS, NEXT = "pages/images/predictions.py", "pages/images/next_to_label.py"
LESSON, GLOSSARY = "pages/learn/lesson.py", "pages/learn/glossary.py"


@pytest.fixture
def seen(monkeypatch):
    """What the page hands to the viewer."""
    calls: list[dict] = []
    monkeypatch.setattr(viewer, "segmentation_viewer", lambda picture, layers, **rest: calls.append(layers))
    return calls


def test_run_checkpoint_and_list_of_an_evaluation_are_those_chosen(copy_run, visit, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start_job", lambda run, kind, command: started.append((kind, command)))
    paths = [copy_run(name) for name in ("one", "two")]
    app = visit(COMPARE, runs=["one", "two"])
    checked(app.selectbox(key="score_run").set_value("two").run())
    app.selectbox(key="score_step-two").set_value(2)
    app.selectbox(key="score_split").set_value("train")
    checked(app.run())
    checked(app.button(key="start-evaluate-two").click().run())
    assert started == [("evaluate", jobs.job_command("evaluate", paths[1], "--split", "train", "--checkpoint", "2"))]


def test_block_numbers_and_area_are_the_librarys(copy_run, visit):
    run = RunFolder(copy_run("one"))
    sides = [run.read_evaluation(3, "val", name)[1] for name in ("teacher", "student")]
    band = run.read_boundary(3, "val", "teacher").sum(0)
    app = visit(COMPARE, runs="one")
    app.number_input(key="block").set_value(2)
    app.segmented_control(key="kind").set_value("count")
    checked(app.segmented_control(key="confusion_area").set_value("boundary").run())
    found = comparison.compare_scores(*sides, 2)
    assert f"from {100 * found.mean_low:+.1f} to {100 * found.mean_high:+.1f}" in texts(app.text)
    matrix = next(chart for chart in charts(app) if chart["layout"]["title"]["text"] == "teacher")["data"][0]["z"]
    np.testing.assert_allclose(numbers(matrix), cell_levels(band, "count"), rtol=1e-5)


def numbers(array: dict) -> np.ndarray:
    """An array as plotly sends it."""
    flat = np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])
    return flat.reshape([int(size) for size in array["shape"].split(",")])


def test_every_picture_is_compared_when_asked(copy_run, visit, monkeypatch):
    run = copy_run("one")
    move_to_folder(run)
    monkeypatch.setattr(overlap, "MOST", 1)
    source = restore(run).open_data()
    app = visit(HEALTH, run="one")
    for most in (1, 10**6):
        lists = overlap.shared_pictures(source, most)
        assert overlap.judge_overlap(lists).number in [item.value for item in app.metric]
        assert f"{lists.trained[0]} of {lists.trained[1]} training pictures" in texts(app.caption)
        checked(app.toggle(key="every_picture").set_value(True).run())
    assert lists.trained[0] == lists.trained[1] > 1


def test_a_preset_fills_the_form_and_another_method_leaves_it(runs, visit):
    app = visit(LAUNCH)
    checked(app.selectbox(key="preset").set_value("camvid / scl").run())
    file = EXPERIMENTS / "camvid" / "scl.yaml"
    given = {entry.key: entry.text for entry in read_file(file)}
    assert f"--config {os.path.relpath(file)}" in app.code[0].value or "cannot start" in texts(app.error)
    assert float(field(app, "train.steps").value) == float(given["train.steps"])
    checked(app.selectbox(key=f"{file}|method").set_value("cps").run())
    assert "--method.name cps" in texts(app.code) or "cannot start" in texts(app.error)


def test_curves_are_grouped_by_the_toggle(runs, visit):
    for seed in (0, 1):
        write_run(runs, f"scl-{seed}", seed=seed)
    app = visit(CURVES, curves=["scl-0", "scl-1"])
    checked(app.toggle(key="grouped").set_value(True).run())
    names = [trace.get("name") for trace in charts(app)[0]["data"]]
    assert "scl · scenes (n = 2)" in names


def test_the_chosen_run_comes_back_from_the_archive(runs, visit):
    for name in ("a", "b"):
        write_run(runs / ".archive", name)
    app = visit()
    checked(app.selectbox(key="archived_run").set_value("a").run())
    checked(app.button(key="bring_back").click().run())
    assert archived(runs) == ["b"] and (runs / "a").is_dir()


def shown_classes(run: Path, step: int, network: str, split: str, name: str) -> np.ndarray:
    """What the library predicts for a picture of a list."""
    restored = restore(run, step)
    pictures = restored.open_data().pictures(split)
    index = pictures.names.index(name)
    size = pictures.mask(index).shape
    return predict_classes(restored.network(network), pictures.input(index), size, torch.device("cpu")).numpy()


def test_networks_lists_and_orders_of_the_viewer(copy_run, visit, seen):
    run, _ = copy_run("one"), copy_run("two")
    app = visit(PREDICTIONS)
    checked(app.selectbox(key="run_b").set_value("two").run())
    app.selectbox(key="checkpoint_a").set_value("2")
    app.selectbox(key="network_a").set_value("student")
    app.selectbox(key="order").set_value("as listed")
    checked(app.selectbox(key="split").set_value("test").run())
    source = restore(run).open_data()
    assert app.selectbox(key="picture").options == list(source.pictures("test").names)
    checked(app.selectbox(key="split").set_value("val").run())
    name = source.pictures("val").names[2]
    app.selectbox(key="checkpoint_b").set_value("2")
    app.selectbox(key="network_b").set_value("teacher")
    checked(app.selectbox(key="picture").set_value(name).run())
    for side, network in (("a", "student"), ("b", "teacher")):
        np.testing.assert_array_equal(seen[-1][side].classes, shown_classes(run, 2, network, "val", name))
    other = next(name for name in ("one", "two") if name != app.selectbox(key="run_a").value)
    checked(app.selectbox(key="run_a").set_value(other).run())
    assert app.selectbox(key="run_a").value == other and not app.error


def test_as_many_pictures_to_label_as_asked(copy_run, visit):
    run = RunFolder(copy_run("one"))
    names = restore(run.path).open_data().pictures("unlabeled").names
    values = [0.1 * number for number in range(len(names))]
    lists = ["teacher", "student"], "x", list(names), list(names)
    agreement.write_ranking(run, agreement.Ranking(3, "unlabeled", *lists, values, values, values))
    app = visit(NEXT)
    checked(app.number_input(key="count").set_value(2).run())
    shown = [text.value.split()[0] for text in app.text if text.value.startswith("scene_")]
    assert shown == [names[-1], names[-2]]


def test_the_lessons_pictures_and_pixels_are_the_librarys(visit):
    app = visit(LESSON)
    app.segmented_control(key="lesson").set_value(7)
    app.segmented_control(key="lesson_pair").set_value(2)
    checked(app.run())
    checked(app.segmented_control(key="lesson_pixels").set_value(PAIRS[2]).run())
    probe = open_lesson(1).probe
    pixels = example_pair(probe, heaviest_box(probe), PAIRS[2])
    assert all(f"{value:.4f}" in texts(app.latex) for value in similarity_of(probe, *pixels))


def test_the_search_of_the_glossary(visit):
    app = visit(GLOSSARY)
    checked(app.text_input(key="term").input("owner").run())
    assert "owner map" in texts(app.markdown) and not app.info


CONTROLS = {
    "button", "selectbox", "multiselect", "toggle", "slider", "select_slider", "number_input", "text_input",
    "segmented_control", "file_uploader", "number", "choice", "choose", "_choice", "_word", "pick_area",
}  # fmt: skip
BY_LABEL = {"undo_archive": "Undo", "cancel_": "Cancel"}
"""Controls that tests press by what stands on them."""
PLACES = {"number": 1, "slider": 1, "choice": 2, "choose": 2, "_choice": 2, "_word": 2, "pick_area": 1}
"""Where our own controls take their key, among the arguments without a name."""


def keys_of(source: str) -> set[str]:
    """The keys of the controls in a page's source; of one that is put together, its beginning."""
    found = set()
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in CONTROLS:
            continue
        key = next((item.value for item in call.keywords if item.arg == "key"), None)
        place = PLACES.get(name)
        if key is None and place is not None and len(call.args) > place:
            key = call.args[place]
        if isinstance(key, ast.JoinedStr):
            key = key.values[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.add(key.value)
    return found


def test_every_control_is_touched_by_a_test():
    keys = set().union(*(keys_of(path.read_text()) for path in Path("pages").glob("*/*.py")))
    tests = "\n".join(path.read_text() for path in Path("tests").glob("[pb]*/*.py"))
    touched = {key for key in keys if any(sign in tests for sign in (f'"{key}', f'{key}="', f'"{BY_LABEL.get(key)}"'))}
    assert len(keys) > 60 and keys - touched == set()
