"""The command evaluate: other protocols and their files, and the count of readings of the test list."""

import json

import numpy as np
import pytest
from PIL import Image

from scl_core.command_line import run_command
from scl_core.evaluate import main as evaluate
from scl_core.predict import main as predict
from scl_core.runs import RunFolder
from scl_core.train import main as train
from tests.tiny import tiny_options

LOOKS = ["--scales", "0.5,1", "--flip", "--tile", "24", "--overlap", "0.25"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    options = tiny_options(folder, train__steps=2, train__evaluate_every=2, method__name="supervised")
    assert run_command(train, options) == 0
    return folder


def rows(run):
    return [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]


def contents(run):
    return {path.name: path.read_bytes() for path in (run / "evaluations").iterdir()}


@pytest.mark.parametrize(
    ("words", "variant", "sentence"),
    [
        (LOOKS, "tile24_25_x0p5_1_flip", "tiles 24 overlap 0.25, scales 0.5 1, flip, logits averaged, input 32x48, "),
        (["--data.height", "24"], "input24x48_lists", "whole picture, input 24x48, "),
        (["--data.val", "2", "--flip"], "flip_lists", "whole picture, flip, logits averaged, input 32x48, "),
    ],
)
def test_another_protocol_size_or_list_leaves_the_runs_own_files_alone(run, words, variant, sentence):
    before = contents(run)
    assert {"2-val-student.json", "2-val-student.npz"} <= before.keys()
    assert run_command(evaluate, [str(run), "--device", "cpu", *words]) == 0
    after, row = contents(run), rows(run)[-1]
    assert {name: after[name] for name in before} == before
    assert row["variant"].startswith(variant) and row["protocol"].startswith(sentence)
    assert {f"2-val-student-{row['variant']}.json", f"2-val-student-{row['variant']}.npz"} <= after.keys()
    stored, matrices, names = RunFolder.open(run).read_evaluation(2, "val", "student", row["variant"])
    assert stored["mean_iou"] == row["mean_iou"] and len(matrices) == len(names) == row["pictures"]


def test_the_runs_own_protocol_is_the_contracts_file_again(run):
    before = contents(run)
    assert run_command(evaluate, [str(run), "--device", "cpu"]) == 0
    assert contents(run).keys() == before.keys() and "variant" not in rows(run)[-1]


def test_every_reading_of_the_test_list_is_counted_and_the_final_one_marked(run, capsys):
    for number, words in enumerate(([], ["--flip"], ["--final"]), start=1):
        assert run_command(evaluate, [str(run), "--split", "test", "--device", "cpu", *words]) == 0
        row = rows(run)[-1]
        assert (row["split"], row["test_reads"], row["final"]) == ("test", number, words == ["--final"])
    assert "read 3 times in this run, this time for good" in capsys.readouterr().out
    assert run_command(evaluate, [str(run), "--final"]) == 2
    assert "give --split test too" in capsys.readouterr().err


def test_predict_takes_the_same_looks(run, tmp_path, capsys):
    picture = np.random.default_rng(0).integers(0, 255, (40, 61, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    masks = []
    for number, words in enumerate(([], LOOKS)):
        out = tmp_path / str(number)
        assert run_command(predict, [str(run), str(tmp_path / "x.png"), "--out", str(out), *words]) == 0
        masks.append(np.asarray(Image.open(out / "masks" / "x.png")))
    assert masks[0].shape == masks[1].shape == (40, 61) and (masks[0] != masks[1]).any()
    assert run_command(predict, [str(run), str(tmp_path / "x.png"), "--out", str(tmp_path), "--scales", "a"]) == 2
    assert "--scales 'a' is not a number from 0 to 8" in capsys.readouterr().err
