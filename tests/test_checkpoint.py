"""Checkpoints: whatever is killed, filled up or damaged, the newest whole one is found and nothing else is loaded."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_bytes

from scl_core import checkpoint
from scl_core.checkpoint import (
    CheckpointError,
    find_checkpoint,
    read_checkpoint,
    read_weights,
    save_checkpoint,
    sweep,
    update_best,
)
from scl_core.storage import checkpoint_folders

INFO = {"torch": torch.__version__, "threads": 1, "world_size": 2}


def tensors_of(step: int, size: int = 5) -> dict:
    generator = torch.Generator().manual_seed(step)
    student = {"weight": torch.randn(size, 3, generator=generator), "count": torch.tensor(step)}
    teacher = {"weight": torch.randn(size, 3, generator=generator), "mask": torch.tensor([True, False])}
    return {"student": student, "teacher": teacher, "optimizer": {"0.momentum": torch.full((size,), float(step))}}


def save(run_dir: Path, *steps: int, keep_last: int = 10) -> None:
    for step in steps:
        save_checkpoint(run_dir, step, tensors_of(step), {"step": step, "classes": ["Road"]}, INFO, keep_last)


def folder(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoints" / f"{step:08d}"


def steps_of(run_dir: Path) -> list[int]:
    return sorted(checkpoint_folders.step_folders(run_dir / "checkpoints"))


def assert_holds(run_dir: Path, step: int) -> None:
    """The last checkpoint is that of `step`, to the bit."""
    stored = read_checkpoint(find_checkpoint(run_dir, "last"))
    assert stored.step == step and stored.state == {"step": step, "classes": ["Road"]}
    for name, part in tensors_of(step).items():
        assert part.keys() == stored.tensors[name].keys()
        assert all(torch.equal(tensor, stored.tensors[name][key]) for key, tensor in part.items())


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


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


# Which ones stay


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


# Killed while writing

FILES = 5  # student, teacher, optimizer, state, manifest; then last.json
CUTS = ["0", "1", "64", "0.5", "-1", "1.0"]  # how much of a file is written: bytes, a share, or all but one byte
KILLS = [("write", nth, cut) for nth in range(1, FILES + 2) for cut in CUTS]
KILLS += [("fsync", nth, "") for nth in range(1, FILES + 5)]  # each file, temporary folder, parent, last.json, parent
KILLS += [("rename", 1, ""), ("replace", 1, ""), ("mkdir", 2, ""), ("rename", 2, ""), ("unlink", 1, "")]


def killed_while_saving(run_dir: Path, kind: str, nth: int, cut: str, step: int = 2) -> int:
    """Save in a child that dies in a write, or right after another call, the nth of its kind; its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls, real = 0, getattr(os, kind)

    def hooked(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls != nth:
            return real(*arguments, **options)
        if kind == "write":
            descriptor, data = arguments
            real(descriptor, bytes(data)[: bytes_before(cut, len(data))])
        else:
            real(*arguments, **options)
        os._exit(137)

    setattr(os, kind, hooked)
    try:
        save(run_dir, step, keep_last=1)
        os._exit(0)
    finally:
        os._exit(1)


def bytes_before(cut: str, size: int) -> int:
    if "." in cut:
        return int(float(cut) * size)
    return max(0, min(int(cut) if int(cut) >= 0 else size - 1, size))


def load_quietly(run_dir: Path) -> checkpoint.Checkpoint:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return read_checkpoint(find_checkpoint(run_dir, "last"))


@pytest.mark.fault
@pytest.mark.parametrize(("kind", "nth", "cut"), KILLS)
def test_a_save_that_is_killed_leaves_a_whole_checkpoint(run_dir, kind, nth, cut):
    save(run_dir, 1)
    assert killed_while_saving(run_dir, kind, nth, cut) == 137
    before = load_quietly(run_dir).step
    sweep(run_dir)
    assert load_quietly(run_dir).step == before
    assert steps_of(run_dir) in ([1], [2], [1, 2])
    assert not [name for name in os.listdir(run_dir / "checkpoints") if name.startswith(".")]
    save(run_dir, 3, keep_last=1)
    assert_holds(run_dir, 3)


@pytest.mark.fault
@pytest.mark.parametrize(("kind", "nth"), [("rename", 1), ("rename", 2), ("fsync", 7), ("rmdir", 1)])
def test_a_step_that_is_killed_while_it_is_replaced_is_not_lost(run_dir, kind, nth):
    save(run_dir, 1)
    assert killed_while_saving(run_dir, kind, nth, "", step=1) == 137
    assert_holds(run_dir, 1)
    sweep(run_dir)
    assert_holds(run_dir, 1)
    assert os.listdir(run_dir / "checkpoints").count("00000001") == 1


@pytest.mark.fault
def test_kills_at_random_moments_leave_a_whole_checkpoint(run_dir):
    save(run_dir, 1)
    reached, chance = 1, random.Random(0)
    for _ in range(12):
        child = os.fork()
        if child == 0:
            try:
                for step in range(reached + 1, reached + 10_000):
                    save(run_dir, step, keep_last=1)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.02, 0.15))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        sweep(run_dir)
        stored = load_quietly(run_dir)
        assert stored.step >= reached and stored.state["step"] == stored.step
        reached = stored.step
    assert reached > 1


