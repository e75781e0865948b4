"""Seconds a step takes here:  python -m experiments.benchmarks.training_time [CONFIG] [--SETTING VALUE]..."""

import json
import platform
import statistics
import sys
import tempfile
from datetime import date
from pathlib import Path

from scl_core.command_line import run_command
from scl_core.train import main as train

STEPS, WARM_UP = 30, 5
USUAL = "experiments/scenes/scl.yaml"


def measure(config: str, settings: list[str]) -> tuple[list[float], int]:
    """Seconds of each step after the first few, with the unlabeled part from the first step; and the preset's steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = ["--config", config, *settings, "--run_dir", str(run), "--train.stop_at", str(STEPS)]
        if "supervised" not in config:
            options += ["--method.start", "0"]
        if run_command(train, options):
            raise SystemExit(1)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        status = json.loads((run / "status.json").read_text())
        return [row["seconds"] for row in rows[WARM_UP:]], status["steps"]


def main(arguments: list[str]) -> None:
    config = arguments.pop(0) if arguments and not arguments[0].startswith("--") else USUAL
    seconds, steps = measure(config, arguments)
    middle = statistics.median(seconds)
    print(f"{date.today()}  {platform.machine()}, python {platform.python_version()}  {config}")
    whole = f"{steps} steps: about {middle * steps / 60:.0f} min"
    print(f"median {middle:.3f} s a step, slowest {max(seconds):.3f} s; {whole}")


if __name__ == "__main__":
    main(sys.argv[1:])
