"""What a training step costs beside its networks:  python -m experiments.benchmarks.step [--methods scl,cps]

For each method the bare passes (the same forwards and backwards of the same networks on the same pictures, no losses,
augmentation or teacher update) against the real step, alternating, medians; where the rest goes; memory. Options that
are settings (--data.height 360 --model.encoder resnet50 --device cuda) hold for all methods; others are --repeats 5,
--out FILE.json and --figure FILE.png.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from experiments.benchmarks.machine import processor_name
from scl_core import distributed
from scl_core.allocator import keep_freed_memory
from scl_core.config import RunConfig, load_config
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.methods import METHODS, StepDraws
from scl_core.methods.parts import partner_of
from scl_core.models import SegmenterOutput, passes
from scl_core.restore import build_method
from scl_core.sharding import gradient_norm
from scl_core.train import weighted_sum
from scl_core.training.forecast import forecast_method
from scl_core.training.optimizer import build_optimizer
from scl_core.training.session import passes_of

PRESETS = Path(__file__).resolve().parent.parent / "scenes"
WARM_UP = 2
PARTS = ("data", "forward", "backward", "read", "optimizer", "teacher")


@dataclass
class Recorded:
    """One call of a network, to be made again without the method around it."""

    call: passes.Call
    inputs: tuple
    with_gradient: bool
    training: bool

    def again(self) -> None:
        """Forward and, where the step had one, backward."""
        self.call.network.train(self.training)
        inputs = [x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in self.inputs]
        with torch.set_grad_enabled(self.with_gradient):
            outputs = self.call(*inputs)
        if self.with_gradient:
            read = outputs[:1] if self.call.kind is SegmenterOutput else outputs  # no loss reads the features
            torch.autograd.backward(read, [torch.ones_like(output) for output in read])


class Step:
    """A method with its optimizer, loader and data, ready to take real steps and bare ones."""

    def __init__(self, config: RunConfig):
        self.config, self.world = config, distributed.start(config.device)
        torch.manual_seed(0)
        self.source = open_data(config.data)
        self.method = build_method(config, len(self.source.class_names)).to(self.world.device).train()
        self.method.read_labeled(self.source.pictures("labeled"))
        self.optimizer = build_optimizer(self.method, config.train)
        self.passes = passes_of(config.train, self.world.device)
        strong = self.method.num_strong
        self.batches = iter(
            training_loader(
                self.source,
                config.data,
                config.augment,
                config.train,
                0,
                self.world,
                1,
                strong > 0,
                strong,
                partner_of(config.method),
            )
        )
        self.number = config.train.steps  # its weights: the unlabeled part at its full

    def real(self) -> dict[str, float]:
        """One step of the trainer; seconds of each part."""
        marks = [self.now()]
        batch = next(self.batches).to(self.world.device)
        marks.append(self.now())
        self.optimizer.zero_grad(set_to_none=True)
        with passes.computing(self.passes):
            terms = self.method(batch, StepDraws(0, self.number))
        loss = weighted_sum(terms, self.method.weights(self.number))
        marks.append(self.now())
        loss.backward()
        marks.append(self.now())
        distributed.mean_over_ranks({"loss": loss, **terms, "gradient": gradient_norm(self.method)})
        marks.append(self.now())
        self.optimizer.step()
        marks.append(self.now())
        self.method.after_step(self.number)
        marks.append(self.now())
        return dict(zip(PARTS, (after - before for before, after in zip(marks, marks[1:], strict=False)), strict=True))

    def record(self) -> list[Recorded]:
        """The network calls of one step, with their inputs."""
        calls: list[Recorded] = []
        plain = passes.Call

        class Recording(passes.Call):
            def __call__(self, *inputs):
                bare = plain(self.network, self.method, self.passes)
                calls.append(Recorded(bare, inputs, torch.is_grad_enabled(), self.network.training))
                return super().__call__(*inputs)

        class Watched(passes.Passes):
            """Unlike the plain way, so that every call is made through `Call`."""

        with mock.patch.object(passes, "Call", Recording), passes.computing(Watched(self.passes.dtype)):
            self.method(next(self.batches).to(self.world.device), StepDraws(0, self.number))
        return calls

    def bare(self, calls: list[Recorded]) -> float:
        """Seconds of the networks' passes alone."""
        self.optimizer.zero_grad(set_to_none=True)
        before = self.now()
        for call in calls:
            call.again()
        return self.now() - before

    def now(self) -> float:
        """The clock, when the device has done what it was given."""
        if self.world.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(config: RunConfig, repeats: int) -> dict:
    """The row of one method: medians over `repeats` pairs of a bare and a real step, after two that warm up.

    The ratio is the median of the pairs' ratios: what else the machine does slows both of a pair.
    """
    step = Step(config)
    calls = step.record()
    pairs = [(step.bare(calls), step.real()) for _ in range(WARM_UP + repeats)][WARM_UP:]
    bare = statistics.median(seconds for seconds, _ in pairs)
    parts = {name: statistics.median(real[name] for _, real in pairs) for name in PARTS}
    whole = statistics.median(sum(real.values()) for _, real in pairs)
    pictures = config.train.batch_labeled + (config.train.batch_unlabeled if step.method.num_strong else 0)
    beside = {"losses": max(0.0, parts["forward"] + parts["backward"] - bare)}
    anatomy = {"networks": bare} | beside | {name: parts[name] for name in ("data", "read", "optimizer", "teacher")}
    return {
        "method": config.method.name,
        "bare_seconds": bare,
        "step_seconds": whole,
        "ratio": statistics.median(sum(real.values()) / seconds for seconds, real in pairs),
        "images_per_second": pictures / whole,
        "memory_bytes": peak_bytes(step),
        "anatomy": anatomy,
    }


