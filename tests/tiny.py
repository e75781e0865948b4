"""A training so small that a test can afford it: real scenes, a real encoder, a few steps."""

import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

DATA = {"height": 32, "width": 48, "labeled": 4, "unlabeled": 6, "val": 3, "test": 2}
MODEL = {"encoder": "mobilenet_v2", "width": 0.25, "decoder_channels": 8}
TRAIN = {"steps": 6, "batch_labeled": 2, "batch_unlabeled": 2, "evaluate_every": 3, "checkpoint_every": 2, "threads": 1}


def tiny_settings(**changes) -> dict[str, object]:
    """Dotted settings of a tiny run on the CPU; `train__steps=3` changes `train.steps`."""
    settings: dict[str, object] = {"device": "cpu"}
    for section, values in (("data", DATA), ("model", MODEL), ("train", TRAIN)):
        settings |= {f"{section}.{key}": value for key, value in values.items()}
    return settings | {key.replace("__", "."): value for key, value in changes.items()}


def tiny_options(run_dir: Path, **changes) -> list[str]:
    """The same as command line options of the trainer."""
    settings = tiny_settings(**changes) | {"run_dir": run_dir}
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def checkpoint_tensors(run_dir, step):
    files = sorted((run_dir / "checkpoints" / f"{step:08d}").glob("*.safetensors"))
    return {f"{file.stem}:{key}": value for file in files for key, value in load_file(file).items()}


def assert_bitwise_equal(first, second):
    assert first.keys() == second.keys() and first
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert different == []


def metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def without_times(rows):
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
