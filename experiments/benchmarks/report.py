"""The page of the benchmarks, README.md, from the numbers that are kept in results/: tables, plots, goals."""

import importlib
import json
from pathlib import Path
from types import ModuleType

from experiments.benchmarks.goals import goals_table
from experiments.benchmarks.parts import PARTS, Part

HERE = Path(__file__).resolve().parent
RESULTS, PICTURES, PAGE = HERE / "results", HERE / "pictures", HERE / "README.md"
HEAD = """# Benchmarks

Written by `make bench` (`python -m experiments.benchmarks`) from the numbers in [results/](results); do not edit.
Each part runs in a process of its own; `python -m experiments.benchmarks NAME` measures one anew, `--write` writes
this page alone. Medians unless it says otherwise. Speed depends on the machine and on what else it does: the load
before a part is told beside it.
"""


def module_of(part: Part) -> ModuleType:
    """The module that measured the part and can show it."""
    return importlib.import_module(f"experiments.benchmarks.{part.module}")


def read(part: Part, folder: Path = RESULTS) -> dict | None:
    """The record of a part, if there is one."""
    file = folder / f"{part.name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def section(part: Part, record: dict | None, pictures: Path = PICTURES) -> str:
    """One part: what it shows, its table, plots, command, date and hardware, or why it has no numbers."""
    lines = [f"## {part.title}", "", part.says, ""]
    if record is None:
        return "\n".join([*lines, f"Not measured yet: `{part.command}`"])
    if "failure" in record:
        return "\n".join([*lines, f"**No numbers: {record['failure']}** (`{record.get('command', part.command)}`)"])
    lines += [module_of(part).table(record["found"]), ""]
    for file in sorted(pictures.glob(f"{part.name}-*.png")):
        lines += [f"![{part.title}: {file.stem.split('-', 1)[1].replace('_', ' ')}](pictures/{file.name})", ""]
    told = f"{record['date']}, {record['machine']}; load before {record['load']:.1f}; {record['minutes']:.1f} min"
    return "\n".join([*lines, f"`{record['command']}`  ", told])


def page(results: Path = RESULTS, pictures: Path = PICTURES) -> str:
    """The whole page."""
    records = {part.name: read(part, results) for part in PARTS}
    found = {name: record["found"] for name, record in records.items() if record and "found" in record}
    sections = [section(part, records[part.name], pictures) for part in PARTS]
    return "\n\n".join([HEAD.rstrip(), "## Goals", goals_table(found), *sections]) + "\n"


def write() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def draw(part: Part) -> None:
    """Replace the part's plots; without a browser the page goes without them."""
    for file in PICTURES.glob(f"{part.name}-*.png"):
        file.unlink()
    record, figures = read(part), getattr(module_of(part), "figures", None)
    if figures is None or record is None or "failure" in record:
        return
    try:
        from experiments.picture import save_picture

        for name, figure in figures(record["found"]).items():
            save_picture(figure, PICTURES / f"{part.name}-{name}.png", 700)
    except Exception as error:  # no browser, or one that does not start: the numbers stand without it
        print(f"  no plot of {part.name}: {str(error).splitlines()[0]}")
