"""How fast many long runs are listed:  python -m experiments.benchmarks.listing [--runs 200] [--steps 10000]"""

import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from experiments.benchmarks.command import option_parser, tell
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


def spread(seconds: list[float]) -> dict[str, float]:
    """Their median and 95th percentile."""
    ordered = sorted(seconds)
    return {"median": statistics.median(ordered), "p95": ordered[int(0.95 * (len(ordered) - 1))]}


def table(found: dict) -> str:
    """The numbers as a table in Markdown."""
    looks = [(name, times) for name, times in found.items() if isinstance(times, dict)]
    lines = [f"| {found['runs']} runs of {found['steps']:,} steps | median, s | 95th percentile, s |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {times['median']:.3f} | {times['p95']:.3f} |" for name, times in looks])


def main() -> None:
    """Print the table and write the numbers where asked."""
    parser = option_parser(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), options.runs, options.steps)
        looks = {name: spread(seconds) for name, seconds in measure(Path(folder)).items()}
    found = {"runs": options.runs, "steps": options.steps} | looks
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
