"""Run folders: what is written can be read, and nothing broken in one hides it or the others."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scl_core.errors import UserError
from scl_core.runs import RunFolder, describe_environment, list_runs, records, shown_name
from scl_core.runs.processes import describe_process
from scl_core.runs.status import derive_status

CONFIG = {"seed": 3, "method": {"name": "scl", "max_pairs": None}, "data": {"name": "scenes"}, "train": {"steps": 40}}


@pytest.fixture
def run(tmp_runs: Path) -> RunFolder:
    return start_run(tmp_runs / "first")


def start_run(path: Path, steps: int = 40) -> RunFolder:
    run = RunFolder.create(path)
    run.write_start(CONFIG, describe_environment(threads=1), "[labeled]\na.png\n")
    run.begin(0, steps)
    return run


def evaluation(value: float | None) -> dict:
    return {
        "mean_iou": value,
        "per_class_iou": {"Road": value, "Train": None},
        "protocol": "whole",
        "list_hash": "ab",
        "pictures": 2,
    }


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_new_run_reads_back(run):
    again = RunFolder.open(run.path)
    assert again.config() == CONFIG
    assert again.environment()["packages"]["torch"]
    assert again.resolved() == "[labeled]\na.png\n"
    status = again.status()
    assert (status.state, status.step, status.steps, status.pid) == ("running", 0, 40, os.getpid())
    assert status.alive and status.active and status.heartbeat_age < 5
    assert all(oct(path.stat().st_mode)[-3:] == "644" for path in run.path.iterdir())


def test_a_folder_in_use_is_refused_with_the_line_to_type(run):
    with pytest.raises(UserError, match=f"python -m scl_core.train --resume {run.path}"):
        RunFolder.create(run.path)
    empty = run.path.parent / "empty"
    empty.mkdir()
    assert RunFolder.create(empty).path == empty


@pytest.mark.parametrize("name", ["çå😀 run", "a b", "x" * 200])
def test_unusual_names_work(tmp_runs, name):
    start_run(tmp_runs / name)
    assert [summary.name for summary in list_runs(tmp_runs)] == [name]


@pytest.mark.parametrize("name", ["line\nbreak", "bad\udcff", "x" * 300, "nul\0", "--help; rm -rf", ".hidden", " "])
def test_impossible_names_are_refused(tmp_runs, name):
    with pytest.raises(UserError, match="cannot name a run"):
        RunFolder.create(f"{tmp_runs}/{name}")


@pytest.mark.parametrize("raw", [b"bad\xff", b"line\nbreak", "rtl\u202eoverride".encode()])
def test_names_made_elsewhere_are_listed_as_plain_text(tmp_runs, raw):
    folder = os.fsencode(tmp_runs) + b"/" + raw
    os.mkdir(folder)
    Path(os.fsdecode(folder), "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (summary,) = list_runs(tmp_runs)
    assert summary.name.isprintable() and summary.name.encode()
    assert summary.method == "scl"


@given(st.binary())
def test_a_shown_name_can_always_be_printed(raw):
    name = shown_name(os.fsdecode(raw))
    assert name.isprintable() and name.encode() is not None


# Records


def test_metrics_round_trip_and_numbers_that_are_not_finite_become_null(run):
    run.append_metrics({"step": 1, "loss": float("nan"), "supervised": float("inf"), "seconds": np.float32(0.5)})
    line = (run.path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "loss": None, "supervised": None, "seconds": 0.5}
    assert run.metrics() == [{"step": 1, "loss": None, "supervised": None, "seconds": 0.5}]


def test_only_new_lines_are_read(run, monkeypatch):
    for step in range(1, 4):
        run.append_metrics({"step": step, "loss": 1.0})
    known = run.metrics()
    run.append_metrics({"step": 4, "loss": 2.0})
    parsed = []
    monkeypatch.setattr(records, "parse_row", lambda text: parsed.append(text) or json.loads(text))
    assert [row["step"] for row in run.metrics(known)] == [1, 2, 3, 4]
    assert len(parsed) == 1
    assert run.metrics(run.metrics(known)) == run.metrics()


def test_a_reader_follows_a_run_that_was_resumed(run):
    for step in range(1, 11):
        run.append_metrics({"step": step, "loss": 1.0})
    known = run.metrics()
    run.begin(6, 40)
    for step in range(7, 13):
        run.append_metrics({"step": step, "loss": 2.0})
    rows = run.metrics(known)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["loss"] for row in rows] == [1.0] * 6 + [2.0] * 6


def test_a_torn_last_line_is_left_out_and_cut_by_the_next_writer(run):
    run.append_metrics({"step": 1, "loss": 1.0})
    path = run.path / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    assert [row["step"] for row in run.metrics()] == [1]
    assert run.metrics().skipped == 0
    run.append_metrics({"step": 2, "loss": 3.0})
    assert [row["loss"] for row in run.metrics()] == [1.0, 3.0]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("length", [10, 70_000, 200_000])
def test_a_long_torn_tail_is_cut(run, length):
    run.append_metrics({"step": 1, "loss": 1.0})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * length)
    run.append_metrics({"step": 2, "loss": 2.0})
    assert (run.path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 2.0}\n'


def test_foreign_lines_are_read_or_counted(run):
    good = [b'{"step": 1, "loss": 1.0}\r\n', b'{"step": 2, "loss": 2.0}\n', b'{"step": 1, "loss": 9.0}\n', b"\n"]
    bad = [
        *(b"half a li\n", b'{"loss": 1}\n', b"[1]\n", b'{"step": true}\n', b'{"step": "1"}\n', b"\xff\xfe\n"),
        *(b'{"step": 1, "loss": {}}\n', b"[" * 5000 + b"\n", b'{"step": ' + b"9" * 5000 + b"}\n"),
    ]
    (run.path / "metrics.jsonl").write_bytes(b"\xef\xbb\xbf" + b"".join(good + bad) + b'{"step": 3, "lo\0\0\0')
    rows = run.metrics()
    assert rows == [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 2.0}]
    assert rows.skipped == len(bad)


def test_infinite_numbers_of_other_writers_become_null(run):
    (run.path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": 1e999}\n')
    assert [row["loss"] for row in run.metrics()] == [None, None]


def test_resuming_drops_the_rows_after_the_checkpoint(run):
    for step in range(1, 11):
        run.append_metrics({"step": step, "loss": 1.0})
        run.append_evaluation({"step": step, "split": "val", "network": "teacher", **evaluation(0.1)})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 11, "lo')
    run.begin(4, 40)
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4]
    assert [row["step"] for row in run.evaluations()] == [1, 2, 3, 4]
    assert (run.path / "metrics.jsonl").read_bytes().endswith(b'"loss": 1.0}\n')


def test_a_best_checkpoint_after_the_resumed_step_is_forgotten(run):
    (run.path / "checkpoints").mkdir()
    best = run.path / "checkpoints" / "best.json"
    best.write_text('{"step": 8, "mean_iou": 0.5, "network": "teacher"}')
    run.begin(8, 40)
    assert run.best()["step"] == 8
    run.begin(7, 40)
    assert run.best() is None


@pytest.mark.parametrize(
    ("score", "step", "better"),
    [(0.5, 9, True), (0.5, 7, False), (0.6, 7, True), (0.4, 9, False), (float("nan"), 9, False)],
)
def test_a_better_score_counts_and_of_two_equal_ones_the_later(run, score, step, better):
    assert run.is_better(0.1, 1)
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "best.json").write_text('{"step": 8, "mean_iou": 0.5, "network": "teacher"}')
    assert run.is_better(score, step) is better


def test_the_resolved_lists_keep_their_hash(tmp_runs):
    text = "images/ä.png masks/ä.png\r\nimages/\udcff.png\n"
    run = RunFolder.create(tmp_runs / "lists")
    run.write_start(CONFIG, {}, text)
    assert run.resolved() == text
    raw = (run.path / "resolved.txt").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# Evaluations


def test_an_evaluation_is_stored_in_full(run):
    confusions = np.arange(2 * 3 * 4, dtype=np.int64).reshape(2, 3, 4) + 2**40
    run.write_evaluation(10, "val", "teacher", evaluation(0.25), confusions, ["a/x.png", "ü.png"])
    record, matrices, names = run.read_evaluation(10, "val", "teacher")
    assert record == {"step": 10, "split": "val", "network": "teacher", **evaluation(0.25)} | {
        "names": names,
        "confusion": confusions.sum(0).tolist(),
    }
    assert matrices.dtype == np.int64 and np.array_equal(matrices, confusions) and names == ["a/x.png", "ü.png"]
    assert run.evaluations() == [{"step": 10, "split": "val", "network": "teacher", **evaluation(0.25)}]


def test_an_evaluation_made_twice_counts_once_and_the_later(run):
    for value in (0.25, 0.5):
        run.write_evaluation(10, "val", "teacher", evaluation(value), np.zeros((1, 2, 2), np.int64), ["a"])
    run.write_evaluation(10, "val", "student", evaluation(None), np.zeros((1, 2, 2), np.int64), ["a"])
    assert [(row["network"], row["mean_iou"]) for row in run.evaluations()] == [("teacher", 0.5), ("student", None)]


def test_float_matrices_and_path_like_names_are_refused(run):
    with pytest.raises(ValueError, match="integers"):
        run.write_evaluation(1, "val", "teacher", {}, np.zeros((1, 2, 2)), ["a"])
    with pytest.raises(ValueError, match="file name"):
        run.write_evaluation(1, "val", "../teacher", {}, np.zeros((1, 2, 2), np.int64), ["a"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x80\x04\x95pickle"])
def test_damaged_matrices_are_an_error_of_one_line(run, content):
    run.write_evaluation(1, "val", "teacher", evaluation(0.1), np.zeros((1, 2, 2), np.int64), ["a"])
    (run.path / "evaluations" / "1-val-teacher.npz").write_bytes(content)
    with pytest.raises(UserError, match="no readable evaluation"):
        run.read_evaluation(1, "val", "teacher")


def test_pickled_matrices_are_refused(run, tmp_path):
    run.write_evaluation(1, "val", "teacher", evaluation(0.1), np.zeros((1, 2, 2), np.int64), ["a"])
    np.savez(run.path / "evaluations" / "1-val-teacher.npz", confusions=np.array([Path], dtype=object), names=["a"])
    with pytest.raises(UserError, match="no readable evaluation"):
        run.read_evaluation(1, "val", "teacher")


# Lists of runs


def test_the_list_tells_last_and_best_of_each_network(run):
    for step, teacher, student in ((10, 0.4, 0.3), (20, 0.6, None), (30, 0.5, 0.2)):
        run.append_evaluation({"step": step, "split": "val", "network": "teacher", **evaluation(teacher)})
        run.append_evaluation({"step": step, "split": "val", "network": "student", **evaluation(student)})
        run.append_evaluation({"step": step, "split": "test", "network": "teacher", **evaluation(0.9)})
    (summary,) = list_runs(run.path.parent)
    assert (summary.method, summary.data, summary.seed, summary.steps) == ("scl", "scenes", 3, 40)
    assert summary.last == {"teacher": 0.5, "student": 0.2}
    assert summary.best == {"teacher": 0.6, "student": 0.3}
    assert summary.problem is None and summary.status.state == "running"
    run.append_evaluation({"step": 40, "split": "val", "network": "teacher", **evaluation(0.7)})
    assert list_runs(run.path.parent)[0].best["teacher"] == 0.7


BROKEN = {
    "config.yaml": [
        *(b"", b"\0" * 50, b"- a list\n", b"a: [1\n", b"[ " * 400_000, b"a: &a [1]\nb: *a\n", b"x" * (1 << 21)),
        *(b"a: !!python/object/apply:os.system ['touch /tmp/never']\n", b"a: " + b"9" * 6000 + b"\n", b"\xff\xfe"),
    ],
    "status.json": [
        b"",
        b"\0" * 50,
        b"[]",
        b'{"state": ["running"]}',
        b'{"state": "running", "monotonic": 1e400, "time": 9e99}',
    ],
    "process.json": [b"", b'{"pid": "1"}', b'{"pid": -5, "host": "x"}', b'{"pid": ' + b"9" * 5000 + b"}", b"[" * 9000],
    "evaluations.jsonl": [b"\n\n", b"\0" * 99, b'{"step": 1}\n', b'{"step": 1, "split": [], "network": {}}\n'],
}


@pytest.mark.parametrize("file", BROKEN)
def test_broken_files_never_hide_a_run_or_the_others(run, file):
    healthy = start_run(run.path.parent / "healthy")
    for content in BROKEN[file]:
        (run.path / file).write_bytes(content)
        first, second = sorted(list_runs(run.path.parent), key=lambda summary: summary.name)
        assert first.path == run.path and second.path == healthy.path
        assert bool(first.problem) == (file == "config.yaml") and not second.problem
        assert first.status.state in ("running", "lost", "queued") and second.status.state == "running"


def test_links_devices_and_pipes_are_not_followed(run, tmp_path):
    root = run.path.parent
    secret = tmp_path / "secret"
    secret.write_text("method: {name: leaked}\n")
    (root / "elsewhere").symlink_to("/etc")
    (root / "twin").symlink_to(run.path)
    for number, make in enumerate((lambda path: path.symlink_to(secret), os.mkfifo, Path.mkdir)):
        for file in ("config.yaml", "metrics.jsonl", "evaluations.jsonl", "status.json", "process.json", "log.txt"):
            folder = root / f"odd-{number}"
            folder.mkdir(exist_ok=True)
            make(folder / file)
    runs = list_runs(root)
    assert runs.skipped == 2
    odd = [summary for summary in runs if summary.name.startswith("odd")]
    assert len(odd) == 3 and all("config.yaml" in summary.problem for summary in odd)
    assert all(summary.method is None for summary in odd)
    for summary in odd:
        assert RunFolder(summary.path).log_tail() == ""
        with pytest.raises(UserError, match="metrics.jsonl"):
            RunFolder(summary.path).metrics()


def test_a_device_is_never_replaced(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    os.unlink(run.path / "status.json")
    (run.path / "status.json").symlink_to(victim)
    with pytest.raises(ValueError, match="not a regular file"):
        run.set_status("stopped")
    assert victim.read_text() == "mine" and (run.path / "status.json").is_symlink()


def test_folders_that_are_no_runs_are_left_out(tmp_runs):
    (tmp_runs / "data").mkdir()
    (tmp_runs / ".archive").mkdir()
    (tmp_runs / "note.txt").write_text("x")
    assert list_runs(tmp_runs) == [] and list_runs(tmp_runs / "absent") == []


def test_many_runs_are_listed_without_reading_their_metrics(tmp_runs, monkeypatch):
    for number in range(200):
        folder = tmp_runs / f"run-{number:03d}"
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
        (folder / "status.json").write_text('{"state": "finished", "step": 40, "steps": 40}')
        rows = [{"step": s, "split": "val", "network": "teacher", **evaluation(s / 100)} for s in range(1, 21)]
        (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "metrics.jsonl").write_text("x" * 100_000)
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(Path(path).name) or real(path, *rest))
    started = time.perf_counter()
    assert len(list_runs(tmp_runs)) == 200
    print(f"200 runs listed in {time.perf_counter() - started:.3f} s, again in", end=" ")
    opened.clear()
    started = time.perf_counter()
    assert {summary.best["teacher"] for summary in list_runs(tmp_runs)} == {0.2}
    print(f"{time.perf_counter() - started:.3f} s")
    assert not {"metrics.jsonl", "config.yaml", "evaluations.jsonl"} & set(opened)


def test_a_long_history_is_read_whole(run):
    line = '{"step": %d, "loss": 0.5, "supervised": 0.25, "learning_rate": 0.01}\n'
    (run.path / "metrics.jsonl").write_text("".join(line % step for step in range(1, 50_001)))
    rows = run.metrics()
    assert len(rows) == 50_000 and rows[-1]["step"] == 50_000


def test_the_log_tail_is_bounded_and_shows_what_a_terminal_would(run):
    (run.path / "log.txt").write_text("x" * 1_000_000 + "\nfirst\rsecond\nlast\n")
    assert run.log_tail(2) == "second\nlast"
    assert len(run.log_tail(10_000)) <= 1 << 16


# Status


def test_states_outside_the_list_are_refused(run):
    with pytest.raises(ValueError, match="stalled"):
        run.set_status("stalled")


def test_a_status_keeps_what_is_not_given(run):
    run.set_status("failed", 7, reason="loss not finite")
    status = RunFolder(run.path).status()
    assert (status.state, status.step, status.steps, status.reason) == ("failed", 7, 40, "loss not finite")
    assert not status.alive and not status.active


def test_a_run_that_is_resumed_is_queued_until_it_begins(run):
    run.set_status("stopped", 7)
    again = RunFolder.open(run.path)
    again.write_start(CONFIG, {}, "")
    assert (again.status().state, again.status().step, again.status().steps) == ("queued", 7, 40)
    again.begin(7, 60)
    assert (again.status().state, again.status().step, again.status().steps) == ("running", 7, 60)


def test_a_beat_is_written_now_and_then(run, monkeypatch):
    run.beat(3)
    assert run.status().step == 0
    run._last_beat -= 6
    run.beat(3)
    assert run.status().step == 3


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_silent_run_is_stalled_while_its_process_lives_and_lost_afterwards(run, sleeper):
    (run.path / "process.json").write_text(json.dumps(describe_process(sleeper.pid)))
    assert run.status().state == "running"
    edit_json(run.path / "status.json", monotonic=time.monotonic() - 75)
    status = run.status()
    assert status.state == "stalled" and status.alive and 74 < status.heartbeat_age < 80
    assert "no sign of progress since 2" in status.reason
    os.kill(sleeper.pid, signal.SIGKILL)
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    status = run.status()  # a zombie is gone, too
    assert status.state == "lost" and status.alive is False and str(sleeper.pid) in status.reason


def test_another_process_with_the_number_is_not_the_run(run, sleeper):
    record = describe_process(sleeper.pid)
    for change in ({"start_ticks": record["start_ticks"] - 500}, {"boot_id": "another boot"}):
        (run.path / "process.json").write_text(json.dumps(record | change))
        assert run.status().state == "lost"


def test_a_process_on_another_host_is_unknown(run, sleeper):
    (run.path / "process.json").write_text(json.dumps(describe_process(sleeper.pid) | {"host": "node7"}))
    status = run.status()
    assert status.state == "running" and status.alive is None
    assert "unknown host node7" in status.reason


def test_a_jump_of_the_clock_changes_nothing(run, monkeypatch):
    for jump in (-86_400.0, 10 * 365 * 86_400.0):
        now = time.time() + jump
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert run.status().state == "running" and run.status().heartbeat_age < 5


def test_a_run_without_any_status_is_lost(run):
    os.unlink(run.path / "status.json")
    assert run.status().state == "queued"  # its process has only just begun
    os.unlink(run.path / "process.json")
    assert run.status().state == "lost"


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=2)))
def test_any_record_gives_a_status(value):
    for name in ("state", "step", "steps", "reason", "monotonic", "time", "boot_id"):
        derive_status({"state": "running", name: value}, {"pid": 1}, None, None)
    for name in ("pid", "create_time", "start_ticks", "boot_id", "host"):
        record = describe_process() | {name: value}
        derive_status({"state": "running"}, record, None, record)
        derive_status(None, None, record, record)
        derive_status(None, describe_process(), record, None)


# Lock

HOLD = """
import sys, time
from scl_core.runs import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""
FORK_AND_DIE = """
import os, sys, time
from scl_core.runs import RunFolder
with RunFolder(sys.argv[1]).lock():
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(0.2)
    os._exit(137)
"""


