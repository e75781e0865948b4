"""How fast the street scenes are drawn on one core, and what is in them: python -m experiments.benchmarks.scenes"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy reads it: the number is for one core

import platform
import statistics
import time

import numpy as np

from experiments.benchmarks.command import option_parser, tell
from experiments.benchmarks.machine import processor_name
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


def measure(size: tuple[int, int] = (128, 256), pictures: int = 100, repeats: int = 5) -> dict:
    """Pictures per second of each repeat, and of every class its percent of the pixels and of the pictures."""
    pictures_per_second(*size, 10, 0)
    rates = [pictures_per_second(*size, pictures, k * pictures) for k in range(repeats)]
    shares = zip(CLASS_NAMES, *class_shares(*size, pictures), strict=True)
    classes = {name: [round(100 * float(pixels), 2), round(100 * float(seen))] for name, pixels, seen in shares}
    return {"size": list(size), "pictures": pictures, "rates": rates, "classes": classes}


def table(found: dict) -> str:
    """The median rate, and the share of every class."""
    rates, (height, width) = found["rates"], found["size"]
    spread = f"median of {len(rates)} repeats of {found['pictures']}; {min(rates):.0f} to {max(rates):.0f}"
    lines = [f"{height} x {width}: {statistics.median(rates):.0f} pictures/s ({spread})", ""]
    lines += ["| class | % of pixels | in % of pictures |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {a:.2f} | {b} |" for name, (a, b) in found["classes"].items()])


def main() -> None:
    """Print the table, and write the numbers where asked."""
    parser = option_parser(__doc__)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=100, help="pictures per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = measure((options.height, options.width), options.pictures, options.repeats)
    hardware = f"{processor_name()}, one core, Python {platform.python_version()}, numpy {np.__version__}"
    tell(found, table(found), options.out, hardware)


if __name__ == "__main__":
    main()
