"""What the benchmarks' commands share: the option `--out`, and how what was found is told and kept."""

import argparse
import json
import platform
from datetime import date
from pathlib import Path


def option_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with `--out`; its help is the module's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    return parser


def tell(found: dict, text: str, out: Path | None, hardware: str = "") -> None:
    """Print date, `hardware` (by default the kind of processor and Python's version) and `text`; write `found`."""
    print(f"{date.today()}  {hardware or f'{platform.machine()}, python {platform.python_version()}'}\n{text}")
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
