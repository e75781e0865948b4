"""Run the benchmarks one after another and rewrite README.md:  python -m experiments.benchmarks [NAME]... [--write]

Without names all of them, in at most ten minutes on two cores; with `--write` none, the page alone. A part that fails
or takes too long is told in the page, and the others go on. Each keeps its numbers in results/NAME.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from experiments.benchmarks.machine import machine
from experiments.benchmarks.parts import PARTS, Part
from experiments.benchmarks.report import RESULTS, draw, write

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = 600  # seconds that all parts may take


def run_part(part: Part, limit: float) -> dict:
    """The part's record: command, date, hardware, load of the machine before, and its numbers or why there are none."""
    record = {"command": part.command, "date": str(date.today()), "machine": machine(), "load": os.getloadavg()[0]}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        failure = failure_of([sys.executable, *part.command.split()[1:], "--out", str(out)], limit)
        record["minutes"] = round((time.monotonic() - started) / 60, 2)
        if failure is None and not out.is_file():
            failure = "it wrote no numbers"
        return record | ({"failure": failure} if failure else {"found": json.loads(out.read_text())})


def failure_of(command: list[str], limit: float) -> str | None:
    """Run to the end, or for `limit` seconds with all that it started; the last line of what it said if it failed."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            end_tree(process.pid)
            process.wait()
            return f"given up after {limit:.0f} s"
        said.seek(0)
        lines = [line.strip() for line in said if line.strip()]
    return None if status == 0 else f"status {status}: {lines[-1] if lines else 'nothing was said'}"


def end_tree(pid: int) -> None:
    """End a process and all below it; some start sessions of their own, so a signal to the group is not enough."""
    import psutil

    leader = psutil.Process(pid)
    for process in [*leader.children(recursive=True), leader]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass


def keep(part: Part, record: dict, folder: Path = RESULTS) -> None:
    """Write the record where the page reads it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{part.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main(words: list[str]) -> None:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME", help=", ".join(names))
    parser.add_argument("--write", action="store_true", help="write the page from what is kept, measure nothing")
    options = parser.parse_args(words)
    end = time.monotonic() + TOGETHER
    for part in () if options.write else [part for part in PARTS if not options.names or part.name in options.names]:
        print(f"{part.name} ...", end=" ", flush=True)
        left = end - time.monotonic()
        record = run_part(part, min(part.limit, left)) if left > 0 else {"failure": "no time was left"}
        keep(part, record)
        print(record.get("failure", f"{60 * record['minutes']:.0f} s" if "minutes" in record else ""), flush=True)
        draw(part)
    write()


if __name__ == "__main__":
    main(sys.argv[1:])
