"""One row of metrics.jsonl for each step, written a few steps at a time."""

from scl_core.progress import Progress
from scl_core.runs import RunFolder


class Recorder:
    """Collects the terms of the steps; every `log_every` steps they are written and shown."""

    def __init__(self, run: RunFolder, progress: Progress, log_every: int, images_per_step: int, is_main: bool):
        self.run, self.progress, self.log_every = run, progress, log_every
        self.images_per_step, self.is_main = images_per_step, is_main
        self.waiting: list[dict[str, float]] = []

    def add(self, step: int, means: dict[str, float], plain: dict[str, float | None], names: tuple[str, ...]) -> None:
        """Keep one step: `means` are over all ranks, `plain` numbers of this one, or None.

        `names` are the columns of the row; a term that the step did not have is null.
        """
        row = {"step": step} | dict.fromkeys(names) | means | plain
        self.waiting.append(row)
        if self.is_main:
            self.run.beat(step)
        if step % self.log_every == 0:
            self.flush()

    def flush(self) -> None:
        """Write and show what is waiting."""
        if self.waiting and self.is_main:
            for row in self.waiting:
                self.run.append_metrics(row)
            self.progress.update(self.waiting[-1]["step"], self.sentence())
        self.waiting.clear()

    def sentence(self) -> str:
        """The last step's losses and the speed, for the terminal."""
        row = self.waiting[-1]
        seconds = sum(item["seconds"] for item in self.waiting)
        skipped = ("step", "seconds", "data_seconds", "learning_rate")
        losses = "  ".join(
            f"{key} {value:.4f}"
            for key, value in row.items()
            if key not in skipped and "/" not in key and value is not None
        )
        return f"{losses}  {self.images_per_step * len(self.waiting) / max(seconds, 1e-9):.1f} images/s"
