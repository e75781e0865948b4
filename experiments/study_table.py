"""Tables of the studies from their rows:  python -m experiments.study_table [--write]

`--write` puts them into studies/README.md, with a forest plot of each study beside it.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.pairs import PRIMARY, SECONDARY, Contrast, contrast, holm, pairs_needed
from experiments.picture import save_picture
from experiments.study import protocol_hash
from scl_core.figures.forest import ForestRow, forest

RECORDS = Path(__file__).with_name("studies") / "records"
HEAD = """# Studies

Arms side by side under [PROTOCOL.md](../PROTOCOL.md), dev mIoU of the network that counts at the last step (the
teacher; of CPS the first). Studies with `fork_at` fork the arms of a pair from one trunk, in the others they share
data and seed. What is not recorded yet is trained by `python -m experiments.study FILE WORLD`;
`python -m experiments.study_table --write` writes this page from [records/](records). Fewer than 12 pairs over
three list draws are a pilot: **it shows how far pairs scatter and supports no claim**, and an interval from two
pairs says little but that; the column n says how many there are. The tuning studies have one pair: what was
chosen by them on dev is judged by other seeds alone. Minutes were taken while the machine did other work."""


def read_rows(file: Path) -> list[dict]:
    """The rows of one data set that were taken under today's rules."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["protocol"] == protocol_hash()]


def contrasts(rows: Sequence[dict], which: Sequence[tuple[str, str]]) -> list[Contrast]:
    """Those of the named contrasts for which there is a pair."""
    return [found for names in which if (found := contrast(rows, *names)) is not None]


def secondary_of(rows: Sequence[dict]) -> Sequence[tuple[str, str]]:
    """The secondary contrasts of the pilot; in a study of other arms, each of them against `supervised`."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    if set(PRIMARY[0]) <= set(arms):
        return SECONDARY
    return (
        [(arm, "supervised") for arm in arms if arm != "supervised"] if len({row["pair"] for row in rows}) > 1 else []
    )


def arms_table(rows: Sequence[dict]) -> str:
    """Mean, standard deviation and n of each arm's mIoU, and its mean minutes."""
    lines = ["| arm | dev mIoU, mean ± sd | n | minutes a run |", "| --- | --- | --- | --- |"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        scores = [100 * row["mean_iou"] for row in rows if row["arm"] == arm]
        minutes = np.mean([row["minutes"] for row in rows if row["arm"] == arm])
        spread = f" ± {np.std(scores, ddof=1):.2f}" if len(scores) > 1 else ""
        lines.append(f"| `{arm}` | {np.mean(scores):.2f}{spread} | {len(scores)} | {minutes:.1f} |")
    return "\n".join(lines)


def contrast_table(rows: Sequence[dict]) -> str:
    """Every contrast with its intervals and p-values; those of the secondary ones corrected with Holm's method.

    Empty for one pair alone: nothing could be said of it.
    """
    primary, secondary = contrasts(rows, PRIMARY), contrasts(rows, secondary_of(rows))
    if not [*primary, *secondary]:
        return ""
    corrected = [*(item.p_value for item in primary), *holm([item.p_value for item in secondary])]
    lines = [
        "| contrast | mean (points) | 95 % t interval | interval over pictures | sd of pairs | p, sign flips | n |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for index, item in enumerate([*primary, *secondary]):
        name = f"`{item.first}` − `{item.second}`"
        name = f"**{name}**" if index < len(primary) else name
        p_value = f"{corrected[index]:.3f}" + ("" if index < len(primary) else " (Holm)")
        cells = (f"{item.mean:+.2f}", words(item.t_interval), words(item.picture_interval), f"{item.deviation:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {p_value} | {len(item.differences)} |")
    return "\n".join([*lines, "", needed(primary)]).rstrip()


def verdict(rows: Sequence[dict]) -> str:
    """Where an arm named `recommended` stands, in one line; empty where there is none."""
    found = contrast(rows, "recommended", "supervised")
    if found is None:
        return ""
    place = "above" if found.mean >= 0 else "BELOW"
    amount = f"{abs(found.mean):.2f} points {place} `supervised` on dev (n = {len(found.differences)})"
    return f"**`recommended` stands {amount}.**"


def needed(primary: Sequence[Contrast]) -> str:
    """How many pairs the full study needs for each primary contrast."""
    parts = [
        f"{pairs_needed(item.deviation)} for `{item.first}` − `{item.second}`"
        for item in primary
        if not math.isnan(item.deviation)
    ]
    return f"Pairs for a half-width of 0.4 points: {', '.join(parts)}." if parts else ""


def words(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "-"


def study_table(study: str) -> str:
    """Both tables of every data set of a study."""
    parts = []
    for file in sorted(RECORDS.glob(f"{study}-*.jsonl")):
        rows = read_rows(file)
        if rows:
            machines = ", ".join(sorted({row["machine"] for row in rows}))
            days = " to ".join(sorted({min(row["date"] for row in rows), max(row["date"] for row in rows)}))
            where = f"{machines}; {days}; protocol `{rows[0]['protocol']}`"
            parts += [f"### {rows[0]['world']}", verdict(rows), arms_table(rows), contrast_table(rows), where]
    return "\n\n".join(part for part in parts if part)


def forest_rows(study: str) -> tuple[list[ForestRow], int]:
    """The rows of the plot, primary contrasts of all data sets first, and how many of them are primary."""
    files = {file.stem.removeprefix(f"{study}-"): read_rows(file) for file in sorted(RECORDS.glob(f"{study}-*.jsonl"))}
    rows = []
    secondary = list(dict.fromkeys(names for kept in files.values() for names in secondary_of(kept)))
    for which in (PRIMARY, secondary):
        found = [(world, item) for names in which for world in files for item in contrasts(files[world], [names])]
        rows.append(
            [ForestRow(f"{i.first} − {i.second}, {world}", i.mean, i.t_interval, i.differences) for world, i in found]
        )
    return rows[0] + rows[1], len(rows[0])


def page() -> str:
    """The whole of studies/README.md."""
    parts = [HEAD]
    for study in study_names():
        picture = f"![Differences between arms of the study {study}]({study}.png)" if forest_rows(study)[0] else ""
        parts += [f"## {study}", picture, study_table(study)]
    return "\n\n".join(part for part in parts if part) + "\n"


def study_names() -> list[str]:
    """The studies that have a recorded row under today's rules."""
    files = [file for file in sorted(RECORDS.glob("*.jsonl")) if read_rows(file)]
    return list(dict.fromkeys(file.stem.rsplit("-", 1)[0] for file in files))


def write() -> None:
    """Rewrite the page and draw its plots."""
    (RECORDS.parent / "README.md").write_text(page(), encoding="utf-8")
    for study in study_names():
        rows, primary = forest_rows(study)
        if rows:
            title = f"{study.capitalize()}: dev mIoU of the network that counts, 95 % t intervals"
            save_picture(forest(rows, title, primary), RECORDS.parent / f"{study}.png")


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        write()
    else:
        print(page())
