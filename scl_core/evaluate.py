"""Per-class IoU of a run's networks:  python -m scl_core.evaluate RUN_DIR --split val"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from scl_core import distributed
from scl_core.allocator import keep_freed_memory
from scl_core.command_line import Options, existing_folder, read_options, run_command
from scl_core.config import RunConfig
from scl_core.data.images import IGNORE_INDEX
from scl_core.data.sources import DataSource, PictureList
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.inference import predict_classes
from scl_core.metrics import BAND_PIXELS, boundary_band, confusion_matrix, mean_iou, per_class_iou
from scl_core.models.folded import folded
from scl_core.progress import Progress
from scl_core.protocol import OPTIONS, WHOLE, Protocol, read_protocol
from scl_core.protocol import USAGE as PROTOCOL_USAGE
from scl_core.restore import Restored, restore, run_config
from scl_core.runs import RunFolder
from scl_core.storage.files import DamagedFile, refusal

SPLITS = ("train", "val", "test")
USAGE = (
    "python -m scl_core.evaluate RUN_DIR [--split train|val|test] "
    f"[--checkpoint last|best|STEP|FOLDER|FILE] {PROTOCOL_USAGE} [--final] [--device cpu] [--data.SETTING VALUE]"
)
HELP = """Settings of the run's data may be given, such as --data.root DIR. Several looks at a picture
(scales, mirrored, tiles) are averaged as logits. --final says: this reading of the test list is the one that counts."""


@dataclass
class Evaluation:
    """One network on one list: an integer confusion matrix per picture, rows label, columns prediction.

    `boundary` are the same of the pixels near a border of two labels alone (`metrics.boundary_band`).
    """

    network: str
    names: tuple[str, ...]
    confusions: np.ndarray
    boundary: np.ndarray | None = None

    @property
    def per_class_iou(self) -> torch.Tensor:
        """IoU of each class over all pictures, float64 [C], NaN where a class is absent."""
        return per_class_iou(torch.from_numpy(self.confusions.sum(0)))

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that are not absent."""
        return mean_iou(torch.from_numpy(self.confusions.sum(0)))

    def record(self, class_names: Sequence[str], protocol: str, list_hash: str) -> dict:
        """The numbers as `evaluations.jsonl` holds them; absent classes are null."""
        scores = class_scores(self.confusions, class_names)
        return {
            "mean_iou": or_none(self.mean_iou),
            "per_class_iou": scores,
            "classes_present": sum(value is not None for value in scores.values()),
            "protocol": protocol,
            "list_hash": list_hash,
            "pictures": len(self.names),
        } | self.boundary_record(class_names)

    def boundary_record(self, class_names: Sequence[str]) -> dict:
        """The scores near the borders, and how near that is; nothing where they were not taken."""
        if self.boundary is None:
            return {}
        mean = mean_iou(torch.from_numpy(self.boundary.sum(0)))
        scores = class_scores(self.boundary, class_names)
        return {"boundary_pixels": BAND_PIXELS, "boundary_mean_iou": or_none(mean), "boundary_iou": scores}


def class_scores(confusions: np.ndarray, class_names: Sequence[str]) -> dict[str, float | None]:
    """IoU by class name over all pictures [n, C, C]; None where a class is absent."""
    values = per_class_iou(torch.from_numpy(confusions.sum(0))).tolist()
    return dict(zip(class_names, map(or_none, values), strict=True))


def or_none(value: float) -> float | None:
    """A number as a record holds it: None for NaN."""
    return None if value != value else value


def evaluate_network(
    name: str,
    network: nn.Module,
    pictures: PictureList,
    num_classes: int,
    world: World,
    after_picture: Callable[[int], None] = lambda done: None,
    protocol: Protocol = WHOLE,
) -> Evaluation:
    """Evaluate at the masks' own size; each picture is one rank's, the matrices are summed.

    `after_picture` is told how many pictures are done.
    """
    confusions = torch.zeros(2, len(pictures), num_classes, num_classes, dtype=torch.int64)
    network = folded(network)
    for done, index in enumerate(range(world.rank, len(pictures), world.size), start=1):
        label = torch.from_numpy(pictures.mask(index).astype(np.int64))
        prediction = predict_classes(network, pictures.input(index), tuple(label.shape), world.device, protocol)
        near = label.where(boundary_band(label), IGNORE_INDEX)
        for place, counted in enumerate((label, near)):
            confusions[place, index] = confusion_matrix(prediction.cpu(), counted, num_classes)
        after_picture(min(done * world.size, len(pictures)))
    confusions = distributed.sum_over_ranks(confusions.to(world.device)).cpu()
    return Evaluation(name, pictures.names, *confusions.numpy())


def protocol_words(data_config, protocol: Protocol = WHOLE) -> str:
    """How a score was taken, in one line that stands beside it."""
    return protocol.words(size_words(data_config))


def size_words(data_config) -> str:
    """The input size in words."""
    return f"{data_config.height}x{data_config.width}" if data_config.height else "own size"


def variant(restored: Restored, own: RunConfig, protocol: Protocol, list_hash: str) -> str:
    """What an evaluation's files are named besides: in what it differs from those that the training itself makes.

    Empty for the run's own lists and input size and one look at the whole picture.
    """
    size, own_size = size_words(restored.config.data), size_words(own.data)
    parts = ["" if size == own_size else f"input{size}", protocol.file_name]
    parts += ["" if list_hash == restored.list_hash else f"lists{list_hash}"]
    return "_".join(part for part in parts if part).replace(" ", "_")


