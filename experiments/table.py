"""The results table of experiments/README.md, from experiments/records/:  python -m experiments.table"""

import json
from pathlib import Path

RECORDS = Path(__file__).resolve().parent / "records"
HEADER = ("run", "network", "val mIoU", "test mIoU", "labels", "seed", "list hash", "training", "where and when")


def score(record: dict, split: str, network: str) -> str:
    found = [row for row in record["evaluations"] if (row["split"], row["network"]) == (split, network)]
    return f"{100 * found[-1]['mean_iou']:.2f}" if found else "-"


def row_of(name: str, record: dict) -> tuple[str, ...]:
    """One line: the network that counts, which is the first of the evaluations."""
    network = record["evaluations"][0]["network"]
    scores = (score(record, "val", network), score(record, "test", network))
    settings = (str(record["config"]["data"]["labeled"]), str(record["config"]["seed"]))
    place = f"{record['hardware']}, torch {record['torch']}, {record['date']}"
    minutes = f"{record['training_minutes']} min"
    return (name, network, *scores, *settings, record["evaluations"][0]["list_hash"], minutes, place)


def table() -> str:
    """All records as a Markdown table, and the command of each below it."""
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))}
    rows = [row_of(name, record) for name, record in records.items()]
    lines = [f"| {' | '.join(row)} |" for row in (HEADER, ("---",) * len(HEADER), *rows)]
    commands = [f"{record['command']}   # {name}" for name, record in records.items()]
    return "\n".join([*lines, "", "```bash", *commands, "```"])


if __name__ == "__main__":
    print(table())
