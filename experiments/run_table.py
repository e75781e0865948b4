"""Every method, three seeds, on small drawn scenes:  python -m experiments.run_table "HARDWARE" [--equal time]

What is recorded already is skipped, and a run that was stopped goes on, so the command may be given again at any time.
With `--equal time` each method trains as many steps as fit into the time of SCL's, measured by the recorded rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.record import RECORDS, read_lines, record
from scl_core.config import load_config
from scl_core.methods import METHODS

HERE = Path(__file__).resolve().parent
SETUP = HERE / "table.yaml"
TABLE = RECORDS / "table"
SEEDS = (0, 1, 2)
REFERENCE = "scl"
LONGEST_RUN = 20 * 60  # seconds


@dataclass(frozen=True)
class Row:
    """One run of the table; `equal` is what its methods have in common: steps, or the time of the reference."""

    method: str
    seed: int
    equal: str = "steps"

    @property
    def name(self) -> str:
        return f"{self.equal}-{self.method}-s{self.seed}"


def rows(methods: list[str], seeds: list[int], equal: str) -> Iterator[Row]:
    """Seed by seed, so that a table that is cut short has all methods; the reference is its own equal in time."""
    for seed in seeds:
        for method in methods:
            if equal == "steps" or method != REFERENCE:
                yield Row(method, seed, equal)


def steps_in_equal_time(method: str, records: Path) -> int:
    """How many steps of `method` take as long as the reference's whole run, by the recorded rows."""
    files = {name: sorted(records.glob(f"steps-{name}-s*.json")) for name in (method, REFERENCE)}
    kept = {name: [json.loads(file.read_text()) for file in found] for name, found in files.items()}
    for name, found in kept.items():
        if not found:
            raise SystemExit(f"error: no row of {name} at equal steps is recorded in {records}: run those first")
    each = {name: statistics.median(row["step_seconds"] for row in found) for name, found in kept.items()}
    steps = kept[REFERENCE][0]["config"]["train"]["steps"]
    return max(1, round(steps * each[REFERENCE] / each[method]))


def options_of(row: Row, given: argparse.Namespace) -> list[str]:
    """The options of the trainer for this row."""
    steps = given.steps or load_config([given.setup]).train.steps
    if row.equal == "time":
        steps = steps_in_equal_time(row.method, given.records)
    preset = HERE / "scenes" / f"{row.method}.yaml"
    settings = {"seed": row.seed, "train.steps": steps, "train.evaluate_every": steps}
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return ["--config", str(preset), "--config", str(given.setup), *words]


def command(module: str, *words: object) -> None:
    """Run one of the project's commands; ends the table with its own words when it fails or takes too long."""
    argv = [sys.executable, "-m", f"scl_core.{module}", *map(str, words)]
    try:
        done = subprocess.run(argv, timeout=LONGEST_RUN, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"error: {' '.join(argv)} took more than {LONGEST_RUN // 60} minutes") from None
    if done.returncode:
        raise SystemExit(f"error: {' '.join(argv)} failed:\n{done.stderr.strip()}")


def run_row(row: Row, given: argparse.Namespace) -> dict:
    """Train, or go on, score the test list, and return what is recorded."""
    folder = given.runs / row.name
    if (folder / "config.yaml").exists():
        command("train", "--resume", folder)
    else:
        command("train", *options_of(row, given), "--run_dir", folder, "--device", "cpu")
    command("evaluate", folder, "--split", "test", "--checkpoint", "last", "--device", "cpu")
    seconds = [line["seconds"] for line in read_lines(folder / "metrics.jsonl")]
    return record(folder, given.hardware) | {"step_seconds": statistics.mean(seconds)}


def read_options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.run_table", description=__doc__.split("\n")[0])
    parser.add_argument("hardware", help="a few words for the record, such as 'one core of an x86-64 machine'")
    parser.add_argument("--equal", choices=("steps", "time"), default="steps")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=list(SEEDS))
    parser.add_argument("--steps", type=int, help="steps of a run instead of those of the set-up")
    parser.add_argument("--setup", type=Path, default=SETUP, help="config file that is read after each preset")
    parser.add_argument("--runs", type=Path, default=Path("runs/table"), help="where the runs' folders are made")
    parser.add_argument("--records", type=Path, default=TABLE, help="where the rows are kept")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    given = read_options(words)
    given.records.mkdir(parents=True, exist_ok=True)
    for row in rows(given.methods, given.seeds, given.equal):
        file = given.records / f"{row.name}.json"
        if file.exists():
            print(f"{row.name}: recorded already", flush=True)
            continue
        kept = run_row(row, given)
        file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        print(f"{row.name}: {kept['training_minutes']} min", flush=True)


if __name__ == "__main__":
    main()
