"""What `python -m experiments.benchmarks` measures: each part is a module of this folder, run in its own process.

A module takes `--out FILE` and writes its numbers there as JSON; its `table(found) -> str` shows them in Markdown, and
its `figures(found) -> dict[str, Figure]`, where it has one, draws them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One benchmark: a module, how it is called for the record, what it shows, and after how long it is given up."""

    name: str
    module: str
    arguments: str
    title: str
    says: str
    limit: int = 120  # seconds

    @property
    def command(self) -> str:
        """What repeats this part by hand."""
        return " ".join(["python -m", f"experiments.benchmarks.{self.module}", *self.arguments.split()])


PARTS = (
    Part(
        "structured_loss", "structured_loss", "--threads 2 --repeats 5", "The structured loss",
        "Forward and backward of the exact loss against drawn pairs, the plain form and eq. 4, 19 classes, float32.",
    ),
    Part(
        "step", "step", "--repeats 2 --train.threads 2", "Anatomy of a step",
        "A step of every method on drawn scenes of 128 x 256, 4 + 4 pictures: its bare network passes, the real step, "
        "and where the rest goes. Memory is the forecast of one process.", 180,
    ),
    Part(
        "step_large", "step",
        "--methods scl --repeats 2 --train.threads 2 --data.height 360 --data.width 480 --data.labeled 8 "
        "--data.unlabeled 16",
        "Anatomy of a large step", "The same for SCL on pictures of 360 x 480, 4 + 4 of them.",
    ),
    Part(
        "methods", "methods", "", "All methods, side by side",
        "Encoder passes of a step with and without gradient, pictures in them, parameters trained, pictures a second, "
        "and the peak memory of the process; the small set-up of the table of methods, one thread.", 150,
    ),
    Part(
        "training_time", "training_time", "", "Seconds a step",
        "A real training of the scenes' SCL preset, the unlabeled part in every step.",
    ),
    Part(
        "first_step", "first_step", "", "From the command to the first step",
        "Seconds from typing the command to the first row of the metrics.",
    ),
    Part(
        "processes", "processes", "", "Throughput against processes",
        "The same training by one process and by two, one thread each; the batch is shared between them.", 150,
    ),
    Part(
        "loading", "loading", "--threads 2 --steps 4", "Data and the network",
        "Do pictures come faster than a step needs them, and what does a large pool cost?",
    ),
    Part(
        "evaluation", "evaluation", "--threads 2 --repeats 2", "Evaluation",
        "Three scales and mirrored, tiles of 256, against the plain loop over tiles.",
    ),
    Part("scenes", "scenes", "--pictures 60 --repeats 3", "Drawing scenes", "One core."),
    Part(
        "listing", "listing", "", "Listing runs",
        "200 runs of 10,000 steps, as the Overview page lists them; seconds of the server.",
    ),
    Part(
        "app", "app", "", "The app in a real browser",
        "From the action to the end of the page's script and the answer on the page; Chromium and server on the same "
        "cores.", 240,
    ),
    Part(
        "insides", "insides", "--pairs 5 --threads 2", "The page Other methods",
        "The page's script, from a choice to its end, on pairs of 256 x 512: new ones, whose networks run, and known "
        "ones. Without the browser.", 150,
    ),
    Part(
        "presets", "presets", "", "Memory and hours of the presets, forecast",
        "Nothing here was trained: memory is extrapolated from watched small steps, hours from the arithmetic of a "
        "step and the rate that small steps reach with the same encoder; without evaluations and data.", 200,
    ),
)  # fmt: skip
