"""The list of runs: nothing broken in one hides it or the others."""

import json
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scl_core.errors import UserError
from scl_core.runs import RunFolder, list_runs, shown_name
from tests.runs.conftest import CONFIG, evaluation, start_run


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
