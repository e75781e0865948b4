"""What a second process brings, one thread each:  python -m experiments.benchmarks.processes [--steps 12]

The same training, once by one process and once by two that share each batch, by the real command; medians of a step.
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
PICTURES = 8  # labeled and unlabeled together
SETTINGS = (
    "--config experiments/scenes/scl.yaml --method.start 0 --method.ramp 0 --device cpu --train.threads 1 "
    "--train.workers 0 --data.unlabeled 60"
)


def seconds_of_step(run: Path, processes: int, steps: int) -> float:
    """Median seconds of a step of a training with so many processes, after the first few."""
    command = [sys.executable, "-m", "scl_core.train", *SETTINGS.split(), "--processes", str(processes)]
    command += ["--run_dir", str(run), "--train.stop_at", str(steps + WARM_UP)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(row["seconds"] for row in rows[WARM_UP:])


def measure(steps: int = 12, repeats: int = 2) -> dict:
    """Seconds a step by processes, taken in turn, and the throughput of two against one."""
    turns: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats):
            for processes, seconds in turns.items():
                seconds.append(seconds_of_step(Path(folder) / f"{turn}-{processes}", processes, steps))
    found = {str(processes): statistics.median(seconds) for processes, seconds in turns.items()}
    return {"seconds": found, "ratio": found["1"] / found["2"]}


def table(found: dict) -> str:
    """Seconds a step and pictures a second by processes."""
    lines = ["| processes, one thread each | s a step | pictures/s |", "|---|---|---|"]
    lines += [f"| {name} | {value:.3f} | {PICTURES / value:.1f} |" for name, value in found["seconds"].items()]
    return "\n".join([*lines, "", f"Two are {found['ratio']:.2f} times as fast as one."])


def figures(found: dict) -> dict:
    """Pictures a second against processes, beside the line of a perfect doubling."""
    import plotly.graph_objects as go

    rates = {int(name): PICTURES / value for name, value in found["seconds"].items()}
    bars = go.Bar(x=list(rates), y=list(rates.values()), name="measured", width=0.5)
    perfect = go.Scatter(x=list(rates), y=[rates[1] * count for count in rates], name="in proportion", mode="lines")
    figure = go.Figure([bars, perfect]).update_xaxes(title="processes", dtick=1).update_yaxes(title="pictures/s")
    return {"throughput_against_processes": figure.update_layout(height=320, margin={"t": 20})}


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--steps", type=int, default=12, help="steps that are measured")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    found = measure(options.steps, options.repeats)
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
