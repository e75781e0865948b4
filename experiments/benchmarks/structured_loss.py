"""The exact structured loss against drawn pairs, the plain form and eq. 4, in time and memory, all in one run.

python -m experiments.benchmarks.structured_loss [--threads 2] [--clock wall|cpu] [--repeats 9] [--out FILE.json]
Each number is the median of interleaved repeats of forward and backward, float32, 19 classes; both sides under the
same allocator: first the system's, then the one that training sets. `--clock cpu` counts the process's own seconds,
which says more on a machine with other work (with one thread).
"""

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from experiments.benchmarks.command import option_parser, tell
from experiments.benchmarks.machine import processor_name
from experiments.benchmarks.plain_sampled import plain_sampled_loss
from scl_core.allocator import keep_freed_memory
from scl_core.losses import consistency_loss, structured_consistency_loss

CLASSES, CROP, BOXES, SIDE, PAIRS = 19, 800, 16, 100, 9000
WHOLE = [(128, 128), (256, 256), (512, 512), (1024, 2048)]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def predictions(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Student and teacher of one picture, not far from each other."""
    logits = torch.randn(1, CLASSES, height, width) * 2
    return (logits + 0.3 * torch.randn_like(logits)).softmax(1), logits.softmax(1)


def box_grid() -> Tensor:
    """16 boxes of 100 x 100 in a crop of 800 x 800, none covered: owner [1, H, W]."""
    owner = torch.full((1, CROP, CROP), -1)
    for box in range(BOXES):
        top, left = box // 4 * 200 + 17, box % 4 * 200 + 31
        owner[0, top : top + SIDE, left : left + SIDE] = box
    return owner


def medians(losses: dict[str, Callable[[Tensor], Tensor]], student: Tensor, clock: str, repeats: int) -> dict:
    """Milliseconds of forward and backward of each loss, taken in turn; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    now = CLOCKS[clock]
    for _ in range(repeats + 1):
        for name, loss in losses.items():
            probs = student.detach().requires_grad_()
            start = now()
            loss(probs).backward()
            seconds[name].append(now() - start)
    return {name: round(1000 * statistics.median(found[1:]), 2) for name, found in seconds.items()}


def time_of_boxes(clock: str, repeats: int) -> dict:
    """The four losses on one crop, and the ratios of the exact one to the others."""
    (student, teacher), owner = predictions(CROP, CROP), box_grid()
    found = medians(
        {
            "exact": lambda probs: structured_consistency_loss(probs, teacher, owner, BOXES, BOXES),
            "drawn": lambda probs: structured_consistency_loss(probs, teacher, owner, BOXES, BOXES, PAIRS),
            "plain": lambda probs: plain_sampled_loss(probs, teacher, owner, BOXES, PAIRS),
            "pixel-wise": lambda probs: consistency_loss(probs, teacher),
        },
        student,
        clock,
        repeats,
    )
    return found | {f"exact / {name}": round(found["exact"] / found[name], 3) for name in list(found)[1:]}


def time_of_whole(clock: str, repeats: int) -> dict:
    """Eq. 6 over whole pictures, by their pixels."""
    found = {}
    for height, width in WHOLE:
        student, teacher = predictions(height, width)
        owner = torch.zeros(1, height, width, dtype=torch.long)

        def loss(probs, teacher=teacher, owner=owner):
            return structured_consistency_loss(probs, teacher, owner, 1, 1)

        found[height * width] = medians({"exact": loss}, student, clock, min(repeats, 5))["exact"]
    return found


def memory_of_box() -> dict:
    """Megabytes above the inputs at the peak, gradient included, by the pixels of the box (Linux alone)."""
    found = {}
    if not CLEAR.exists():
        return found
    for height, width in [(100, 100), (200, 350), *WHOLE[2:]]:
        student, teacher = predictions(height, width)
        owner = torch.zeros(1, height, width, dtype=torch.long)
        student.requires_grad_()
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")  # the peak starts anew
        before = memory("VmRSS")
        structured_consistency_loss(student, teacher, owner, 1, 1).backward()
        found[height * width] = round(memory("VmHWM") - before, 1)
    return found


def memory(name: str) -> float:
    """One of Linux's numbers of this process, in MB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) / 1024


def table(result: dict) -> str:
    """The result as Markdown."""
    lines = [
        "| crop of 800 x 800, 16 boxes of 100 x 100 | system's allocator | training's allocator |",
        "|---|---|---|",
    ]
    first, second = result["boxes"], result["boxes, freed memory kept"]
    lines += [f"| {name}{'' if '/' in name else ', ms'} | {first[name]} | {second[name]} |" for name in first]
    lines += ["", "| pixels of one region | ms | MB above the inputs |", "|---|---|---|"]
    sizes = sorted({*result["whole"], *result["memory"]}, key=int)
    lines += [
        f"| {int(size):,} | {result['whole'].get(size, '')} | {result['memory'].get(size, '')} |" for size in sizes
    ]
    return "\n".join(lines)


def figures(result: dict) -> dict:
    """Time and memory of one region against its pixels, on logarithmic axes."""
    import plotly.graph_objects as go

    named = {"loss_against_pixels": ("whole", "ms, forward and backward"), "memory_against_pixels": ("memory", "MB")}
    drawn = {}
    for name, (key, unit) in named.items():
        pixels = [int(size) for size in result[key]]
        figure = go.Figure(go.Scatter(x=pixels, y=list(result[key].values()), mode="lines+markers"))
        figure.update_xaxes(type="log", title="pixels of the region").update_yaxes(type="log", title=unit)
        drawn[name] = figure.update_layout(height=320, margin={"t": 20})
    return drawn


def measure(clock: str = "wall", repeats: int = 9) -> dict:
    """Every number of the table; afterwards this process keeps freed memory."""
    result: dict = {"clock": clock, "memory": memory_of_box(), "boxes": time_of_boxes(clock, repeats)}
    keep_freed_memory()
    return result | {"boxes, freed memory kept": time_of_boxes(clock, repeats), "whole": time_of_whole(clock, repeats)}


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    hardware = f"{processor_name()}, {options.threads} threads, torch {torch.__version__}"
    result = measure(options.clock, options.repeats)
    tell(result, f"\n{table(result)}", options.out, f"{hardware}, {options.clock} clock")


if __name__ == "__main__":
    main()
