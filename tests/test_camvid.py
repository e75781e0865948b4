"""The main job on real pictures: CamVid from the command to the table."""

import json

import pytest

from tests.tiny import metrics

pytestmark = pytest.mark.camvid
SMALL = ["--data.height", "60", "--data.width", "80", "--model.width", "0.25", "--model.decoder_channels", "16"]
SHORT = ["--train.steps", "12", "--train.evaluate_every", "12", "--train.learning_rate", "0.02", "--device", "cpu"]


def test_scl_trains_scores_and_predicts_on_camvid(camvid_root, tmp_path, run_cli):
    run = tmp_path / "run"
    config = ["--config", "experiments/camvid/scl.yaml", "--data.root", camvid_root, "--run_dir", run]
    trained = run_cli("train", *config, *SMALL, *SHORT)
    assert trained.rc == 0, trained.stderr
    rows = metrics(run)
    assert len(rows) == 12 and rows[-1]["supervised"] < rows[0]["supervised"]
    assert rows[0]["structured"] is None and rows[-1]["structured"] > 0

    scored = run_cli("evaluate", run, "--split", "test", "--device", "cpu")
    assert scored.rc == 0, scored.stderr
    assert "Bicyclist" in scored.stdout and "233 pictures" in scored.stdout
    record = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    assert len(record["per_class_iou"]) == 11 and record["per_class_iou"]["Road"] > 0

    picture = next((camvid_root / "test" / "images").glob("*.jpg"))
    predicted = run_cli("predict", run, picture, "--out", tmp_path / "out", "--device", "cpu")
    assert predicted.rc == 0 and (tmp_path / "out" / "masks" / f"{picture.stem}.png").exists()


def test_list_hash_does_not_depend_on_where_the_pictures_lie(camvid_root, tmp_path):
    from scl_core.config import load_config
    from scl_core.data.sources import open_data

    (tmp_path / "elsewhere").symlink_to(camvid_root)
    hashes = {
        open_data(load_config([], {"data.name": "camvid", "data.root": root, "data.labeled": "1_8"}).data).list_hash
        for root in (camvid_root, tmp_path / "elsewhere")
    }
    assert len(hashes) == 1
