"""Whatever is damaged or put in the place of a checkpoint, the newest whole one is found and nothing else loaded."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from scl_core import checkpoint
from scl_core.checkpoint import (
    CheckpointError,
    find_checkpoint,
    read_checkpoint,
)
from tests.checkpoint.saving import assert_holds, folder, save, steps_of


def test_every_flipped_bit_is_found(run_dir):
    save(run_dir, 1, 2)
    places = [(path, offset) for path in sorted(folder(run_dir, 2).iterdir()) for offset in range(path.stat().st_size)]
    chance = random.Random(0)
    for path, offset in chance.sample(places, 50):
        good = path.read_bytes()
        bad = bytearray(good)
        bad[offset] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(CheckpointError):
            read_checkpoint(folder(run_dir, 2))
        with pytest.warns(RuntimeWarning, match="checkpoint 00000002 is damaged.*using checkpoint 1"):
            assert_holds(run_dir, 1)
        path.write_bytes(good)
    assert_holds(run_dir, 2)


def test_every_flipped_bit_of_the_manifest_is_found(run_dir):
    save(run_dir, 2)
    path = folder(run_dir, 2) / "manifest.json"
    good = path.read_bytes()
    for offset in range(0, len(good), 3):
        bad = bytearray(good)
        bad[offset] ^= 1 << (offset % 8)
        path.write_bytes(bad)
        with pytest.raises(CheckpointError):
            read_checkpoint(folder(run_dir, 2))


def test_cut_and_zeroed_files_are_found(run_dir):
    save(run_dir, 1, 2)
    for path in folder(run_dir, 2).iterdir():
        good = path.read_bytes()
        for bad in (*(good[:cut] for cut in range(0, len(good), 97)), bytes(len(good)), good + b"\0"):
            path.write_bytes(bad)
            with pytest.raises(CheckpointError):
                read_checkpoint(folder(run_dir, 2))
        with pytest.warns(RuntimeWarning, match="using checkpoint 1"):
            assert_holds(run_dir, 1)
        path.write_bytes(good)


def test_a_missing_file_or_folder_is_gone_around(run_dir):
    save(run_dir, 1, 2, 3)
    (folder(run_dir, 3) / "student.safetensors").unlink()
    with pytest.warns(RuntimeWarning, match="using checkpoint 2"):
        assert_holds(run_dir, 2)
    shutil.rmtree(folder(run_dir, 3))
    with pytest.warns(RuntimeWarning, match="last.json names 3, which is not there: using checkpoint 2"):
        assert_holds(run_dir, 2)
    with pytest.raises(CheckpointError, match="no checkpoint .*00000003"):
        find_checkpoint(run_dir, 3)


@pytest.mark.parametrize(
    "content", ['{"step": "../../x"}', '{"step": null}', "[]", "", '{"step": 1e999}', '{"step": -2}']
)
def test_a_strange_last_is_gone_around(run_dir, content):
    save(run_dir, 1, 2)
    (run_dir / "checkpoints" / "last.json").write_text(content)
    with pytest.warns(RuntimeWarning, match="using checkpoint 2"):
        assert_holds(run_dir, 2)
    (run_dir / "checkpoints" / "best.json").write_text(content)
    with pytest.raises(CheckpointError):
        find_checkpoint(run_dir, "best")


def test_a_checkpoint_under_another_name_is_not_taken(run_dir):
    save(run_dir, 1, 2)
    os.rename(folder(run_dir, 2), folder(run_dir, 9))
    with pytest.warns(RuntimeWarning, match="says that it is that of step 2.*using checkpoint 1"):
        assert_holds(run_dir, 1)


def reseal(run_dir: Path, **changes) -> None:
    """Change the manifest of step 2 as someone would who knows how it is sealed."""
    path = folder(run_dir, 2) / "manifest.json"
    value = {key: item for key, item in json.loads(path.read_text()).items() if key != "sha256"}
    path.write_bytes(checkpoint.make_manifest(changes.get("step", 2), changes.get("files", value["files"]), {}))


@pytest.mark.parametrize(
    "name", ["../state.json", "/etc/passwd", "a\\b.json", "%2e%2e.json", "//host/x.json", "nul\0.json"]
)
def test_names_in_a_manifest_never_leave_the_folder(run_dir, name):
    save(run_dir, 2)
    reseal(run_dir, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(CheckpointError, match="which no checkpoint holds"):
        read_checkpoint(folder(run_dir, 2))


@pytest.mark.parametrize("place", ["00000002", "last.json", "best.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_are_never_replaced(run_dir, tmp_path, place, kind):
    save(run_dir, 1)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = run_dir / "checkpoints" / place
    path.unlink(missing_ok=True)
    path.symlink_to(victim) if kind == "link" else os.mkfifo(path)
    with pytest.raises(CheckpointError, match="is not replaced"):
        save(run_dir, 2)
    assert victim.read_text() == "mine" and (path.is_symlink() or path.is_fifo())
    assert steps_of(run_dir) == [1] and not list((run_dir / "checkpoints").glob(".*"))


def test_linked_files_and_folders_are_not_read(run_dir, tmp_path):
    save(run_dir, 1, 2)
    os.rename(folder(run_dir, 2), tmp_path / "moved")
    folder(run_dir, 2).symlink_to(tmp_path / "moved")
    with pytest.warns(RuntimeWarning, match="using checkpoint 1"):
        assert_holds(run_dir, 1)
    shutil.copytree(tmp_path / "moved", folder(run_dir, 3))
    state = folder(run_dir, 3) / "state.json"
    state.unlink()
    state.symlink_to(tmp_path / "moved" / "state.json")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(folder(run_dir, 3))


def test_a_run_folder_that_is_gone_is_not_made_again(run_dir):
    save(run_dir, 1)
    os.rename(run_dir, run_dir.with_name("moved"))
    with pytest.raises(CheckpointError, match="is gone"):
        save(run_dir, 2)
    assert not run_dir.exists()
