"""One process and two: the same loss, the same gradients, the same run after a stop."""

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
import torch
from safetensors.torch import load_file

from scl_core.command_line import run_command
from scl_core.evaluate import main as evaluate
from scl_core.methods import METHODS
from scl_core.runs import RunFolder
from scl_core.train import main as train
from tests.conftest import ROOT
from tests.rank_program import SPLIT, STRUCTURED
from tests.tiny import (
    assert_bitwise_equal,
    checkpoint_tensors,
    metrics,
    tiny_options,
    wait_for,
    without_times,
)

pytestmark = pytest.mark.two_process


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """The same step on one rank and on two, in three ways."""
    out = tmp_path_factory.mktemp("steps")
    for ranks in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        argv = [*launcher, "-m", "tests.rank_program", str(out)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    return {file.stem: load_file(file) for file in out.glob("*.safetensors")}


def relative_difference(first, second, prefix):
    """L2 distance over all tensors whose name begins with the prefix, relative to the first's length."""
    keys = [key for key in first if key.startswith(prefix)]
    assert keys and keys == [key for key in second if key.startswith(prefix)]
    a = torch.cat([first[key].double().flatten() for key in keys])
    b = torch.cat([second[key].double().flatten() for key in keys])
    return float((a - b).norm() / a.norm())


def test_loss_and_gradients_are_those_of_one_process(steps):
    for prefix in ("loss.", "grad."):
        assert relative_difference(steps["float64-1"], steps["float64-2"], prefix) < 1e-6
    assert relative_difference(steps["float32-1"], steps["float32-2"], "loss.") < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_one_on_two_ranks(steps, method):
    for prefix in ("loss.", "grad."):
        assert relative_difference(steps[f"method-{method}-1"], steps[f"method-{method}-2"], prefix) < 1e-6


@pytest.mark.parametrize("method", SPLIT)
def test_the_methods_are_one_with_weights_split_among_two_ranks(steps, method):
    for prefix in ("loss.", "grad.", "norm"):
        assert relative_difference(steps[f"method-{method}-1"], steps[f"split-{method}-2"], prefix) < 1e-6


def relative_to_the_tensor(first, second):
    """The L2 distance of each tensor relative to its own length, of those that are not rounding alone, and the rest."""
    lengths = {name: tensor.double().norm() for name, tensor in first.items()}
    told = {name for name, length in lengths.items() if length > 1e-8 * max(lengths.values())}
    apart = {name: (second[name].double() - first[name].double()).norm() / lengths[name] for name in told}
    return max(apart.values()), {name: lengths[name] for name in first.keys() - told}


@pytest.mark.parametrize("method", SPLIT)
def test_no_single_gradient_differs_with_split_weights(steps, method):
    whole, split = (
        {key: value for key, value in steps[name].items() if key.startswith("grad.")}
        for name in (f"method-{method}-2", f"split-{method}-2")
    )
    worst, _ = relative_to_the_tensor(whole, split)
    assert worst < 1e-8


@pytest.mark.parametrize(("optimizer", "most"), [("sgd", 1e-9), ("adamw", 1e-5)])
def test_split_weights_move_as_whole_ones_but_for_those_whose_gradient_is_zero(steps, optimizer, most):
    """What differs more is rounding: gradients that are exactly 0, which Adam divides by the root of their square.

    An attention's keys may all be shifted (softmax does not see it), and so may what a batch norm reads; the first
    layer's queries have nothing to tell each other at first. SGD, which divides by nothing, has no such tensor.
    """
    whole, split = steps[f"{optimizer}-whole-2"], steps[f"{optimizer}-split-2"]
    worst, rounding = relative_to_the_tensor(whole, split)
    assert worst < most and 0 < len(rounding) < len(whole) / 5
    assert all(name.endswith("bias") or length == 0 for name, length in rounding.items())
    assert {name for name in whole if name.endswith("key.bias")} <= rounding.keys()
    assert max(float(split[name].double().norm()) for name in rounding) < 1e-7


@pytest.mark.parametrize("name", STRUCTURED)
def test_every_form_of_the_structured_term_is_one_on_two_ranks(steps, name):
    for prefix in ("loss.", "grad."):
        assert relative_difference(steps[f"structured-{name}-1"], steps[f"structured-{name}-2"], prefix) < 1e-6


def test_a_mean_of_means_would_be_seen(steps):
    assert relative_difference(steps["float64-1"], steps["naive-1"], "grad.") < 1e-9
    assert relative_difference(steps["float64-1"], steps["naive-2"], "grad.") > 1e-3


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """An uninterrupted run with two ranks."""
    run = tmp_path_factory.mktemp("two") / "run"
    assert run_command(train, [*tiny_options(run), "--processes", "2"]) == 0
    return run


def test_two_ranks_train_as_one(two_ranks, tmp_path):
    assert run_command(train, tiny_options(tmp_path / "one")) == 0
    one, two = metrics(tmp_path / "one"), metrics(two_ranks)
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)


