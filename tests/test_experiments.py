"""What experiments/ says comes from its records, and every preset is a good config file."""

import json
from pathlib import Path

import pytest

from experiments.record import record
from experiments.table import RECORDS, table
from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.train import main as train
from tests.conftest import ROOT
from tests.tiny import tiny_options

PRESETS = sorted(
    path
    for path in (ROOT / "experiments").glob("*/*.yaml")
    if path.name != "base.yaml" and path.parent.name != "studies"
)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: "/".join(path.parts[-2:]))
def test_preset_is_a_good_config_file(preset: Path):
    config = load_config([preset], {} if preset.parent.name == "scenes" else {"data.root": str(ROOT)})
    assert (config.data.name, config.method.name) == (preset.parent.name, preset.stem)
    assert preset.read_text().startswith("# ")


def test_results_table_is_what_its_command_prints():
    assert table() in (ROOT / "experiments" / "README.md").read_text()


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
