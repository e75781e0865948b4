"""The results tables of experiments/README.md, from experiments/records/:  python -m experiments.table [--write]"""

import json
import re
import statistics
import sys
from pathlib import Path

from experiments.run_table import REFERENCE
from scl_core.methods import METHODS

RECORDS = Path(__file__).resolve().parent / "records"
README = Path(__file__).resolve().parent / "README.md"
AT_STEPS, AT_TIME = "test mIoU at equal steps", "test mIoU at equal time"
METHODS_HEADER = ("method", AT_STEPS, "steps", "s a step", AT_TIME, "steps", "network")
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


def methods_table(folder: Path = RECORDS / "table") -> str:
    """Every method's mean, spread and number of seeds at equal steps and at equal time, as a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (METHODS_HEADER, ("---",) * len(METHODS_HEADER))]
    for method in METHODS:
        at_steps, at_time = (read_rows(folder, equal, method) for equal in ("steps", "time"))
        if at_steps:
            same = at_steps if method == REFERENCE else at_time  # the others' time is made equal to the reference's
            lines.append(f"| {' | '.join(methods_row(method, at_steps, same))} |")
    if len(lines) == 2:
        lines.append("| (none recorded yet) |" + " |" * (len(METHODS_HEADER) - 1))
    return "\n".join(lines)


def read_rows(folder: Path, equal: str, method: str) -> list[dict]:
    """What `experiments.run_table` kept of a method."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"{equal}-{method}-s*.json"))]


def methods_row(method: str, at_steps: list[dict], at_time: list[dict]) -> tuple[str, ...]:
    """One line of the table of methods."""
    seconds = statistics.median(record["step_seconds"] for record in at_steps)
    network = at_steps[0]["evaluations"][0]["network"]
    return (method, spread(at_steps), steps(at_steps), f"{seconds:.3f}", spread(at_time), steps(at_time), network)


def steps(records: list[dict]) -> str:
    """The steps that these runs took."""
    return ", ".join(map(str, sorted({record["config"]["train"]["steps"] for record in records}))) or "-"


def spread(records: list[dict]) -> str:
    """Mean, standard deviation and number of the test scores of the network that counts, in percent."""
    scores = [float(score(record, "test", record["evaluations"][0]["network"])) for record in records]
    if not scores:
        return "-"
    deviation = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.2f}{deviation} (n = {len(scores)})"


def write() -> None:
    """Put both tables where the README has the old ones."""
    text = README.read_text(encoding="utf-8")
    blocks = {r"\| run \|.*?```bash.*?```": table(), rf"\| method \| {AT_STEPS}.*?(?=\n\n)": methods_table()}
    for old, new in blocks.items():
        text = re.sub(old, lambda _, new=new: new, text, count=1, flags=re.DOTALL)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(table(), methods_table(), sep="\n\n")
