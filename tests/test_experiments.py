"""What experiments/ says comes from its records, and every preset is a good config file."""

import json
from pathlib import Path

import pytest

from experiments.benchmarks.methods import measure
from experiments.headers import headers
from experiments.record import record
from experiments.run_table import Row, options_of, read_options, rows, steps_in_equal_time
from experiments.run_table import main as run_table
from experiments.table import RECORDS, methods_table, table
from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.methods import METHODS
from scl_core.train import main as train
from tests.conftest import ROOT
from tests.tiny import tiny_options

DATA_OF_FOLDER = {"demo": "scenes"}
PRESETS = sorted(
    path
    for path in (ROOT / "experiments").glob("*/*.yaml")
    if path.name != "base.yaml" and path.parent.name not in ("studies", "faults")
)


METHOD_OF_FILE = {"scl_paper": "scl", "recommended": "scl"}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: "/".join(path.parts[-2:]))
def test_preset_is_a_good_config_file(preset: Path):
    data = DATA_OF_FOLDER.get(preset.parent.name, preset.parent.name)
    config = load_config([preset], {} if data == "scenes" else {"data.root": str(ROOT)})
    method = METHOD_OF_FILE.get(preset.stem, preset.stem)
    assert (config.data.name, config.method.name) == (data, method)
    assert preset.read_text().startswith("# ")


