"""How fast the street scenes are drawn on one core, and what is in them: python -m experiments.benchmarks.scenes"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy reads it: the number is for one core

import argparse
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np

from scl_core.data.scenes import CLASS_NAMES, draw_scene


def pictures_per_second(height: int, width: int, pictures: int, first: int) -> float:
    """Wall-clock rate of drawing `pictures` scenes one after another."""
    start = time.perf_counter()
    for index in range(first, first + pictures):
        draw_scene(0, index, height, width)
    return pictures / (time.perf_counter() - start)


def class_shares(height: int, width: int, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of all pixels and share of the pictures that each class has, both [11]."""
    counts = np.stack(
        [np.bincount(draw_scene(0, index, height, width)[1].ravel(), minlength=11) for index in range(pictures)]
    )
    return counts.sum(axis=0) / counts.sum(), (counts > 0).mean(axis=0)


def processor_name() -> str:
    """The processor as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Print the median rate over the repeats, then the share of every class."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=100, help="pictures per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    size = (options.height, options.width)
    pictures_per_second(*size, 10, 0)
    rates = [pictures_per_second(*size, options.pictures, k * options.pictures) for k in range(options.repeats)]
    print(f"{date.today()}  {processor_name()}, one core, Python {platform.python_version()}, numpy {np.__version__}")
    print(
        f"{size[0]}x{size[1]}: {statistics.median(rates):.0f} pictures/s (median of {options.repeats} repeats of "
        f"{options.pictures}; {min(rates):.0f} to {max(rates):.0f})"
    )
    for name, pixels, presence in zip(CLASS_NAMES, *class_shares(*size, options.pictures), strict=True):
        print(f"  {name:13s} {100 * pixels:5.2f} % of pixels, in {100 * presence:3.0f} % of pictures")


if __name__ == "__main__":
    main()
