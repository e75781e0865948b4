"""What the headers of scenes/ and camvid/ say under "Result":  python -m experiments.headers [--write]

It comes from the records. The runs of all methods are of small set-ups, and the headers say which; what was run at a
preset's own size stands before that.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

from experiments.study_table import RECORDS as STUDY_RECORDS
from experiments.study_table import read_rows as study_rows
from experiments.table import RECORDS, REFERENCE, read_rows, score, spread
from scl_core.methods import METHODS

HERE = Path(__file__).resolve().parent
TABLE = RECORDS / "table"
OWN_SIZE = {"scenes": "scenes-12", "camvid": "camvid-1_8"}
RESULT = re.compile(r"^# Result: .*\n(?:#   .*\n|# (?![A-Z]\w+: ).*\n)*", re.MULTILINE)


def result_of(data: str, method: str) -> str:
    """The sentences of one header: the run at the preset's own size, and those of the small set-up."""
    return f"{own_size(data, method)} {scenes_table(method) if data == 'scenes' else camvid_study(method)}"


def own_size(data: str, method: str) -> str:
    """What was scored with the preset as it is."""
    file = RECORDS / f"{OWN_SIZE[data]}-{method}.json"
    if not file.exists():
        return "at this size none was measured."
    record = json.loads(file.read_text(encoding="utf-8"))
    found = score(record, "test", record["evaluations"][0]["network"])
    return f"{found} test mIoU with one seed, which proves nothing (experiments/README.md)."


def scenes_table(method: str) -> str:
    """Mean, spread and seeds in the table of all methods at equal steps and in equal time, beside the control's."""
    config = read_rows(TABLE, "steps", method)[0]["config"]
    setup = f"({config['data']['height']} x {config['data']['width']}, {config['train']['steps']} steps)"
    at_steps, in_time = (beside_control(method, equal) for equal in ("steps", "time"))
    return (
        f"In the small set-up of experiments/table.yaml {setup}: {at_steps}{in_time and f'; in equal time {in_time}'}."
    )


def beside_control(method: str, equal: str) -> str:
    """One column of the table for this method and the control; empty where nothing is recorded."""
    found = {name: read_rows(TABLE, "steps" if name == REFERENCE else equal, name) for name in (method, "supervised")}
    if not all(found.values()):
        return ""
    beside = "" if method == "supervised" else f", supervised {spread(found['supervised'])}"
    return f"{spread(found[method])} test mIoU{beside}"


def camvid_study(method: str) -> str:
    """The one run under the protocol, beside the control's."""
    study = yaml.safe_load((HERE / "studies" / "methods.yaml").read_text(encoding="utf-8"))
    rows = {row["arm"]: row for row in study_rows(STUDY_RECORDS / "methods-camvid.jsonl") if row["pair"] == 0}
    size = study["worlds"]["camvid"]["settings"]
    setup = f"experiments/studies/methods.yaml ({size['data.height']} x {size['data.width']}, {study['steps']} steps)"
    beside = "" if method == "supervised" else f", supervised {100 * rows['supervised']['mean_iou']:.2f}"
    found = f"{100 * rows[method]['mean_iou']:.2f} dev mIoU{beside}, one run each"
    return f"In the small set-up of {setup}: {found}; experiments/studies/README.md."


def headers() -> Iterator[tuple[Path, str, str]]:
    """Each preset's file, its text, and its text as the records have it."""
    for data in OWN_SIZE:
        for method in METHODS:
            file = HERE / data / f"{method}.yaml"
            text = file.read_text(encoding="utf-8")
            told = f"Result: {result_of(data, method)}"
            lines = textwrap.wrap(told, 114, initial_indent="# ", subsequent_indent="#   ")
            found = RESULT.search(text)
            yield file, text, text[: found.start()] + "\n".join(lines) + "\n" + text[found.end() :]


if __name__ == "__main__":
    for file, text, wanted in headers():
        if sys.argv[1:] == ["--write"]:
            file.write_text(wanted, encoding="utf-8")
        elif text != wanted:
            print(f"{file.relative_to(HERE)}: {RESULT.search(wanted).group()}", end="")
