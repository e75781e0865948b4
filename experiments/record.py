"""Keep what a finished run scored, small enough to commit:  python -m experiments.record RUN_DIR NAME "HARDWARE" """

import json
import sys
from datetime import date
from pathlib import Path

import yaml

from scl_core.config import flatten, load_config, to_dict

RECORDS = Path(__file__).resolve().parent / "records"
NOT_PART_OF_THE_RESULT = {
    "run_dir",
    "device",
    "data.root",
    "train.workers",
    "train.threads",
    "data.cache",
    "data.cache_mb",
    "data.resident",
}


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def command_of(config: dict) -> str:
    """The shortest command that gives these settings: the preset of data set and method, and what differs from it."""
    flat = flatten(config)
    preset = f"experiments/{flat['data.name']}/{flat['method.name']}.yaml"
    usual = flatten(to_dict(load_config([preset])))
    different = [key for key, value in flat.items() if value != usual.get(key) and key not in NOT_PART_OF_THE_RESULT]
    options = [f"--{key} {flat[key]}" for key in different]
    root = ["--data.root CAMVID"] if flat["data.name"] == "camvid" else []
    return " ".join(["python -m scl_core.train --config", preset, *root, *options])


def record(run: Path, hardware: str) -> dict:
    """The settings, where it ran, how long it trained, and the scores of its last step."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    rows, evaluations = read_lines(run / "metrics.jsonl"), read_lines(run / "evaluations.jsonl")
    last = max(row["step"] for row in evaluations)
    return {
        "command": command_of(config),
        "date": date.fromtimestamp((run / "metrics.jsonl").stat().st_mtime).isoformat(),
        "hardware": hardware,
        "torch": environment["packages"]["torch"],
        "training_minutes": round(sum(row["seconds"] for row in rows) / 60, 1),
        "config": config,
        "evaluations": [row for row in evaluations if row["step"] == last],
    }


def main(run: str, name: str, hardware: str) -> None:
    kept = record(Path(run), hardware)
    (RECORDS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(kept["command"])


if __name__ == "__main__":
    main(*sys.argv[1:])
