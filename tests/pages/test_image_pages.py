"""The Images pages on a real run: the viewer's layers, orders, steps, and what is said where something is missing."""

import numpy as np
import pytest
import torch

from pages.shared import segmentation_viewer as viewer
from scl_core.comparison import picture_scores, worst_first
from scl_core.inference import predict_classes
from scl_core.restore import restore
from scl_core.runs import RunFolder
from tests.pages.conftest import texts

PREDICTIONS = "pages/images/predictions.py"


@pytest.fixture
def seen(monkeypatch):
    """What the page hands to the viewer."""
    calls: list[dict] = []

    def record(picture, layers, **options):
        calls.append({"picture": picture, "layers": layers, **options})

    monkeypatch.setattr(viewer, "segmentation_viewer", record)
    return calls


def test_without_runs_the_page_leads_to_the_launch_page(visit):
    app = visit(PREDICTIONS)
    assert "no checkpoint yet" in texts(app.info)
    app.button[0].click().run()
    assert app.title[0].value == "Launch a run"


def test_the_worst_picture_comes_first_as_the_library_predicts_it(copy_run, visit, seen):
    run = RunFolder(copy_run("one"))
    _, confusions, names = run.read_evaluation(3, "val", "teacher")
    first = int(worst_first(picture_scores(confusions))[0])
    app = visit(PREDICTIONS)
    assert app.selectbox(key="picture").value == names[first]
    restored = restore(run.path, 3)
    pictures = restored.open_data().pictures("val")
    label = pictures.mask(first)
    expected = predict_classes(restored.network("teacher"), pictures.input(first), label.shape, torch.device("cpu"))
    layers = seen[-1]["layers"]
    np.testing.assert_array_equal(layers["a"].classes, expected.numpy())
    np.testing.assert_array_equal(layers["truth"].classes, label)
    assert set(layers) == {"truth", "a"} and layers["a"].confidence.shape == label.shape


def test_two_networks_where_they_differ_most(copy_run, visit, seen):
    run = RunFolder(copy_run("one"))
    matrices = [run.read_evaluation(3, "val", name)[1:] for name in ("teacher", "student")]
    apart = np.abs(picture_scores(matrices[1][0]) - picture_scores(matrices[0][0]))
    app = visit(PREDICTIONS, run_b="one", network_b="student", order="largest difference first")
    assert app.selectbox(key="picture").value == matrices[0][1][int(np.argmax(apart))]
    assert set(seen[-1]["layers"]) == {"truth", "a", "b"}
    assert "student" in seen[-1]["layers"]["b"].title


def test_next_and_previous_walk_through_the_order(copy_run, visit, seen):
    copy_run("one")
    app = visit(PREDICTIONS, order="as listed")
    names = app.selectbox(key="picture").options
    assert app.button(key="previous").disabled
    app.button(key="next").click().run()
    assert not app.exception and app.selectbox(key="picture").value == names[1]
    app.button(key="previous").click().run()
    assert app.selectbox(key="picture").value == names[0]


def test_the_pictures_of_a_confusion(copy_run, visit, seen):
    run = RunFolder(copy_run("one"))
    record, confusions, names = run.read_evaluation(3, "val", "teacher")
    classes = list(record["per_class_iou"])
    counts = confusions[:, 0, 0]
    app = visit(PREDICTIONS, truth=classes[0], predicted=classes[0])
    assert app.selectbox(key="order").value == "most of a confusion"
    assert app.selectbox(key="picture").value == names[int(counts.argmax())]
    other = visit(PREDICTIONS, truth="no such class", predicted="x")
    assert "no class" in texts(other.caption)


def test_lists_that_were_not_scored_or_have_no_masks_are_shown_as_listed(copy_run, visit, seen):
    copy_run("one")
    app = visit(PREDICTIONS, split="unlabeled")
    assert "not evaluated" in texts(app.caption)
    assert set(seen[-1]["layers"]) == {"a"}


def test_stored_predictions_by_step(copy_run, visit, seen):
    copy_run("one")
    app = visit(PREDICTIONS)
    slider = app.select_slider(key="training_step")
    assert slider.options == ["1", "2", "3"]
    slider.set_value(1).run()
    assert not app.exception


def test_a_marked_pixel_of_the_address(copy_run, visit, seen):
    copy_run("one")
    visit(PREDICTIONS, pixel="4-9")
    assert seen[-1]["pixel"] == (4, 9)
    visit(PREDICTIONS, pixel="4000-9")
    assert seen[-1]["pixel"] is None


def test_a_checkpoint_that_is_gone_is_said(copy_run, visit, seen):
    copy_run("one")
    app = visit(PREDICTIONS, checkpoint_a="77")
    assert "no longer on disk" in texts(app.warning) and seen


def test_a_run_that_is_gone_is_said(copy_run, visit, seen):
    copy_run("one")
    assert "no checkpoint here" in texts(visit(PREDICTIONS, run_a="gone").warning)


def test_a_damaged_checkpoint_is_one_sentence(copy_run, visit, seen):
    run = copy_run("one")
    for file in run.glob("checkpoints/*/teacher.safetensors"):
        file.write_bytes(b"nothing")
    app = visit(PREDICTIONS)
    assert "cannot be shown" in texts(app.error) and "damaged" in texts(app.text)


def test_networks_of_two_runs_on_the_same_pictures(copy_run, visit, seen):
    copy_run("one"), copy_run("two")
    app = visit(PREDICTIONS, run_a="one", run_b="two")
    layers = seen[-1]["layers"]
    assert not app.error
    np.testing.assert_array_equal(layers["a"].classes, layers["b"].classes)
