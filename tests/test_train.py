"""The main job from command to checkpoint: train, stop, resume, refuse, evaluate, predict."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from scl_core.command_line import run_command
from scl_core.evaluate import main as evaluate
from scl_core.predict import main as predict
from scl_core.train import main as train
from scl_core.training.session import Session
from tests.tiny import (
    assert_bitwise_equal,
    checkpoint_tensors,
    metrics,
    tiny_options,
    wait_for,
    without_times,
)

METHODS = ("supervised", "scl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run of each method, 6 steps with a checkpoint every 2."""
    root = tmp_path_factory.mktemp("runs")
    for method in METHODS:
        options = tiny_options(root / method, method__name=method, train__keep_checkpoints=9)
        assert run_command(train, options) == 0
    return root


@pytest.mark.parametrize("method", METHODS)
def test_run_folder_holds_what_the_contract_names(finished, method):
    run = finished / method
    rows = metrics(run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(row["loss"]) and row["seconds"] >= row["data_seconds"] > 0 for row in rows)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    evaluations = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    networks = ["student"] if method == "supervised" else ["teacher", "student"]
    assert [(e["step"], e["network"]) for e in evaluations] == [(s, n) for s in (3, 6) for n in networks]
    assert evaluations[0]["pictures"] == 3 and len(evaluations[0]["list_hash"]) == 12
    assert json.loads((run / "checkpoints" / "last.json").read_text())["step"] == 6
    assert len(list((run / "predictions" / "6").glob("*.png"))) == 3
    assert (run / "resolved.txt").exists() and "finished" in (run / "log.txt").read_text()


def test_scl_loss_is_the_weighted_sum_of_its_terms(finished):
    from scl_core.methods import METHODS as methods
    from scl_core.restore import run_config

    config = run_config(finished / "scl")
    for row in metrics(finished / "scl"):
        weights = methods["scl"](torch.nn.Linear(1, 1), config.method, config.train.steps).weights(row["step"])
        assert row["loss"] == pytest.approx(sum(weight * row[name] for name, weight in weights.items()), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_resumed_equals_uninterrupted_bitwise(finished, tmp_path, method, stop):
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, method__name=method, train__stop_at=stop)) == 0
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert run_command(train, ["--resume", str(run)]) == 0
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(finished / method, 6))
    assert without_times(metrics(run)) == without_times(metrics(finished / method))


def test_pictures_that_stay_on_the_device_train_alike_and_resume_bitwise(finished, tmp_path):
    run, cut = tmp_path / "run", tmp_path / "cut"
    settings = {"method__name": "scl", "data__resident": "true"}
    assert run_command(train, tiny_options(run, **settings)) == 0
    assert run_command(train, tiny_options(cut, **settings, train__stop_at=3)) == 0
    assert run_command(train, ["--resume", str(cut)]) == 0
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(cut, 6))
    assert "stay on cpu and are varied there" in (run / "log.txt").read_text()
    assert metrics(run)[0]["loss"] == pytest.approx(metrics(finished / "scl")[0]["loss"], rel=1e-4)  # rounding grows


