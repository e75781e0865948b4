"""Seconds from typing the command to the first training step:  python -m experiments.benchmarks.first_step"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.benchmarks.command import option_parser, tell

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ("-m", "scl_core.train", "--config", "experiments/scenes/scl.yaml")


def seconds_to_first_row(run: Path) -> float:
    """Start the command, wait for the first row of its metrics, then for its end."""
    started = time.perf_counter()
    command = [sys.executable, *COMMAND, "--run_dir", str(run), "--train.stop_at", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = run / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    if process.wait():
        raise SystemExit(f"the training ended with status {process.returncode}")
    return seconds


def measure(repeats: int = 3) -> dict:
    """The median over repeats; the first finds the files of Python and torch not yet read."""
    with tempfile.TemporaryDirectory() as folder:
        each = [seconds_to_first_row(Path(folder) / str(number)) for number in range(repeats)]
    return {"seconds": statistics.median(each), "each": each}


def table(found: dict) -> str:
    """The median and every repeat."""
    each = ", ".join(f"{seconds:.1f}" for seconds in found["each"])
    command = " ".join(("python", *COMMAND))
    return f"| command | median, s | each, s |\n|---|---|---|\n| `{command}` | {found['seconds']:.1f} | {each} |"


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found = measure(options.repeats)
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
