"""A study of two tiny pairs by the real command: forks, skips what is recorded, goes on, tells its table."""

import json

import pytest
import torch
import yaml

from experiments import study as study_module
from experiments import study_table
from experiments.matching import gradient_ratio
from experiments.pairs import PRIMARY, SECONDARY
from experiments.study import Study, arm_settings, main, protocol_hash
from scl_core.checkpoint import find_checkpoint, read_checkpoint
from scl_core.config import load_config
from scl_core.figures.forest import ForestRow, forest
from tests.conftest import ROOT

PILOT = ROOT / "experiments" / "studies" / "pilot.yaml"
SMALL = {
    "model.width": 0.25,
    "model.decoder_channels": 8,
    "train.batch_labeled": 2,
    "train.batch_unlabeled": 2,
    "train.threads": 1,
    "data.height": 32,
    "data.width": 48,
    "data.labeled": 4,
    "data.unlabeled": 6,
    "data.val": 3,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The pilot's file cut down to two arms, six steps and one pair, and run."""
    folder = tmp_path_factory.mktemp("study")
    file = yaml.safe_load(PILOT.read_text()) | {"steps": 6, "fork_at": 2}
    file["arms"] = {name: file["arms"][name] for name in ("consistency_matched", "scl_whole")}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(file))
    given = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
    command = [str(path), "scenes", "--pairs", "1", "--runs", str(folder / "runs"), *given]
    main(command)
    return Study(path, "scenes", SMALL, folder / "runs"), command


def test_arms_fork_from_one_trunk_and_end_its_schedule(done):
    study, _ = done
    trunk = read_checkpoint(find_checkpoint(study.folder(0, "trunk"), "last"))
    assert trunk.step == 2
    for name in study.file["arms"]:
        config = yaml.safe_load((study.folder(0, name) / "config.yaml").read_text())
        assert config["model"]["weights"] == str(study.folder(0, "trunk")) and config["train"]["steps"] == 4
        rates = [json.loads(line)["learning_rate"] for line in open(study.folder(0, name) / "metrics.jsonl")]
        assert rates == pytest.approx([0.05 * (1 - step / 6) ** 0.9 for step in range(2, 6)])


def test_rows_say_where_they_come_from_and_are_not_taken_twice(done, capsys):
    study, command = done
    rows = study.rows()
    assert [row["arm"] for row in rows] == ["consistency_matched", "scl_whole"]
    assert {row["protocol"] for row in rows} == {protocol_hash()} and {row["split"] for row in rows} == {"dev"}
    assert {row["pictures"] for row in rows} == {6 + 3}  # the unlabeled pictures and val, never a labeled one
    main(command)
    assert study.rows() == rows and capsys.readouterr().out == ""


def test_the_matched_arm_pulls_as_hard(done):
    study, _ = done
    matched, weight = arm_settings(study, 0, "consistency_matched", study.folder(0, "trunk"))
    whole, none = arm_settings(study, 0, "scl_whole", study.folder(0, "trunk"))
    assert weight > 2.0 and none is None
    assert gradient_ratio(whole, matched) == pytest.approx(1.0, rel=1e-4)


def test_table_and_plot_come_from_the_rows(done, monkeypatch):
    study, _ = done
    monkeypatch.setattr(study_table, "RECORDS", study.records.parent)
    told = study_table.study_table("small")
    assert "**`scl_whole` − `consistency_matched`**" in told and protocol_hash() in told
    rows, primary = study_table.forest_rows("small")
    assert primary == 1 and len(rows) == 1
    assert "## small" in study_table.page()


def test_the_page_of_the_studies_is_what_its_command_prints():
    assert (ROOT / "experiments" / "studies" / "README.md").read_text() == study_table.page()


def test_every_contrast_names_arms_of_the_pilot():
    file = yaml.safe_load(PILOT.read_text())
    assert {arm for names in (*PRIMARY, *SECONDARY) for arm in names} == set(file["arms"])
    for name in file["arms"]:
        shared = file["settings"] | file["worlds"]["scenes"]["settings"]
        own = study_module.arm_of(Study(PILOT, "scenes", {}, ROOT / "runs"), name)
        load_config((), {key: value for key, value in (shared | own).items() if key != "match_gradient_of"})


@pytest.mark.parametrize("file", sorted(PILOT.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_arm_of_every_study_is_a_good_set_of_settings(file):
    for world in yaml.safe_load(file.read_text())["worlds"]:
        study = Study(file, world, {"data.root": str(ROOT)} if world == "camvid" else {}, ROOT / "runs")
        arms = [study_module.arm_of(study, name) for name in study.file["arms"]]
        for settings in arms + ([study.file["trunk"]] if study.has_trunk else []):
            known = {key: value for key, value in (study.settings(0) | settings).items() if key != "match_gradient_of"}
            presets = [known.pop("config")] if "config" in known else []
            assert load_config(presets, known).train.steps == known["train.steps"]


@pytest.mark.parametrize("world", ["scenes", "camvid"])
def test_an_arm_may_be_a_preset_that_trains_from_first_weights(world):
    study = Study(PILOT.with_name("recommended.yaml"), world, {}, ROOT / "runs")
    settings, _ = arm_settings(study, 0, "recommended", study.folder(0, "trunk"))
    preset = settings.pop("config")
    data = {"data.root": str(ROOT)} if world == "camvid" else {}
    config = load_config([preset], settings | data)
    assert preset.name == "recommended.yaml" and preset.parent.name == config.data.name == world
    assert config.model.weights is None and config.train.steps == 1500 and config.method.structured_region == "whole"


def test_a_study_of_other_arms_is_told_against_supervised():
    row = {"mean_iou": 0.2, "blocks": [[[4, 8, 9]]], "network": "teacher"}
    rows = [row | {"pair": pair, "arm": arm} for pair in (0, 1) for arm in ("supervised", "recommended")]
    assert "`recommended` − `supervised` | +0.00" in study_table.contrast_table(rows)
    assert study_table.contrast_table(rows[:2]) == ""
    assert "0.00 points above `supervised` on dev (n = 2)" in study_table.verdict(rows)
    worse = [row | {"mean_iou": 0.19} if row["arm"] == "recommended" else row for row in rows]
    assert "1.00 points BELOW" in study_table.verdict(worse)


def test_forest_has_a_row_for_each_contrast():
    figure = forest([ForestRow("a − b", 1.0, (0.5, 1.5), [0.8, 1.2]), ForestRow("a − c", -1.0, None, [-1.0])], "t", 1)
    assert list(figure.layout.yaxis.ticktext) == ["a − b", "a − c"]
    drawn = {trace.name: trace for trace in figure.data}
    assert list(drawn["one pair"].x) == [0.8, 1.2, -1.0]
    assert drawn["primary contrast"].error_x.array[0] == pytest.approx(0.5)
    assert drawn["secondary contrast"].error_x.array[0] == 0


def test_the_gradient_is_of_the_unlabeled_terms_alone():
    settings = SMALL | {"method.name": "scl", "train.steps": 4, "model.encoder": "mobilenet_v2"}
    twice = settings | {"method.consistency_weight": 4.0, "method.structured_weight": 4.0}
    assert gradient_ratio(twice, settings, 2) == pytest.approx(2.0, rel=1e-5)
    assert torch.is_grad_enabled()
