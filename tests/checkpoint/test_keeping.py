"""Checkpoints as they are saved, found and kept: the newest and the best."""

import json
import os

import pytest
import torch

from scl_core import checkpoint
from scl_core.checkpoint import (
    CheckpointError,
    find_checkpoint,
    read_checkpoint,
    save_checkpoint,
    update_best,
)
from tests.checkpoint.saving import assert_holds, folder, save, steps_of


def test_what_is_saved_is_read(run_dir):
    (run_dir / "config.yaml").write_text("seed: 1\n")
    save(run_dir, 1, 12)
    assert_holds(run_dir, 12)
    stored = read_checkpoint(find_checkpoint(run_dir, 1), names=("student",))
    assert stored.step == 1 and list(stored.tensors) == ["student"]
    assert stored.manifest["world_size"] == 2 and len(stored.manifest["config_hash"]) == 12
    assert set(os.listdir(folder(run_dir, 1))) == {
        *("student.safetensors", "teacher.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
    }
    assert json.loads((run_dir / "checkpoints" / "last.json").read_text()) == {"step": 12}
    written = [path for path in (run_dir / "checkpoints").rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in written)


def test_tensors_that_share_memory_are_stored_whole(run_dir):
    base = torch.arange(12.0).reshape(3, 4)
    shared = {"tied": base, "again": base, "row": base[1], "turned": base.t(), "spread": torch.ones(1).expand(3)}
    save_checkpoint(run_dir, 1, {"student": shared}, {}, {})
    stored = read_checkpoint(find_checkpoint(run_dir)).tensors["student"]
    assert all(torch.equal(stored[name], tensor) for name, tensor in shared.items())
    stored["tied"].zero_()
    assert stored["again"].sum() > 0


def test_names_find_checkpoints(run_dir):
    save(run_dir, 5, 10)
    update_best(run_dir, 5, 0.5, "teacher")
    for which in (5, "5", "best", str(folder(run_dir, 5)), folder(run_dir, 5) / "student.safetensors"):
        assert find_checkpoint(run_dir, which) == folder(run_dir, 5)
    with pytest.raises(CheckpointError, match="checkpoints of this run: 5, 10"):
        find_checkpoint(run_dir, 7)
    with pytest.raises(CheckpointError, match="none was saved"):
        find_checkpoint(run_dir.parent)
    with pytest.raises(CheckpointError, match="no best checkpoint yet"):
        find_checkpoint(run_dir.parent, "best")


def test_saving_a_step_again_replaces_it(run_dir):
    save(run_dir, 5)
    (folder(run_dir, 5) / "stray").write_text("x")
    save(run_dir, 5)
    assert_holds(run_dir, 5)
    assert sorted(os.listdir(run_dir / "checkpoints")) == ["00000005", "last.json"]


def test_the_newest_and_the_best_stay(run_dir):
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.3), (4, 0.4), (5, 0.5)):
        save(run_dir, step, keep_last=2)
        update_best(run_dir, step, score, "teacher")
    assert steps_of(run_dir) == [2, 4, 5]


def test_of_two_equal_scores_the_later_is_the_best(run_dir):
    save(run_dir, 1, 2, 3)
    assert [update_best(run_dir, step, score, "teacher") for step, score in ((1, 0.5), (2, 0.5), (3, 0.4))] == [
        *(True, True, False)
    ]
    assert json.loads((run_dir / "checkpoints" / "best.json").read_text()) == {
        "step": 2,
        "mean_iou": 0.5,
        "network": "teacher",
    }
    with pytest.raises(CheckpointError, match="no checkpoint of step 9"):
        update_best(run_dir, 9, 0.9, "teacher")


def test_nothing_is_removed_before_the_new_one_is_verified(run_dir, monkeypatch):
    save(run_dir, 1, keep_last=1)
    real = checkpoint.write_json_atomic

    def damage_after(path, value):
        real(path, value)
        (folder(run_dir, 2) / "student.safetensors").write_bytes(b"rot")

    monkeypatch.setattr(checkpoint, "write_json_atomic", damage_after)
    with pytest.raises(CheckpointError, match="checkpoint 2 cannot be written"):
        save(run_dir, 2, keep_last=1)
    with pytest.warns(RuntimeWarning, match="using checkpoint 1"):
        assert_holds(run_dir, 1)


def test_damaged_checkpoints_of_an_earlier_future_do_not_crowd_out_good_ones(run_dir):
    save(run_dir, 10, 20, 30)
    for step in (20, 30):
        (folder(run_dir, step) / "student.safetensors").unlink()
    save(run_dir, 15, keep_last=1)  # resumed from 10
    assert steps_of(run_dir) == [15]
    assert_holds(run_dir, 15)