@pytest.mark.parametrize("data", ["scenes", "camvid", "cityscapes", "voc"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_preset_that_says_its_command_hours_and_result(data: str, method: str):
    name = f"experiments/{data}/{method}.yaml"
    comments = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("#")]
    for word in ("Command: ", "Hours: ", "Result: "):
        assert sum(line.startswith(f"# {word}") for line in comments) == 1, word
    assert any(line.startswith(f"# Command: python -m scl_core.train --config {name}") for line in comments)
    assert not any(tag in " ".join(comments) for tag in ("[R]", "[mem]"))


@pytest.mark.parametrize("data", ["cityscapes", "voc"])
@pytest.mark.parametrize("method", METHODS)
def test_the_headers_of_large_presets_say_that_nobody_ran_them_here(data: str, method: str):
    text = " ".join((ROOT / f"experiments/{data}/{method}.yaml").read_text().replace("\n#", " ").split())
    assert "no run was made here" in text
    assert any(words in text for words in ("Result: published", "none was measured", "was not measured"))


def test_the_headers_of_small_presets_have_the_figures_of_the_records_and_their_set_up():
    found = list(headers())
    assert len(found) == 2 * len(METHODS)
    assert [str(file) for file, text, wanted in found if text != wanted] == [], "python -m experiments.headers --write"
    said = {f"{file.parent.name}/{file.stem}": " ".join(text.replace("#", " ").split()) for file, text, _ in found}
    for name, text in said.items():
        setup = "table.yaml (72 x 96, 400 steps)" if name.startswith("scenes") else "methods.yaml (90 x 120, 450 steps)"
        assert setup in text and ("at this size none was measured" in text or "with one seed" in text), name
    at_steps = "14.99 ± 0.22 (n = 3) test mIoU, supervised 17.29 ± 0.88 (n = 3)"
    assert f"{at_steps}; in equal time 14.68 ± 0.45 (n = 3) test mIoU, supervised 19.53" in said["scenes/cps"]
    assert "21.22 dev mIoU, supervised 23.22, one run each" in said["camvid/rc2l"]


def test_results_table_is_what_its_command_prints():
    text = (ROOT / "experiments" / "README.md").read_text()
    assert table() in text and methods_table() in text
    setup = load_config([ROOT / "experiments" / "table.yaml"])
    assert (setup.data.height, setup.data.width, setup.data.test, setup.train.steps) == (72, 96, 100, 400)


def test_the_drawn_scenes_leave_room_for_unlabeled_pictures():
    def score(name: str) -> float:
        kept = json.loads((RECORDS / f"{name}.json").read_text())
        return next(
            row["mean_iou"] for row in kept["evaluations"] if (row["split"], row["network"]) == ("test", "teacher")
        )

    gap = score("scenes-400-supervised-batch8") - score("scenes-12-supervised-batch8")
    assert gap >= 0.10 and f"{100 * gap:.1f} points" in (ROOT / "experiments" / "README.md").read_text()


def test_record_of_a_run_gives_the_command_that_repeats_it(tmp_path):
    run = tmp_path / "run"
    assert run_command(train, tiny_options(run, train__steps=2)) == 0
    kept = record(run, "a test's machine")
    words = kept["command"].split()
    assert words[:5] == ["python", "-m", "scl_core.train", "--config", "experiments/scenes/scl.yaml"]
    given = dict(zip([word.removeprefix("--") for word in words[5::2]], words[6::2], strict=True))
    repeated = load_config(["experiments/scenes/scl.yaml"], given)
    assert repeated.train.steps == 2 and repeated.model.width == 0.25 and repeated.method.start == 0.0
    assert {row["step"] for row in kept["evaluations"]} == {2}


SMALL_SETUP = """
data: {height: 32, width: 48, labeled: 4, unlabeled: 4, val: 1, test: 2}
model: {width: 0.25, decoder_channels: 8}
train: {threads: 1}
"""


def kept_row(method: str, seed: int, score: float, steps: int = 400, seconds: float = 0.1) -> str:
    """What `experiments.run_table` writes, as far as the table reads it."""
    config = {"train": {"steps": steps}, "seed": seed}
    scores = [{"split": split, "network": "teacher", "mean_iou": score} for split in ("val", "test")]
    return json.dumps({"config": config, "evaluations": scores, "step_seconds": seconds})


def test_table_of_methods_has_mean_spread_and_number_at_equal_steps_and_time(tmp_path):
    for seed, score in enumerate((0.2, 0.3, 0.4)):
        (tmp_path / f"steps-scl-s{seed}.json").write_text(kept_row("scl", seed, score))
        (tmp_path / f"steps-cps-s{seed}.json").write_text(kept_row("cps", seed, 0.25, seconds=0.2))
    (tmp_path / "time-cps-s0.json").write_text(kept_row("cps", 0, 0.15, steps=200))
    lines = methods_table(tmp_path).splitlines()[2:]
    assert lines == [
        "| scl | 30.00 ± 10.00 (n = 3) | 400 | 0.100 | 30.00 ± 10.00 (n = 3) | 400 | teacher |",
        "| cps | 25.00 ± 0.00 (n = 3) | 400 | 0.200 | 15.00 (n = 1) | 200 | teacher |",
    ]
    assert steps_in_equal_time("cps", tmp_path) == 200
    with pytest.raises(SystemExit, match="no row of pcr at equal steps is recorded"):
        steps_in_equal_time("pcr", tmp_path)


def test_rows_go_seed_by_seed_and_the_reference_needs_no_time_of_its_own():
    assert [row.name for row in rows(["scl", "cps"], [0, 1], "steps")] == [
        "steps-scl-s0", "steps-cps-s0", "steps-scl-s1", "steps-cps-s1",
    ]  # fmt: skip
    assert [row.name for row in rows(list(METHODS), [0], "time")][2:4] == ["time-cutmix_seg-s0", "time-fixmatch-s0"]


def test_run_table_goes_on_records_and_skips(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SMALL_SETUP)
    words = ["a test's machine", "--setup", str(tmp_path / "small.yaml"), "--methods", "supervised", "--seeds", "1"]
    words += ["--steps", "3", "--runs", str(tmp_path / "runs"), "--records", str(tmp_path)]
    run = tmp_path / "runs" / "steps-supervised-s1"
    options = options_of(Row("supervised", 1), read_options(words))
    assert run_command(train, [*options, "--run_dir", str(run), "--train.stop_at", "2", "--device", "cpu"]) == 0
    run_table(words)
    kept = json.loads((tmp_path / "steps-supervised-s1.json").read_text())
    assert {row["split"] for row in kept["evaluations"]} == {"val", "test"} and kept["step_seconds"] > 0
    assert kept["evaluations"][0]["step"] == 3 and kept["config"]["seed"] == 1
    capsys.readouterr()
    run_table(words)
    assert capsys.readouterr().out == "steps-supervised-s1: recorded already\n"


def test_the_papers_preset_has_the_papers_numbers():
    config = load_config([ROOT / "experiments/cityscapes/scl_paper.yaml"], {"data.root": "cityscapes"})
    method, train, augment = config.method, config.train, config.augment
    assert (method.num_boxes, method.num_loss_boxes, method.max_pairs) == (32, 16, 9000)
    assert (method.consistency_weight, method.structured_weight, method.box_reduction) == (20, 3, "sum")
    assert (train.optimizer, train.learning_rate, train.power, train.momentum) == ("sgd", 0.002, 1.0, 0.9)
    assert train.weight_decay == 0.001 and (train.batch_labeled, train.batch_unlabeled) == (8, 8)
    assert train.steps == round(175 * 2975 / 8) == 65_078
    assert (config.model.encoder, config.model.output_stride) == ("wide_resnet38", 8)
    assert (augment.crop_height, augment.crop_width, method.relaxation_window) == (896, 896, 3)
    assert (method.ema_decay, method.ema_warmup, method.ema_time, method.ramp, method.start) == (
        0.999,
        False,
        None,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("name", "trained", "others", "pictures"),
    [("supervised", 1, 0, 4), ("scl", 1, 1, 4 + 4 + 8), ("cps", 4, 4, 2 * (4 + 4) + 2 * 8), ("fixmatch", 2, 1, 16)],
)
def test_passes_of_a_step_are_counted(name, trained, others, pictures):
    small = {"data__height": 32, "data__width": 48, "data__labeled": 4, "data__unlabeled": 8, "data__val": 1}
    cost = measure(name, steps=1, data__test=1, model__width=0.25, model__decoder_channels=8, **small)
    assert (cost.trained_passes, cost.other_passes, cost.pictures) == (trained, others, pictures)
    assert cost.million_trained > 0 and cost.pictures_a_second > 0