def test_two_ranks_in_bf16_and_micro_batches_train_as_one(tmp_path):
    options = {
        "train__precision": "bf16",
        "train__accumulate": 2,
        "train__batch_labeled": 4,
        "train__batch_unlabeled": 4,
    }
    one, two = (tiny_options(tmp_path / name, train__steps=2, **options) for name in ("one", "two"))
    assert run_command(train, one) == 0
    assert run_command(train, [*two, "--processes", "2"]) == 0
    for ours, theirs in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=2e-2)


def test_two_ranks_resumed_equal_uninterrupted_bitwise(two_ranks, tmp_path):
    run = tmp_path / "run"
    assert run_command(train, [*tiny_options(run, train__stop_at=3), "--processes", "2"]) == 0
    assert run_command(train, ["--resume", str(run), "--processes", "2"]) == 0
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(two_ranks, 6))
    assert without_times(metrics(run)) == without_times(metrics(two_ranks))


@pytest.fixture(scope="module")
def split_run(tmp_path_factory):
    """The first half of the run, with the weights split among two ranks."""
    run = tmp_path_factory.mktemp("split") / "run"
    options = tiny_options(run, train__stop_at=3, train__shard="true")
    assert run_command(train, [*options, "--processes", "2"]) == 0
    return run


def assert_ended_alike(run, other):
    """The same losses, and student and teacher after the last step, but for the rounding of float32."""
    losses, expected = ([row["loss"] for row in metrics(path)] for path in (run, other))
    assert losses == pytest.approx(expected, rel=1e-4)
    ours, theirs = checkpoint_tensors(run, 6), checkpoint_tensors(other, 6)
    assert ours.keys() == theirs.keys()
    for network in ("student:", "teacher:"):
        assert relative_difference(theirs, ours, network) < 1e-4


def test_split_weights_are_saved_whole_and_resumed_split(two_ranks, split_run, tmp_path):
    run = shutil.copytree(split_run, tmp_path / "run")
    assert run_command(train, ["--resume", str(run), "--processes", "2"]) == 0
    assert "split among 2 processes" in (run / "log.txt").read_text()
    assert_ended_alike(run, two_ranks)


def test_a_run_with_split_weights_goes_on_in_one_process_and_is_scored(two_ranks, split_run, tmp_path):
    run = shutil.copytree(split_run, tmp_path / "run")
    before = {row["network"]: row["mean_iou"] for row in RunFolder(run).evaluations() if row["step"] == 3}
    assert run_command(evaluate, [str(run), "--device", "cpu"]) == 0
    after = {row["network"]: row["mean_iou"] for row in RunFolder(run).evaluations()[-2:]}
    assert after == pytest.approx(before, abs=1e-3)
    assert run_command(train, ["--resume", str(run), "--train.threads", "1"]) == 0
    assert "one process holds everything" in (run / "log.txt").read_text()
    assert metrics(run)[3]["loss"] == pytest.approx(metrics(two_ranks)[3]["loss"], rel=1e-5)