@pytest.fixture
def holder(run, project_root):
    process = subprocess.Popen([sys.executable, "-c", HOLD, run.path], cwd=project_root, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_told_who_is_active(run, holder):
    with pytest.raises(UserError, match=rf"run first is active \(process {holder.pid} on "), run.lock():
        pass


def test_the_lock_ends_with_its_holder(run, holder):
    holder.kill()
    holder.wait()
    with run.lock():
        pass


def test_the_lock_is_not_left_to_forked_children(run, project_root):
    command = [sys.executable, "-c", FORK_AND_DIE, run.path]
    holder = subprocess.Popen(command, cwd=project_root, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        assert holder.wait(timeout=20) == 137 and psutil.pid_exists(child)
        with run.lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_pipe_is_no_lock(run):
    os.mkfifo(run.path / "run.lock")
    with pytest.raises(UserError, match="not a regular file"), run.lock():
        pass


# Full disks


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_rows_wait_for_room_on_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        run = start_run(disk / "run")
        run.append_metrics({"step": 1, "loss": 1.0})
        with pytest.raises(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        with pytest.warns(RuntimeWarning, match="rows wait for room"):
            for step in range(2, 200):
                run.append_metrics({"step": step, "loss": 1.0})
        run._last_beat -= 6
        run.beat(199)
        assert [row["step"] for row in run.metrics()] == list(range(1, len(run.metrics()) + 1))
        os.unlink(disk / "filler")
        run.append_metrics({"step": 200, "loss": 1.0})
        assert [row["step"] for row in run.metrics()] == list(range(1, 201))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_that_is_gone_is_not_made_again(run):
    os.rename(run.path, run.path.with_name("moved"))
    for write in (lambda: run.append_metrics({"step": 1}), lambda: run.set_status("finished")):
        with pytest.raises(OSError):
            write()
    assert not run.path.exists()