def test_bf16_in_micro_batches_resumes_bitwise_and_scores_in_float32(tmp_path):
    options = {
        "train__precision": "bf16",
        "train__accumulate": 2,
        "train__batch_labeled": 4,
        "train__batch_unlabeled": 4,
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_command(train, tiny_options(whole, **options)) == 0
    assert run_command(train, tiny_options(cut, train__stop_at=3, **options)) == 0
    assert run_command(train, ["--resume", str(cut)]) == 0
    assert_bitwise_equal(checkpoint_tensors(cut, 6), checkpoint_tensors(whole, 6))
    assert without_times(metrics(cut)) == without_times(metrics(whole))
    assert {tensor.dtype for tensor in checkpoint_tensors(whole, 6).values()} == {torch.float32, torch.int64}
    assert run_command(evaluate, [str(whole), "--split", "val", "--device", "cpu"]) == 0
    records = [json.loads(line) for line in (whole / "evaluations.jsonl").read_text().splitlines()]
    assert records[-2]["mean_iou"] == records[-4]["mean_iou"]


def test_batch_that_cannot_be_cut_is_refused(tmp_path, capsys):
    assert run_command(train, tiny_options(tmp_path / "run", train__accumulate=3)) == 2
    assert "does not divide by 1 processes x train.accumulate 3: choose a multiple of 3" in capsys.readouterr().err


def test_one_seed_one_result_and_another_seed_another(finished, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    assert run_command(train, tiny_options(same)) == 0
    assert run_command(train, tiny_options(other, seed=1)) == 0
    assert_bitwise_equal(checkpoint_tensors(same, 6), checkpoint_tensors(finished / "scl", 6))
    assert metrics(other)[0]["loss"] != metrics(same)[0]["loss"]


def test_label_only_part_has_no_unlabeled_terms(tmp_path):
    assert run_command(train, tiny_options(tmp_path / "run", method__start=0.5)) == 0
    rows = metrics(tmp_path / "run")
    assert [row["structured"] is None for row in rows] == [True] * 3 + [False] * 3


def test_weights_of_one_run_start_another(finished, tmp_path):
    options = tiny_options(tmp_path / "run", model__weights=finished / "scl", train__steps=1, train__learning_rate=0)
    assert run_command(train, options) == 0
    started, source = checkpoint_tensors(tmp_path / "run", 1), checkpoint_tensors(finished / "scl", 6)
    weight = next(key for key in source if key.startswith("teacher:") and key.endswith("weight"))
    assert torch.equal(started[weight.replace("teacher", "student")], source[weight])


def test_non_finite_loss_never_reaches_the_weights(tmp_path, capsys):
    run = tmp_path / "run"
    options = tiny_options(run, train__learning_rate=1e30, train__checkpoint_every=1, train__keep_checkpoints=9)
    assert run_command(train, options) == 1
    error = capsys.readouterr().err
    assert "not finite" in error and "step" in error and "pictures:" in error and "Traceback" not in error
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and "not finite" in status["reason"]
    assert (run / "log.txt").read_text().splitlines()[-1] == f"failed: {status['reason']}"
    folders = [folder for folder in (run / "checkpoints").iterdir() if folder.is_dir()]
    assert all(
        torch.isfinite(v).all() for folder in folders for v in checkpoint_tensors(run, int(folder.name)).values()
    )


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_stops(tmp_path, signal_number):
    run = tmp_path / "run"
    argv = [sys.executable, "-m", "scl_core.train", *tiny_options(run, train__steps=100000, train__log_every=1)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 2)
        process.send_signal(signal_number)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, error
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "stopped"
    last = json.loads((run / "checkpoints" / "last.json").read_text())["step"]
    assert last == status["step"] == metrics(run)[-1]["step"]


def test_a_stop_during_an_evaluation_leaves_it_to_the_resumed_run(finished, tmp_path, monkeypatch):
    pictures = []

    def ask_at_the_second(session):
        pictures.append(len(pictures))
        if len(pictures) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Session, "beat", ask_at_the_second)
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run)) == 0
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("stopped", 3) and len(pictures) == 2
    assert not (run / "evaluations.jsonl").exists() and "left undone" in (run / "log.txt").read_text()
    assert run_command(train, ["--resume", str(run)]) == 0
    assert (run / "evaluations.jsonl").read_text() == (finished / "scl" / "evaluations.jsonl").read_text()
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(finished / "scl", 6))


def test_a_stop_during_the_last_evaluation_too(tmp_path, monkeypatch):
    run = tmp_path / "run"
    options = tiny_options(run, train__steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "beat", lambda session: os.kill(os.getpid(), signal.SIGTERM))
        assert run_command(train, options) == 0
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert run_command(train, ["--resume", str(run)]) == 0
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert (run / "evaluations.jsonl").exists()


def test_folder_that_is_not_empty_is_refused_with_the_line_to_type(finished, capsys):
    run = finished / "scl"
    assert run_command(train, tiny_options(run)) == 2
    assert f"--resume {run}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("train.learning_rate", 0.5, "train.learning_rate cannot change when a run is resumed"),
        ("train.steps", 5, "train.steps 5 is before step 6, where the run stands"),
        ("config", "experiments/scenes/scl.yaml", "--config cannot be given with --resume"),
    ],
)
def test_resume_refuses_what_would_make_another_run(finished, capsys, option, value, message):
    assert run_command(train, ["--resume", str(finished / "scl"), f"--{option}", str(value)]) == 2
    assert message in capsys.readouterr().err


def test_resuming_a_finished_run_changes_nothing_and_says_how_to_go_on(finished, capsys):
    run = finished / "scl"
    before = (run / "metrics.jsonl").read_bytes()
    assert run_command(train, ["--resume", str(run)]) == 0
    assert "--train.steps" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_bytes() == before


