"""Memory and hours that the presets will take, forecast:  python -m experiments.benchmarks.presets [DATA]...

No data set is read and nothing is trained. The memory of one process is the trainer's own forecast; the arithmetic of
a step is counted on the same small crops and grows with the pixels; hours are that over the arithmetic a second that
small steps of SCL with the same encoder reach here.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.command import option_parser, tell
from experiments.benchmarks.methods import take_step
from scl_core.allocator import keep_freed_memory
from scl_core.config import RunConfig, load_config
from scl_core.data.cityscapes import CLASSES as CITYSCAPES
from scl_core.data.loaders import crop_size
from scl_core.data.scenes import CLASS_NAMES as SCENES
from scl_core.data.voc import CLASS_NAMES as VOC
from scl_core.methods import Method, StepDraws
from scl_core.restore import build_method
from scl_core.training.forecast import forecast_method
from scl_core.training.optimizer import build_optimizer
from scl_core.training.small_steps import SMALL_SIDES, SMALL_STEP, blank_batch, part_of_batch, shrinking

PRESETS = Path(__file__).resolve().parent.parent
CLASSES = {"scenes": len(SCENES), "camvid": 11, "voc": len(VOC), "cityscapes": len(CITYSCAPES)}
SMALL_BATCH, SMALL_CROP, TIMED = (2, 2), (128, 128), 3


@dataclass(frozen=True)
class Unread:
    """A data set as far as a forecast needs it: every preset here sets the size of its crops."""

    class_names: tuple[str, ...]

    def pictures(self, _: str) -> None:
        """No picture is read."""


def presets(data: str) -> Iterator[tuple[str, RunConfig]]:
    """The data set's presets with their names, without weights to download."""
    root = {} if data == "scenes" else {"data.root": str(PRESETS)}
    for path in sorted((PRESETS / data).glob("*.yaml")):
        if path.stem != "base":
            config = load_config([path], root)
            yield path.stem, replace(config, model=replace(config.model, weights=None))


def small_part(config: RunConfig, method: Method, crop: tuple[int, int]) -> float:
    """By how much the whole step is larger than the small steps that the forecast takes together."""
    pictures = part_of_batch(config.train, 1, method.num_strong > 0)
    pixels = crop[0] * crop[1]
    if pixels * sum(pictures) <= SMALL_STEP:
        return 1.0
    return pixels * shrinking(*pictures, config.train.accumulate) / sum(side * side for side in SMALL_SIDES)


def row_of(name: str, data: str, config: RunConfig) -> dict:
    """Forecast bytes of one process, and operations of a step (convolutions and matrix products, both directions)."""
    source = Unread(tuple(map(str, range(CLASSES[data]))))
    method = build_method(config, len(source.class_names))
    with FlopCounterMode(display=False) as counter:
        needs = forecast_method(method, config, source, 1)
    crop = crop_size(config.augment, config.data, None)
    operations = counter.get_total_flops() * small_part(config, method, crop)
    found = {"data": data, "preset": name, "encoder": config.model.encoder, "crop": f"{crop[0]} x {crop[1]}"}
    batch = f"{config.train.batch_labeled} + {config.train.batch_unlabeled if method.num_strong else 0}"
    return found | {
        "batch": batch, "steps": config.train.steps, "memory_bytes": needs.peak, "step_operations": operations
    }  # fmt: skip


def operations_a_second(config: RunConfig, num_classes: int) -> float:
    """What real steps on small crops of noise reach here with this network; the first is counted, and warms up."""
    method = build_method(config, num_classes).train()
    optimizer = build_optimizer(method, config.train)
    batch, step, seconds = blank_batch(*SMALL_BATCH, SMALL_CROP, num_classes, 1), config.train.steps, []
    with FlopCounterMode(display=False) as counter:
        take_step(method, optimizer, batch, StepDraws(0, step))
    for _ in range(TIMED):
        started = time.perf_counter()
        take_step(method, optimizer, batch, StepDraws(0, step))
        seconds.append(time.perf_counter() - started)
    return counter.get_total_flops() / statistics.median(seconds)


def measure(data: list[str], threads: int = 2) -> dict:
    """The forecast of every preset of these data sets, and what SCL reaches with each of their encoders."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    rows, rates = [], {}
    for which in data:
        configs = dict(presets(which))
        for name in ("scl", *configs):
            if configs[name].model.encoder not in rates and configs[name].method.name == "scl":
                rates[configs[name].model.encoder] = operations_a_second(configs[name], CLASSES[which])
        rows += [row_of(name, which, config) for name, config in configs.items()]
    return {"threads": threads, "operations_a_second": rates, "rows": rows}


def table(found: dict) -> str:
    """Every preset with memory and hours."""
    rates = found["operations_a_second"]
    told = ", ".join(f"{rate / 1e9:.0f} with {encoder}" for encoder, rate in rates.items())
    lines = [
        f"Thousand million operations a second with {found['threads']} threads: {told}.",
        "",
        "| preset | encoder | crop | batch | steps | memory, GB | operations a step, 10^12 | hours on this processor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        hours = row["steps"] * row["step_operations"] / rates[row["encoder"]] / 3600
        lines.append(
            f"| {row['data']}/{row['preset']} | {row['encoder']} | {row['crop']} | {row['batch']} | {row['steps']:,} | "
            f"{row['memory_bytes'] / 1e9:.1f} | {row['step_operations'] / 1e12:.2f} | {hours:,.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(CLASSES)}; all by default")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    found = measure(options.data or list(CLASSES), options.threads)
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
