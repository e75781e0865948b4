"""How fast a folder of many long runs is listed:  python -m experiments.benchmarks.listing [RUNS] [STEPS]"""

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from pages.shared.run_table import table_of
from scl_core.runs import RunFolder, list_runs
from scl_core.runs.listing import read_once

RUNS, STEPS, EVALUATE_EVERY, REPEATS = 200, 10_000, 500, 15
CLASSES = tuple(f"class {n}" for n in range(19))


def make_runs(root: Path, count: int, steps: int) -> None:
    """Finished runs with a row for every step; the first is written, the others are its copies."""
    first = RunFolder.create(root / "run-000")
    train = {"steps": steps, "batch_labeled": 4}
    config = {"seed": 0, "data": {"name": "folder"}, "method": {"name": "scl"}, "train": train}
    config["more"] = {f"setting_{n}": 0.5 for n in range(60)}
    first.write_start(config, {"packages": {}}, "[labeled] 300\n" + "".join(f"picture {n}\n" for n in range(3000)))
    row = {"loss": 1.2345678, "supervised": 0.9, "consistency": 0.1, "structured": 0.01, "seconds": 0.3}
    rows = (json.dumps({"step": step} | row) for step in range(1, steps + 1))
    (first.path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    scores = {"split": "val", "mean_iou": 0.5, "per_class_iou": dict.fromkeys(CLASSES, 0.5), "list_hash": "0" * 12}
    for step in range(EVALUATE_EVERY, steps + 1, EVALUATE_EVERY):
        for network in ("teacher", "student"):
            first.append_evaluation({"step": step, "network": network} | scores)
    first.set_status("finished", steps, steps=steps)
    for number in range(1, count):
        shutil.copytree(first.path, root / f"run-{number:03d}")


def seconds_of(action) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(root: Path) -> dict[str, list[float]]:
    """Seconds of the first listing after a start, of later ones, and of one after a run has written a line."""
    found = {"first look": [], "unchanged": [], "one run moved": [], "with its table": []}
    for _ in range(REPEATS):
        read_once.cache_clear()
        found["first look"].append(seconds_of(lambda: list_runs(root)))
        found["unchanged"].append(seconds_of(lambda: list_runs(root)))
        os.utime(root / "run-000" / "evaluations.jsonl")
        found["one run moved"].append(seconds_of(lambda: list_runs(root)))
        found["with its table"].append(seconds_of(lambda: table_of(list_runs(root))))
    return found


def main(arguments: list[str]) -> None:
    given = [int(word) for word in arguments]
    count, steps = given + [RUNS, STEPS][len(given) :]
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), count, steps)
        print(
            f"{date.today()}  {platform.machine()}, python {platform.python_version()}: {count} runs of {steps} steps"
        )
        for what, seconds in measure(Path(folder)).items():
            worst = sorted(seconds)[int(0.95 * (len(seconds) - 1))]
            print(f"{what:<16} median {statistics.median(seconds):.3f} s, 95th percentile {worst:.3f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
