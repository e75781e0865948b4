"""The Images pages on a real run: the viewer's layers, orders, steps, and what is said where something is missing."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from pages.shared import segmentation_viewer as viewer
from scl_core import agreement, jobs
from scl_core.comparison import picture_scores, worst_first
from scl_core.data.images import resize_picture
from scl_core.inference import predict_classes
from scl_core.restore import restore
from scl_core.runs import RunFolder
from scl_core.runs.pictures import kept_pictures
from tests.pages.conftest import texts
from tests.tiny import wait_for

PREDICTIONS, NEXT, OWN = (f"pages/images/{name}.py" for name in ("predictions", "next_to_label", "upload"))


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
    assert "cannot be shown" in texts(app.error) and "damaged" in texts(app.code)


def test_networks_of_two_runs_on_the_same_pictures(copy_run, visit, seen):
    copy_run("one"), copy_run("two")
    app = visit(PREDICTIONS, run_a="one", run_b="two")
    layers = seen[-1]["layers"]
    assert not app.error
    np.testing.assert_array_equal(layers["a"].classes, layers["b"].classes)


# Next to label


def test_ranking_from_the_page_then_the_list_to_take_away(copy_run, visit):
    run = RunFolder(copy_run("one"))
    app = visit(NEXT)
    assert "not ranked" in texts(app.info)
    app.button(key="start-agreement-one").click().run()
    assert not app.exception
    wait_for(lambda: not jobs.read_job(run, "agreement").running, seconds=120)
    app.run()
    assert not app.exception and not app.error
    ranking = agreement.read_ranking(run, 3, "unlabeled")
    order = ranking.by("disagreement")
    shown = [text.value.split()[0] for text in app.text if text.value.startswith("scene_")]
    assert shown == [ranking.names[index] for index in order] and len(shown) == 6
    app.selectbox(key="measure").select("entropy").run()
    first = next(text.value.split()[0] for text in app.text if text.value.startswith("scene_"))
    assert first == ranking.names[ranking.by("entropy")[0]]


def test_a_ranking_of_another_list_asks_to_rank_again(copy_run, visit):
    run = RunFolder(copy_run("one"))
    agreement.write_ranking(
        run, agreement.Ranking(3, "unlabeled", ["teacher"], "x", ["gone"], ["gone"], None, None, [0.1])
    )
    app = visit(NEXT)
    assert "has changed" in texts(app.warning) and app.button(key="start-agreement-one")


def test_a_damaged_ranking_is_one_sentence(copy_run, visit):
    run = copy_run("one")
    (run / "agreement").mkdir()
    (run / "agreement" / "3-unlabeled.json").write_text('{"step": 3}')
    assert "delete it and rank again" in texts(visit(NEXT).code)


def test_without_runs_the_other_pages_lead_to_the_launch_page(visit):
    for page in (NEXT, OWN):
        assert "no checkpoint yet" in texts(visit(page).info)


def test_both_checkpoints_are_taken_apart_on_the_same_boxes(copy_run, visit, seen):
    copy_run("one"), copy_run("two")
    two = {"run_a": "one", "run_b": "two", "checkpoint_b": "2", "both_boxes": "true"}
    app = visit(PREDICTIONS, **two)
    table, losses = app.dataframe[0].value, {item.label[-1]: item.value for item in app.metric}
    assert table["B − A"].abs().max() > 0 and table["B − A"].abs().is_monotonic_decreasing
    picture, other = app.selectbox(key="picture").value, restore(Path(os.environ["SCL_RUNS"]) / "one").open_data()
    chosen = {"from_a": "val", "picture_a": picture, "picture_b": other.pictures("unlabeled").names[0]}
    for letter, run, step in (("A", "one", "3"), ("B", "two", "2")):
        alone = visit("pages/method/similarity.py", run=run, checkpoint=step, seed="0", step="1", pair="0",
                      pictures="chosen", **chosen)  # fmt: skip
        assert alone.metric[0].value == losses[letter], "the page Similarity shows the same number"
    assert visit(PREDICTIONS, **(two | {"checkpoint_b": "3"})).dataframe[0].value["B − A"].abs().max() == 0


# Own picture


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def test_an_uploaded_picture_is_predicted_at_its_own_size(copy_run, visit, seen):
    run = copy_run("one")
    photo = data.astronaut()[:100, :140]
    app = visit(OWN)
    assert "Choose a picture" in texts(app.info)
    app.file_uploader(key="own_file").upload("photo.png", png(photo), mime_type="image/png").run()
    assert not app.exception and not app.error
    np.testing.assert_array_equal(seen[-1]["picture"], photo)
    restored = restore(run)
    expected = predict_classes(restored.network(), resize_picture(photo, 48, 64), (100, 140), torch.device("cpu"))
    np.testing.assert_array_equal(seen[-1]["layers"]["a"].classes, expected.numpy())
    shares = app.dataframe[0].value
    again = visit(OWN, file=app.query_params["file"])
    assert again.dataframe[0].value.equals(shares) and len(kept_pictures(run.parent)) == 1
    again.button(key="forget").click().run()
    assert "Choose a picture" in texts(again.info) and not kept_pictures(run.parent)
    assert shares["Share"].sum() == pytest.approx(100) and shares["Confidence"].between(0, 100).all()


def test_a_mask_beside_ones_own_picture_is_the_truth(copy_run, visit, seen):
    run = copy_run("one")
    photo = data.astronaut()[:40, :60]
    app = visit(OWN)
    app.file_uploader(key="own_file").upload("photo.png", png(photo), mime_type="image/png").run()
    mask = seen[-1]["layers"]["a"].classes.copy()
    mask[:10] = 255
    mask[10:20] = (mask[10:20] + 1) % len(restore(run).class_names)
    app.file_uploader(key="own_mask").upload("mask.png", png(mask), mime_type="image/png").run()
    assert not app.exception and not app.error
    np.testing.assert_array_equal(seen[-1]["layers"]["truth"].classes, mask)
    assert "33.3% of pixels wrong" in seen[-1]["layers"]["a"].title and "IoU" in app.dataframe[0].value
    for wrong, said in ((mask[:30], "60 x 30"), (np.full_like(mask, 200), "200"), (photo, "mask.png")):
        app.file_uploader(key="own_mask").upload("mask.png", png(wrong), mime_type="image/png").run()
        assert "mask cannot be used" in texts(app.error) and said in texts(app.code)
        assert "truth" not in seen[-1]["layers"] and not app.exception


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"GIF89a nonsense", "not a readable"), (png(np.zeros((40, 40, 3), np.uint8))[:60], "damaged")],
)
def test_a_bad_picture_is_one_sentence(copy_run, visit, seen, content, said):
    copy_run("one")
    app = visit(OWN)
    app.file_uploader(key="own_file").upload("bad.png", content, mime_type="image/png").run()
    assert not app.exception and "cannot be shown" in texts(app.error)
    assert "bad.png cannot be used" in texts(app.code) and said in texts(app.code) and "/tmp" not in texts(app.code)
