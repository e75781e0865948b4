"""Train the demo's two runs and keep them, small, in `recorded`:  python -m experiments.record_demo [RUNS_ROOT]

With RUNS_ROOT the finished runs `demo-supervised` and `demo-scl` in it are kept and nothing is trained. Kept are the
settings, records, evaluations and previews, and of each checkpoint the evaluated networks in float16: enough to look
at, not to go on with.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from scl_core import demo, launch
from scl_core.checkpoint import read_checkpoint, save_checkpoint, update_best
from scl_core.config import to_dict
from scl_core.runs import RunFolder
from scl_core.storage.plain_yaml import to_yaml

KEPT_FILES = ("environment.json", "resolved.txt", "metrics.jsonl", "evaluations.jsonl")
KEPT_FOLDERS = ("evaluations", "predictions")
REASON = "recorded for the demo with its evaluated weights alone: it can be looked at, not resumed"
DIGITS = 6
NARROW_DECODER = 12


def recorded_settings(method: str) -> dict[str, Any]:
    """The demo's settings of this method, made small."""
    config = to_dict(demo.settings(method))
    config["model"]["decoder_channels"] = NARROW_DECODER
    config["train"]["threads"] = 1
    if method == "supervised":
        config["method"]["ema_decay"] = None
    return config


def train(root: Path) -> None:
    """Train both runs; returns when both have finished."""
    names = zip(demo.NAMES, demo.METHODS, strict=True)
    launch.launch_in_turn({root / name: recorded_settings(method) for name, method in names})
    while not all(status.state == "finished" for status in demo.statuses(root)):
        if not any(status.active for status in demo.statuses(root)):
            raise SystemExit(f"the demo did not finish: {demo.statuses(root)}")
        time.sleep(5)


def keep(run: RunFolder, target: Path) -> None:
    """Copy what is worth looking at, without names of the machine it ran on."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in KEPT_FILES:
        shutil.copyfile(run.path / name, target / name)
    for name in KEPT_FOLDERS:
        shutil.copytree(run.path / name, target / name)
    shorten_numbers(target / "metrics.jsonl")
    (target / "config.yaml").write_text(to_yaml(run.config() | {"run_dir": f"runs/{run.name}", "device": "auto"}))
    (target / "log.txt").write_text((run.path / "log.txt").read_text().replace(f"{run.path}", f"runs/{run.name}"))
    status = run.status()
    words = {"state": "finished", "step": status.step, "steps": status.steps, "reason": REASON}
    (target / "status.json").write_text(json.dumps(words) + "\n")
    keep_checkpoint(run, status.step, target)


def shorten_numbers(file: Path) -> None:
    """Six digits after the point are enough for a curve."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    short = [{k: round(v, DIGITS) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in short))


def keep_checkpoint(run: RunFolder, step: int, target: Path) -> None:
    """The networks of one checkpoint, floating-point tensors in float16."""
    stored = read_checkpoint(run.path / "checkpoints" / f"{step:08d}", names=("student", "teacher"))
    halved = {
        file: {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        for file, tensors in stored.tensors.items()
    }
    info = {key: stored.manifest[key] for key in ("torch", "threads", "world_size")} | {"resumable": False}
    save_checkpoint(target, step, halved, stored.state, info)
    counting = "teacher" if "teacher" in halved else "student"
    score = next(row["mean_iou"] for row in run.evaluations() if (row["step"], row["network"]) == (step, counting))
    update_best(target, step, score, counting)


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(arguments[0]).resolve() if arguments else Path(scratch)
        if not arguments:
            train(root)
        for name in demo.NAMES:
            keep(RunFolder(root / name), demo.RECORDED / name)
    size = sum(file.stat().st_size for file in demo.RECORDED.rglob("*") if file.is_file())
    print(f"{demo.RECORDED}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
