"""What a second process brings, one thread each:  python -m experiments.benchmarks.processes [--steps 6]

The same training, once by one process and once by two that share each batch, by the real command, on small and on
larger pictures; medians of a step.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.benchmarks.command import option_parser, tell

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 3
SIZES = {"128 x 256": (128, 256), "360 x 480": (360, 480)}
PICTURES = 8  # labeled and unlabeled together
SETTINGS = (
    "--config experiments/scenes/scl.yaml --method.start 0 --method.ramp 0 --device cpu --train.threads 1 "
    "--train.workers 0 --data.unlabeled 60"
)


def seconds_of_step(run: Path, size: str, processes: int, steps: int) -> float:
    """Median seconds of a step of a training with so many processes, after the first few."""
    command = [sys.executable, "-m", "scl_core.train", *SETTINGS.split(), "--processes", str(processes)]
    command += ["--run_dir", str(run), "--train.stop_at", str(steps + WARM_UP)]
    height, width = SIZES[size]
    command += ["--data.height", str(height), "--data.width", str(width)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(row["seconds"] for row in rows[WARM_UP:])


def measure(steps: int = 6, repeats: int = 2) -> dict:
    """By size of the pictures: seconds a step by processes, taken in turn, and the throughput of two against one."""
    turns = {size: {1: [], 2: []} for size in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats):
            for size, of_size in turns.items():
                for processes, seconds in of_size.items():
                    run = Path(folder) / f"{turn}-{size.replace(' ', '')}-{processes}"
                    seconds.append(seconds_of_step(run, size, processes, steps))
    return {size: compared(of_size) for size, of_size in turns.items()}


def compared(turns: dict[int, list[float]]) -> dict:
    """Medians, and how many times as fast two processes are."""
    found = {str(processes): statistics.median(seconds) for processes, seconds in turns.items()}
    return {"seconds": found, "ratio": found["1"] / found["2"]}


def table(found: dict) -> str:
    """Seconds a step and pictures a second by processes."""
    lines = [
        "| pictures | processes, one thread each | s a step | pictures/s | times one process |",
        "|---|---|---|---|---|",
    ]
    for size, of_size in found.items():
        one = of_size["seconds"]["1"]
        lines += [
            f"| {size} | {name} | {value:.3f} | {PICTURES / value:.1f} | {one / value:.2f} |"
            for name, value in of_size["seconds"].items()
        ]
    return "\n".join(lines)


def figures(found: dict) -> dict:
    """How many times as fast as one process, against processes, beside the line of a perfect doubling."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for size, of_size in found.items():
        one = of_size["seconds"]["1"]
        times = {int(name): one / value for name, value in of_size["seconds"].items()}
        figure.add_bar(x=list(times), y=list(times.values()), name=size)
    figure.add_scatter(x=[1, 2], y=[1, 2], name="in proportion", mode="lines")
    figure.update_xaxes(title="processes", dtick=1).update_yaxes(title="times one process")
    return {"throughput_against_processes": figure.update_layout(height=320, margin={"t": 20})}


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--steps", type=int, default=6, help="steps that are measured")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    found = measure(options.steps, options.repeats)
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
