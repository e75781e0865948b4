"""The lines of a run's records: torn, foreign and repeated ones, and a full disk."""

import json

import numpy as np
import pytest

from scl_core.runs import records
from tests.runs.conftest import evaluation, start_run
from tests.small_disk import fill, small_disk


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


def test_a_long_history_is_read_whole(run):
    line = '{"step": %d, "loss": 0.5, "supervised": 0.25, "learning_rate": 0.01}\n'
    (run.path / "metrics.jsonl").write_text("".join(line % step for step in range(1, 50_001)))
    rows = run.metrics()
    assert len(rows) == 50_000 and rows[-1]["step"] == 50_000


@pytest.mark.fault
def test_rows_wait_for_room_on_a_full_disk(tmp_path):
    with small_disk(tmp_path, "256k") as disk:
        run = start_run(disk / "run")
        run.append_metrics({"step": 1, "loss": 1.0})
        filler = fill(disk)
        with pytest.warns(RuntimeWarning, match="rows wait for room"):
            for step in range(2, 200):
                run.append_metrics({"step": step, "loss": 1.0})
        run._last_beat -= 6
        run.beat(199)
        assert [row["step"] for row in run.metrics()] == list(range(1, len(run.metrics()) + 1))
        filler.unlink()
        run.append_metrics({"step": 200, "loss": 1.0})
        assert [row["step"] for row in run.metrics()] == list(range(1, 201))