def test_finished_run_goes_on_with_more_steps(tmp_path, capsys):
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, train__steps=2)) == 0
    assert run_command(train, ["--resume", str(run), "--train.steps", "3"]) == 0
    assert "train.steps was 2 and is 3: the schedule changes" in capsys.readouterr().out
    assert [row["step"] for row in metrics(run)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__stop_at": 7}, "train.stop_at 7 is after the last step"),
        ({"data__unlabeled": 1}, "needs at least 2"),
        ({"method__num_loss_boxes": 9}, "method.num_loss_boxes 9 is more than method.num_boxes 8"),
        ({"model__encoder": "resnet17"}, "resnet18"),
        ({"device": "cuda"}, "cuda"),
    ],
)
def test_mistake_is_one_line_and_leaves_no_folder(tmp_path, capsys, changes, message):
    if changes == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert run_command(train, tiny_options(tmp_path / "run", **changes)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_evaluate_prints_a_table_and_appends_a_record(finished, capsys):
    run = finished / "scl"
    before = len((run / "evaluations.jsonl").read_text().splitlines())
    assert run_command(evaluate, [str(run), "--split", "test", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "teacher" in output and "student" in output and "classes, 2 pictures" in output
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    assert len(lines) == before + 2
    record = json.loads(lines[-2])
    assert (record["split"], record["network"], record["step"], record["pictures"]) == ("test", "teacher", 6, 2)
    stored = np.load(run / "evaluations" / "6-test-teacher.npz")
    matrices = next(stored[name] for name in stored.files if stored[name].ndim == 3)
    assert matrices.shape[0] == 2 and matrices.sum() == 2 * 32 * 48
    present = [value for value in record["per_class_iou"].values() if value is not None]
    assert record["mean_iou"] == pytest.approx(np.mean(present))


def test_predict_writes_masks_in_each_pictures_own_size(finished, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "sub").mkdir(parents=True)
    for name, size in (("a.png", (60, 40)), ("a.jpg", (31, 57)), ("sub/b.png", (48, 32))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(
            pictures / name
        )
    out = tmp_path / "out"
    assert run_command(predict, [str(finished / "scl"), str(pictures), "--out", str(out), "--device", "cpu"]) == 0
    for name, size in (("a.png", (60, 40)), ("a.jpg", (31, 57)), ("sub/b", (48, 32))):
        mask = Image.open(out / "masks" / f"{name}.png")
        assert mask.mode == "P" and mask.size == size and np.asarray(mask).max() < 11
        assert Image.open(out / "overlays" / f"{name}.png").size == size


def test_two_pictures_never_share_one_result(finished, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("x.jpg", "x.png", "x.png.png"):
        Image.new("RGB", (20, 20)).save(pictures / name)
    assert run_command(predict, [str(finished / "scl"), str(pictures), "--out", str(tmp_path / "out")]) == 2
    assert "would both be written as x.png.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (predict, ["PICTURE", "--out", "PICTURE"], "cannot be a folder for results"),
        (predict, ["PICTURE", "--out", "OUT", "--config", "a.yaml"], "unknown option --config"),
        (evaluate, ["--config", "a.yaml"], "--config cannot be given here"),
        (evaluate, ["--split", "tset"], "--split 'tset' is not one of train, val, test"),
        (evaluate, ["--checkpoint", "5000"], "5000"),
        (evaluate, ["--checkpoint", "OTHER"], "is of method supervised, and the run is of method scl"),
        (evaluate, ["--checkpoint", "COPY"], "is a checkpoint of another run"),
    ],
)
def test_wrong_option_of_a_command_is_one_line(finished, tmp_path, capsys, command, words, message):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(picture)
    other = finished / "supervised" / "checkpoints" / "00000006"
    copy = shutil.copytree(finished / "scl" / "checkpoints" / "00000006", tmp_path / "00000006")
    places = {"PICTURE": str(picture), "OUT": str(tmp_path / "out"), "OTHER": str(other), "COPY": str(copy)}
    assert run_command(command, [str(finished / "scl"), *(places.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_time_of_a_step_holds_no_evaluation(tmp_path):
    run = tmp_path / "run"
    options = tiny_options(run, data__val=60, train__steps=4, train__evaluate_every=2, train__keep_checkpoints=9)
    assert run_command(train, options) == 0
    rows = metrics(run)
    assert rows[2]["data_seconds"] < rows[2]["seconds"] < 3 * max(rows[1]["seconds"], rows[3]["seconds"])


def test_run_that_ended_before_its_first_checkpoint_begins_again(tmp_path):
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, train__learning_rate=1e30, train__checkpoint_every=6)) == 1
    assert not (run / "checkpoints" / "last.json").exists()
    assert run_command(train, ["--resume", str(run), "--train.stop_at", "1"]) == 0
    assert [row["step"] for row in metrics(run)] == [1]


def test_own_network_trains_scores_and_predicts(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_net.py").write_text(
        "from torch import nn\n\n\ndef build(num_classes):\n    return nn.Conv2d(3, num_classes, 3, padding=1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, model__encoder="my_net:build", train__steps=2)) == 0
    assert run_command(evaluate, [str(run), "--split", "val", "--checkpoint", str(run / "checkpoints/00000002")]) == 0
    Image.new("RGB", (20, 20)).save(tmp_path / "p.png")
    assert run_command(predict, [str(run), str(tmp_path / "p.png"), "--out", str(tmp_path / "out")]) == 0
    assert "by the teacher of step 2" in capsys.readouterr().out


def test_predict_tells_the_broken_picture_and_does_the_others(finished, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (20, 20)).save(pictures / "good.png")
    (pictures / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert run_command(predict, [str(finished / "scl"), str(pictures), "--out", str(out)]) == 2
    assert "1 of 2 pictures could not be read" in capsys.readouterr().err
    assert (out / "masks" / "good.png").exists()