def peak_bytes(step: Step) -> int:
    """Allocated at the peak: counted on a GPU, forecast elsewhere."""
    if step.world.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return forecast_method(step.method, step.config, step.source, 1).peak


HEADER = "| method | bare passes, ms | step, ms | step / bare | pictures/s | memory, MB |\n|---|---|---|---|---|---|"


def line(row: dict) -> str:
    """One method's line of the table."""
    return (
        f"| {row['method']} | {1e3 * row['bare_seconds']:.0f} | {1e3 * row['step_seconds']:.0f} | {row['ratio']:.2f} | "
        f"{row['images_per_second']:.1f} | {row['memory_bytes'] / 1e6:.0f} |"
    )


def table(found: dict) -> str:
    """All methods in Markdown."""
    return "\n".join([HEADER, *map(line, found["rows"])])


def figures(found: dict) -> dict:
    """A bar for each method: where the time of a step goes."""
    import plotly.graph_objects as go

    rows = found["rows"]
    names, labels = list(rows[0]["anatomy"]), [row["method"] for row in rows]
    bars = [go.Bar(name=n, y=labels, x=[r["anatomy"][n] for r in rows], orientation="h") for n in names]
    figure = go.Figure(bars).update_layout(barmode="stack", xaxis_title="seconds a step")
    figure.update_layout(height=140 + 30 * len(rows), margin={"t": 20}, legend={"traceorder": "normal"})
    return {"anatomy": figure.update_yaxes(autorange="reversed")}


def main(arguments: list[str]) -> None:
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    methods = given.pop("--methods", ",".join(METHODS)).split(",")
    repeats, out, drawing = int(given.pop("--repeats", "5")), given.pop("--out", None), given.pop("--figure", None)
    settings = {key.removeprefix("--"): value for key, value in given.items()}
    keep_freed_memory()
    torch.set_num_threads(int(settings.get("train.threads", torch.get_num_threads())))
    rows = []
    print(f"{date.today()}  {processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n{HEADER}")
    for name in methods:
        defaults = {"model.width": 1.0, "train.workers": 0, "data.unlabeled": 40}
        rows.append(measure(load_config([PRESETS / f"{name}.yaml"], defaults | settings), repeats))
        print(line(rows[-1]), flush=True)
    found = {"settings": settings, "threads": torch.get_num_threads(), "rows": rows}
    if out:
        Path(out).write_text(json.dumps(found, indent=1) + "\n")
    if drawing:
        from experiments.picture import save_picture

        save_picture(figures(found)["anatomy"], Path(drawing))


if __name__ == "__main__":
    main(sys.argv[1:])
