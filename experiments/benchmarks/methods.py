"""What a step of each method costs here:  python -m experiments.benchmarks.methods [METHOD]... [--out FILE]"""

import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from scl_core.config import RunConfig, load_config
from scl_core.data.sources import open_data
from scl_core.methods import METHODS, Method, StepDraws
from scl_core.microscope.replay import batch_of_step
from scl_core.restore import build_method
from scl_core.train import weighted_sum
from scl_core.training.optimizer import build_optimizer

HERE = Path(__file__).resolve().parent.parent
STEPS, WARM_UP = 12, 2


@dataclass
class Cost:
    """One row: encoder passes of a step with and without gradient, the pictures in them, and what the step takes."""

    method: str
    trained_passes: int
    other_passes: int
    pictures: int
    million_trained: float
    seconds: float
    pictures_a_second: float
    peak_mib: float | None = None


class Passes:
    """Counts the calls of every encoder below a method, and the pictures in them."""

    def __init__(self, method: nn.Module):
        self.with_gradient = self.without = self.pictures = 0
        for name, module in method.named_modules():
            if name.rsplit(".", 1)[-1] == "encoder":
                module.register_forward_pre_hook(self.count)

    def count(self, _, inputs) -> None:
        self.pictures += len(inputs[0])
        if torch.is_grad_enabled():
            self.with_gradient += 1
        else:
            self.without += 1


def config_of(method: str, overrides: dict) -> RunConfig:
    """The set-up of the table of methods, with the unlabeled part in every step."""
    known = {field.name for field in fields(METHODS[method].config_class)}
    whole = {f"method.{key}": 0.0 for key in ("start", "ramp") if key in known}
    return load_config([HERE / "scenes" / f"{method}.yaml", HERE / "table.yaml"], whole | overrides)


def take_step(method: Method, optimizer, batch, draws) -> None:
    """The loop's step, without data, records and checks."""
    loss = weighted_sum(method(batch, draws), method.weights(draws.step))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    method.after_step(draws.step)


def measure(name: str, steps: int = STEPS, **overrides) -> Cost:
    """The cost of a step of one method on one batch, in this process."""
    config = config_of(name, {key.replace("__", "."): value for key, value in overrides.items()})
    torch.set_num_threads(config.train.threads or 1)
    source = open_data(config.data)
    torch.manual_seed(config.seed)
    method = build_method(config, len(source.class_names))
    optimizer = build_optimizer(method, config.train)
    batch = batch_of_step(config, source, method.num_strong, 1, config.seed)
    seconds, passes = [], Passes(method)
    for step in range(1, steps + 1):
        passes.with_gradient = passes.without = passes.pictures = 0
        started = time.perf_counter()
        take_step(method, optimizer, batch, StepDraws(config.seed, step))
        seconds.append(time.perf_counter() - started)
    middle = statistics.median(seconds[min(WARM_UP, steps - 1) :])
    trained = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad) / 1e6
    shown = config.train.batch_labeled + (config.train.batch_unlabeled if method.num_strong else 0)
    counts = (passes.with_gradient, passes.without, passes.pictures)
    return Cost(name, *counts, round(trained, 3), round(middle, 4), round(shown / middle, 1))


def measure_alone(name: str) -> Cost:
    """`measure` in a process of its own, so that its peak memory is its own."""
    done = subprocess.run([sys.executable, "-m", __spec__.name, "--one", name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def table(found: dict) -> str:
    """One line for each method."""
    names = [field.name for field in fields(Cost)]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "| --- " * len(names) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in found["rows"]])


def main(words: list[str]) -> None:
    if words[:1] == ["--one"]:
        cost = measure(words[1])
        cost.peak_mib = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps(asdict(cost)))
        return
    out = words.pop(words.index("--out") + 1) if "--out" in words else None
    names = [word for word in words if word != "--out"]
    rows = []
    for name in names or METHODS:
        rows.append(asdict(measure_alone(name)))
        print(rows[-1], flush=True)
    print(table({"rows": rows}))
    if out:
        Path(out).write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
