"""Seconds a step takes here:  python -m experiments.benchmarks.training_time [CONFIG] [--SETTING VALUE]..."""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from experiments.benchmarks.command import tell
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


def table(found: dict) -> str:
    """The median, the slowest, and what a whole run takes."""
    whole = found["median"] * found["steps"] / 60
    return (
        "| preset | median, s a step | slowest, s | steps | whole run, min |\n|---|---|---|---|---|\n"
        f"| {found['config']} | {found['median']:.3f} | {found['slowest']:.3f} | {found['steps']} | {whole:.0f} |"
    )


def main(arguments: list[str]) -> None:
    config = arguments.pop(0) if arguments and not arguments[0].startswith("--") else USUAL
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    out = given.pop("--out", None)
    seconds, steps = measure(config, [word for pair in given.items() for word in pair])
    found = {"config": config, "median": statistics.median(seconds), "slowest": max(seconds), "steps": steps}
    tell(found, table(found), Path(out) if out else None)


if __name__ == "__main__":
    main(sys.argv[1:])