@pytest.mark.parametrize("setting", ["train__accumulate", "train__gradient_terms_every"])
def test_what_needs_whole_weights_is_refused_in_one_line(tmp_path, capsys, setting):
    options = tiny_options(tmp_path / "run", train__shard="true", **{setting: 2})
    assert run_command(train, [*options, "--processes", "2"]) == 2
    said = capsys.readouterr().err.strip()
    assert "train.shard" in said and "set one of them back" in said and "\n" not in said
    assert not (tmp_path / "run").exists()


def test_sigterm_stops_both_ranks_on_one_step(tmp_path):
    run = tmp_path / "run"
    options = tiny_options(run, train__steps=100000, train__log_every=1)
    argv = [sys.executable, "-m", "scl_core.train", *options, "--processes", "2"]
    process = subprocess.Popen(
        argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ
    )
    try:
        wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 2)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 0, error
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "stopped" and metrics(run)[-1]["step"] == status["step"]


def test_mistake_in_the_data_is_found_before_any_rank_starts(tmp_path, capsys):
    options = [*tiny_options(tmp_path / "run", train__batch_labeled=3), "--processes", "2"]
    assert run_command(train, options) == 2
    assert "train.batch_labeled 3 does not divide by 2 processes" in capsys.readouterr().err


def torchrun(*options):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    return subprocess.run(
        [*launcher, "scl_core.train", *options], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_mistake_under_torchrun_is_in_the_status(tmp_path):
    run = tmp_path / "run"
    done = torchrun(*tiny_options(run, train__batch_labeled=3))
    assert done.returncode == 1 and "error: train.batch_labeled 3 does not divide by 2 processes" in done.stderr
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and "train.batch_labeled 3" in status["reason"]
    assert run_command(train, tiny_options(run, train__steps=1)) == 0


def test_taken_folder_under_torchrun_is_one_line_and_no_traceback_of_ours(two_ranks):
    before = (two_ranks / "status.json").read_bytes()
    done = torchrun(*tiny_options(two_ranks))
    assert f"error: {two_ranks} is not empty" in done.stderr and "open_run" not in done.stderr
    assert (two_ranks / "status.json").read_bytes() == before


@pytest.mark.fault
def test_lost_rank_ends_the_run_and_is_named(tmp_path):
    run = tmp_path / "run"
    options = tiny_options(run, train__steps=100000, train__log_every=1)
    argv = [sys.executable, "-m", "scl_core.train", *options, "--processes", "2"]
    process = subprocess.Popen(
        argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ
    )
    try:
        wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 2)
        torchrun = psutil.Process(process.pid).children()[0]
        ranks = sorted(torchrun.children(), key=lambda child: child.pid)
        ranks[1].kill()
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and "another process of this run is gone" in status["reason"]
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)


def test_killed_command_leaves_neither_launcher_nor_ranks(tmp_path):
    run = tmp_path / "run"
    options = tiny_options(run, train__steps=100000, train__log_every=1)
    argv = [sys.executable, "-m", "scl_core.train", *options, "--processes", "2"]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ)
    try:
        wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 2)
        below = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    assert len(below) >= 3
    _, alive = psutil.wait_procs(below, timeout=40)
    for left in alive:
        left.kill()
    assert alive == []


@pytest.mark.fault
def test_torchrun_starts_again_from_the_last_checkpoint(two_ranks, tmp_path):
    run = tmp_path / "run"
    options = tiny_options(run, train__checkpoint_every=1, train__log_every=1, train__keep_checkpoints=9)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    argv = [*launcher, "-m", "scl_core.train", *options]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (run / "checkpoints" / "last.json").exists())
        max(psutil.Process(process.pid).children(), key=lambda child: child.pid).kill()
        _, error = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, error
    assert (run / "log.txt").read_text().count("Ctrl-C saves") == 2
    assert_bitwise_equal(checkpoint_tensors(run, 6), checkpoint_tensors(two_ranks, 6))


def test_torchrun_that_may_start_again_wants_a_named_folder(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert run_command(train, []) == 2
    assert "add --run_dir DIR" in capsys.readouterr().err
