"""How fast the page Other methods answers:  python -m experiments.benchmarks.insides [--pairs 5] [--threads 2]

Of each method a run of two steps on drawn scenes of 256 x 512. The page's script is run as the server runs it, first
for a few pairs that it has not seen, whose networks run, then for pairs that it has; once everything has run.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from streamlit.testing.v1 import AppTest

from experiments.benchmarks.command import option_parser, tell
from scl_core.command_line import run_command
from scl_core.train import main as train

ROOT = Path(__file__).resolve().parents[2]
PAGE = "pages/method/others.py"
METHODS = ("cps", "pcr", "rc2l", "rc2l_pp", "fixmatch", "unimatch")
SETTINGS = {
    "data.height": 256,
    "data.width": 512,
    "data.labeled": 2,
    "data.unlabeled": 6,
    "data.val": 1,
    "data.test": 1,
    "train.steps": 2,
    "train.checkpoint_every": 1,
    "train.batch_labeled": 2,
    "train.batch_unlabeled": 2,
    "train.threads": 1,
    "device": "cpu",
}


def train_run(name: str, runs: Path) -> None:
    """Two steps of the scenes' preset, the unlabeled part in both."""
    settings = SETTINGS | ({} if name == "cps" else {"method.start": 0.0})
    options = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    config = ROOT / "experiments" / "scenes" / f"{name}.yaml"
    if run_command(train, ["--config", str(config), "--run_dir", str(runs / name), *options]):
        raise SystemExit(1)


def open_page(name: str) -> AppTest:
    """The page on this run, after its script has run once."""
    app = AppTest.from_file(ROOT / "app.py", default_timeout=100)
    app.query_params["run"] = name
    app.switch_page(PAGE)
    return app.run()


def answer(app: AppTest, seed: int) -> tuple[float, float]:
    """Seconds on the wall, and of all processors, until the page shows the pair that this seed draws."""
    app.number_input(key="seed").set_value(seed)
    started = time.perf_counter(), time.process_time()
    app.run()
    seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    if app.exception:
        raise SystemExit(f"{PAGE}: {app.exception[0].message}")
    return seconds


def measure(methods: tuple[str, ...] = METHODS, pairs: int = 5, threads: int = 2) -> dict:
    """Median seconds of the page's script for new pairs and for known ones, for each method."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SCL_RUNS"] = folder
        for name in methods:
            train_run(name, Path(folder))
            torch.set_num_threads(threads)
            app = open_page(name)
            for kind in ("new", "known"):
                each = [answer(app, seed) for seed in range(1, pairs + 1)]
                wall, processor = (statistics.median(column) for column in zip(*each, strict=True))
                rows.append({"method": name, "pair": kind, "seconds": wall, "processor_seconds": processor})
    return {"pairs": pairs, "threads": threads, "rows": rows}


def table(found: dict) -> str:
    """Both times of each method, for new and for known pairs."""
    head = "| method | new pair, s | of the processors, s | known pair, s | of the processors, s |"
    lines = [head, "|" + "---|" * 5]
    for name in dict.fromkeys(row["method"] for row in found["rows"]):
        of_method = {row["pair"]: row for row in found["rows"] if row["method"] == name}
        numbers = [of_method[pair][key] for pair in ("new", "known") for key in ("seconds", "processor_seconds")]
        lines.append(f"| {name} | " + " | ".join(f"{number:.2f}" for number in numbers) + " |")
    return "\n".join([*lines, "", f"Medians of {found['pairs']} pairs, {found['threads']} threads."])


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args()
    found = measure(tuple(options.methods), options.pairs, options.threads)
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
