"""Do pictures come faster than a step needs them:  python -m experiments.benchmarks.loading [--root CAMVID]"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from experiments.benchmarks.command import option_parser, tell
from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.data.folder import FolderConfig
from scl_core.data.images import picture_size
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.train import main as train

BATCH = 4
FILES, SMALL_POOL = 20_000, 100
WARM_UP = 2


def settings(options) -> dict[str, object]:
    """SCL, 4 + 4 pictures a step, on CamVid or, without a root, on drawn scenes."""
    root = options.root
    data = {"data.root": root, "data.labeled": "1_8"} if root else {"data.labeled": 12, "data.unlabeled": 60}
    size = {
        "data.height": options.height,
        "data.width": options.width,
        "train.batch_labeled": BATCH,
        "train.batch_unlabeled": BATCH,
    }
    return data | size | {"method.name": "scl", "device": "cpu"}


def steps_of_training(options) -> dict[str, float]:
    """Median seconds of a step of a short real training, and the share of them that it waited for pictures."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        given = settings(options) | {"run_dir": run, "train.threads": options.threads}
        given |= {"train.stop_at": options.steps + WARM_UP, "train.workers": options.workers}
        if run_command(train, [word for key, value in given.items() for word in (f"--{key}", str(value))]):
            raise SystemExit(1)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][WARM_UP:]
    waited = sum(row["data_seconds"] for row in rows) / sum(row["seconds"] for row in rows)
    return {"step_seconds": statistics.median(row["seconds"] for row in rows), "waiting_share": waited}


def loader_alone(options) -> float:
    """Median seconds in which the loader alone makes the batch of a step, its pictures decoded before."""
    config = load_config((), settings(options) | {"train.steps": 10_000})
    source = open_data(config.data)
    for name in ("labeled", "unlabeled"):
        for index in range(len(source.lists[name])):
            source.lists[name].input(index)
    return batch_seconds(source, config, options.steps)


def batch_seconds(source, config, count: int) -> float:
    """Median seconds of a batch made in this process, after the first."""
    world = SimpleNamespace(rank=0, size=1, device=torch.device("cpu"))
    batches = iter(training_loader(source, config.data, config.augment, config.train, 0, world, 1, True, 1))
    next(batches)
    return statistics.median(timed(lambda: next(batches)) for _ in range(count))


def timed(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    action()
    return clock() - start


def write_pool(root: Path, count: int) -> FolderConfig:
    """A folder with four labeled pictures and `count` unlabeled, all links to one picture."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(picture).save(root / "first.jpg")
    Image.fromarray(np.zeros((90, 120), np.uint8)).save(root / "first.png")
    for number in range(count):
        os.link(root / "first.jpg", root / "images" / f"{number:06d}.jpg")
    for number in range(4):
        os.link(root / "first.jpg", root / "images" / f"labeled_{number}.jpg")
        os.link(root / "first.png", root / "masks" / f"labeled_{number}.png")
    (root / "classes.txt").write_text("road\ncar\n")
    return FolderConfig(root=str(root), cache="none")


def pools(options, folder: Path) -> dict[str, float]:
    """Seconds to index many files, to read their headers, and to make a batch from a small and from a large pool."""
    found, source = {}, {}
    for name, count in (("small", SMALL_POOL), ("large", options.files)):
        config = write_pool(folder / name, count)
        repeats = [timed(lambda config=config: open_data(config)) for _ in range(3)]
        source[name] = open_data(config)
        whole = load_config((), {"data.root": config.root, "data.cache": "none", "train.steps": 10_000})
        found[f"{name}_batch_seconds"] = batch_seconds(source[name], whole, 5 * options.steps)
    unlabeled = source["large"].lists["unlabeled"]
    headers = timed(lambda: [picture_size(unlabeled.place(index)) for index in range(len(unlabeled))])
    processor = timed(lambda: open_data(config), time.process_time)
    return found | {
        "files": options.files,
        "index_seconds": statistics.median(repeats),
        "index_processor_seconds": processor,
        "headers_seconds": headers,
    }


def index_by_files(files: int, folder: Path) -> dict[str, float]:
    """Median seconds to open folders of growing size."""
    found = {}
    for count in (files // 8, files // 4, files // 2, files):
        config = write_pool(folder / str(count), count)
        found[str(count)] = statistics.median(timed(lambda config=config: open_data(config)) for _ in range(3))
    return found


def measure(options) -> dict[str, float]:
    """All numbers of the table."""
    torch.set_num_threads(options.threads)
    found = {"data": "camvid 1_8" if options.root else "scenes", "threads": options.threads, "workers": options.workers}
    found |= steps_of_training(options)
    batch, pictures = loader_alone(options), 3 * BATCH
    found |= {
        "loader_pictures_per_second": pictures / batch,
        "step_pictures_per_second": pictures / found["step_seconds"],
        "ratio": found["step_seconds"] / batch,
    }
    with tempfile.TemporaryDirectory() as folder:
        found |= pools(options, Path(folder))
        return found | {"index_by_files": index_by_files(options.files, Path(folder))}


def table(found: dict) -> str:
    """The numbers as a table in Markdown."""
    ms = {name: 1000 * found[f"{name}_batch_seconds"] for name in ("small", "large")}
    rows = {
        "loader alone, pictures decoded before": f"{found['loader_pictures_per_second']:.0f} pictures/s",
        "what a step takes": f"{found['step_pictures_per_second']:.1f} pictures/s",
        "ratio": f"{found['ratio']:.1f}",
        f"share of the step waiting, {found['workers']} workers": f"{100 * found['waiting_share']:.1f} %",
        f"{found['files']:,} unlabeled files indexed": f"{found['index_seconds']:.2f} s "
        f"({found['index_processor_seconds']:.2f} s of a core)",
        "their headers read besides": f"{found['headers_seconds']:.2f} s",
        f"a batch decoded from {SMALL_POOL} files": f"{ms['small']:.0f} ms",
        f"a batch decoded from {found['files']:,} files": f"{ms['large']:.0f} ms",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def figures(found: dict) -> dict:
    """Seconds to index a folder against the files in it."""
    import plotly.graph_objects as go

    points = sorted((int(count), seconds) for count, seconds in found["index_by_files"].items())
    figure = go.Figure(go.Scatter(x=[a for a, _ in points], y=[b for _, b in points], mode="lines+markers"))
    figure.update_xaxes(title="unlabeled files", rangemode="tozero").update_yaxes(title="seconds", rangemode="tozero")
    return {"index_against_pool": figure.update_layout(height=320, margin={"t": 20})}


def main() -> None:
    """Print the table and write the numbers where asked."""
    parser = option_parser(__doc__)
    parser.add_argument("--root", help="CamVid's folder; without it scenes are drawn")
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6, help="steps that are measured")
    parser.add_argument("--files", type=int, default=FILES)
    options = parser.parse_args()
    found = measure(options)
    what = f"scl, mobilenet_v2, {found['data']}, {options.height} x {options.width}, {BATCH} + {BATCH} a step"
    hardware = f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    tell(found, f"{what}\n{table(found)}", options.out, hardware)


if __name__ == "__main__":
    main()
