"""Whatever is killed or filled up while a checkpoint is written, the newest whole one is found."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from scl_core.checkpoint import (
    CheckpointError,
    save_checkpoint,
    sweep,
)
from tests.checkpoint.saving import assert_holds, load_quietly, save, steps_of
from tests.small_disk import small_disk

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


@pytest.mark.fault
def test_a_full_disk_leaves_the_former_checkpoint(tmp_path):
    with small_disk(tmp_path, "4m") as disk:
        save(disk, 1)
        big = {"student": {"weight": torch.ones(2 << 20)}}
        with pytest.raises(CheckpointError, match=r"disk full: checkpoint 2 needs 83886\d\d bytes, \d+ bytes are free"):
            save_checkpoint(disk, 2, big, {}, {}, keep_last=1)
        assert_holds(disk, 1)
        assert sorted(os.listdir(disk / "checkpoints")) == ["00000001", "last.json"]
        save(disk, 2)
        assert_holds(disk, 2)


@pytest.mark.fault
def test_saves_that_fill_the_disk_at_any_point_leave_a_whole_checkpoint(tmp_path):
    with small_disk(tmp_path, "128k") as disk:
        full = 0
        for step in range(1, 30):
            try:
                save(disk, step, keep_last=100)
            except CheckpointError as error:
                full += "disk full" in str(error)
            assert load_quietly(disk).step in (step, step - full)
        assert full > 3