def test_everything_is_flushed_before_it_gets_its_name(run_dir, monkeypatch):
    calls = []

    def recorded(kind, describe):
        real = getattr(os, kind)
        monkeypatch.setattr(os, kind, lambda *arguments: calls.append(describe(*arguments)) or real(*arguments))

    (run_dir / "checkpoints").mkdir()
    recorded("fsync", lambda descriptor: "sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
    recorded("rename", lambda old, new: f"rename {Path(old).name} {Path(new).name}")
    recorded("replace", lambda old, new: f"replace {Path(new).name}")
    save(run_dir, 2)
    temporary = f".tmp-2-{os.getpid()}"
    names = ("student.safetensors", "teacher.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
    last = next(call for call in calls if call.startswith("sync .last.json"))
    assert calls == [
        *(f"sync {name}" for name in names),
        *(f"sync {temporary}", f"rename {temporary} 00000002", "sync checkpoints"),
        *(last, "replace last.json", "sync checkpoints"),
    ]


# Damage


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


# Places that are not ours


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


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_the_former_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        save(disk, 1)
        big = {"student": {"weight": torch.ones(2 << 20)}}
        with pytest.raises(CheckpointError, match=r"disk full: checkpoint 2 needs 83886\d\d bytes, \d+ bytes are free"):
            save_checkpoint(disk, 2, big, {}, {}, keep_last=1)
        assert_holds(disk, 1)
        assert sorted(os.listdir(disk / "checkpoints")) == ["00000001", "last.json"]
        save(disk, 2)
        assert_holds(disk, 2)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_saves_that_fill_the_disk_at_any_point_leave_a_whole_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk]).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        full = 0
        for step in range(1, 30):
            try:
                save(disk, step, keep_last=100)
            except CheckpointError as error:
                full += "disk full" in str(error)
            assert load_quietly(disk).step in (step, step - full)
        assert full > 3
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# Tensors that no checkpoint may hold

HOSTILE = {
    "sparse": lambda: torch.sparse_csr_tensor([0, 2], [0, 9], [1.0, 1.0], size=(1, 2), check_invariants=False),
    "stride 0": lambda: torch.ones(1).expand(100_000, 100_000),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "meta": lambda: torch.empty(2, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "float8": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "nan": lambda: torch.tensor([1.0, float("nan")]),
    "infinity": lambda: torch.tensor([1.0, float("-inf")]).half(),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", HOSTILE)
def test_odd_tensors_are_not_saved_and_the_tensor_is_named(run_dir, kind):
    save(run_dir, 1)
    with pytest.raises(CheckpointError, match="student: tensor layer.weight"):
        save_checkpoint(run_dir, 2, {"student": {"layer.weight": HOSTILE[kind]()}}, {}, {})
    assert_holds(run_dir, 1)


@pytest.mark.parametrize("value", [torch.tensor([float("nan")]), torch.ones(1, dtype=torch.complex64)])
def test_odd_tensors_are_not_loaded(tmp_path, value):
    (tmp_path / "odd.safetensors").write_bytes(save_bytes({"layer.weight": value}))
    with pytest.raises(CheckpointError, match="odd.safetensors: tensor layer.weight"):
        read_weights(tmp_path / "odd.safetensors")


def header(entries: str, size: int | None = None, data: bytes = b"\0" * 16) -> bytes:
    return struct.pack("<Q", len(entries) if size is None else size) + entries.encode() + data


def entry(name: str, shape: str, start: int, end: int) -> str:
    return f'"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'


HOSTILE_FILES = {
    "empty": b"",
    "huge header": header("{}", size=2**63),
    "header beyond the end": header("{}", size=10**6),
    "overlap": header("{" + entry("a", "[3]", 0, 12) + "," + entry("b", "[2]", 8, 16) + "}"),
    "hole": header("{" + entry("a", "[1]", 0, 4) + "," + entry("b", "[2]", 8, 16) + "}"),
    "bytes left over": header("{" + entry("a", "[2]", 0, 8) + "}"),
    "shape too large": header("{" + entry("a", "[4294967296,4294967296]", 0, 16) + "}"),
    "two of one name": header("{" + entry("a", "[2]", 0, 8) + "," + entry("a", "[2]", 8, 16) + "}"),
    "deep": header("[" * 100_000),
    "pickle": b"\x80\x04\x95" + b"\0" * 50,
}


@pytest.mark.parametrize("kind", HOSTILE_FILES)
def test_files_that_are_no_weights_are_a_plain_error(tmp_path, kind):
    (tmp_path / "odd.safetensors").write_bytes(HOSTILE_FILES[kind])
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_weights(tmp_path / "odd.safetensors")


def test_weights_are_read_only_from_regular_files_of_a_sane_size(tmp_path):
    good = tmp_path / "good.safetensors"
    good.write_bytes(save_bytes({"weight": torch.ones(2)}))
    assert torch.equal(read_weights(good)["weight"], torch.ones(2))
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("link", "not a regular"),
        ("pipe", "not a regular"),
        ("none", "No such"),
        (".", "not a regular"),
    ):
        with pytest.raises(CheckpointError, match=words):
            read_weights(tmp_path / name)
    with pytest.raises(CheckpointError, match="more than the 10"):
        read_weights(good, limit=10)