def table(evaluations: Sequence[Evaluation], class_names: Sequence[str]) -> str:
    """The per-class IoU of every network as a text table, in percent; `-` marks an absent class."""
    width = max(len(name) for name in (*class_names, "mean IoU (%)"))
    lines = [" ".join([f"{'IoU (%)':<{width}}", *(f"{item.network:>8}" for item in evaluations)])]
    columns = [item.per_class_iou.tolist() for item in evaluations]
    for row, name in enumerate(class_names):
        lines.append(" ".join([f"{name:<{width}}", *(percent(column[row]) for column in columns)]))
    lines.append(" ".join([f"{'mean IoU (%)':<{width}}", *(percent(item.mean_iou) for item in evaluations)]))
    present = sum(value == value for value in columns[0])
    lines.append(f"mean over {present} of {len(class_names)} classes, {len(evaluations[0].names)} pictures")
    return "\n".join(lines)


def percent(value: float) -> str:
    """A share as percent in a column of the table; `-` for NaN."""
    return f"{'-':>8}" if value != value else f"{100 * value:8.2f}"


def evaluate_run(
    restored: Restored, run: RunFolder, split: str, world: World, protocol: Protocol = WHOLE, final: bool = False
) -> list[Evaluation]:
    """Evaluate every network of a restored run on one split and append the records to its folder."""
    source = restored.open_data()
    pictures = pictures_of(source, split)
    extra = {"test_reads": test_reads(run) + 1, "final": final} if split == "test" else {}
    name_beside = variant(restored, run_config(run.path), protocol, source.list_hash)
    words = protocol_words(restored.config.data, protocol)
    evaluations = []
    for name, network in restored.method.evaluated.items():
        progress = Progress(len(pictures), quiet=not world.is_main)
        tell = partial(progress.update, text=name)
        done = evaluate_network(name, network, pictures, len(restored.class_names), world, tell, protocol)
        record = done.record(restored.class_names, words, source.list_hash) | extra
        if world.is_main:
            arrays = done.confusions, done.names, name_beside, done.boundary
            store(run, restored.step, split, name, record, *arrays)
        evaluations.append(done)
    return evaluations


def store(run: RunFolder, step: int, split: str, network: str, *what) -> None:
    """`RunFolder.write_evaluation`. Raises `UserError` where the disk refuses; the scores of before stay."""
    try:
        run.write_evaluation(step, split, network, *what)
        reason = "the disk is full: make room, then try again" if run.rows_wait else None
    except (OSError, DamagedFile) as error:
        reason = refusal(error)
    if reason:
        raise UserError(f"run {run.name}: the scores of the {network} cannot be stored: {reason}")


def pictures_of(source: DataSource, split: str) -> PictureList:
    """A split to score on. Raises `UserError` with the splits there are when it is missing or has no masks."""
    pictures = source.lists.get(split)
    if pictures is None or not len(pictures) or not pictures.has_masks:
        known = [name for name in SPLITS if name in source.lists and source.lists[name].has_masks]
        raise UserError(
            f"this run's data ({source.name}) have no {split} list with masks: --split {' or '.join(known)}"
        )
    return pictures


def test_reads(run: RunFolder) -> int:
    """How often `evaluate` has read this run's test list so far."""
    return max((row.get("test_reads") or 1 for row in run.evaluations() if row["split"] == "test"), default=0)


def main(argv: Sequence[str]) -> int:
    """The command; see `USAGE`."""
    options = read_options(argv, own=("split", "checkpoint", "device", *OPTIONS), flags=("help", "flip", "final"))
    if "help" in options.own:
        print(f"usage: {USAGE}\n{HELP}")
        return 0
    if len(options.words) != 1:
        raise UserError(f"usage: {USAGE}")
    split, final, protocol = split_of(options), "final" in options.own, read_protocol(options.own)
    if options.files:
        raise UserError("--config cannot be given here: the run's own settings hold")
    overrides = {entry.key: entry.text for entry in options.given}
    refuse_other_settings(overrides)
    run = RunFolder.open(existing_folder(options.words[0], "run folder"))
    keep_freed_memory()
    world = distributed.start(options.own.get("device", "auto"))
    try:
        restored = restore(run.path, options.own.get("checkpoint", "last"), world.device, overrides)
        with run.lock() if world.is_main else nullcontext():
            evaluations = evaluate_run(restored, run, split, world, protocol, final)
        if world.is_main:
            print(f"{run.path.name}, step {restored.step}, {split}\n" + table(evaluations, restored.class_names))
            print(protocol_words(restored.config.data, protocol))
            if split == "test":
                good = ", this time for good" if final else ""
                times = "once" if (reads := test_reads(run)) == 1 else f"{reads} times"
                print(f"the test list has been read {times} in this run{good}")
    finally:
        distributed.stop()
    return 0


def split_of(options: Options) -> str:
    """The list to score on. Raises `UserError` for one that there is not, and for --final on any but test."""
    split = options.own.get("split", "val")
    if split not in SPLITS:
        raise UserError(f"--split {split!r} is not one of {', '.join(SPLITS)}")
    if "final" in options.own and split != "test":
        raise UserError("--final marks the reading of the test list that counts: give --split test too")
    return split


def refuse_other_settings(overrides: dict[str, str]) -> None:
    """A run's method and network are fixed; where its data lie may differ."""
    for key in overrides:
        if not key.startswith("data."):
            raise UserError(f"{key} cannot be given here: the run's own settings hold, only data.* may differ")


if __name__ == "__main__":
    sys.exit(run_command(main))
