"""What a training is going to do: new or resumed, with which settings, in which folder."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from scl_core.command_line import Options, existing_folder
from scl_core.config import LATER_CHANGES, RunConfig, build_config, flatten, to_dict
from scl_core.config_files import Given, as_text
from scl_core.data.classes import class_numbers
from scl_core.data.sources import DataSource, open_data
from scl_core.errors import UserError
from scl_core.methods import METHODS
from scl_core.methods.base import STRICT_CLASSES
from scl_core.runs import RunFolder

RESTART_COUNTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")  # of torchrun, and of a requeued batch job


@dataclass
class Plan:
    """Settings, folder, and whether the folder holds a run to go on with."""

    config: RunConfig
    run_dir: Path
    resumed: bool

    def check(self, processes: int) -> None:
        """Find a user's mistake in the data before any rank starts. Raises `UserError`."""
        self.check_lists(open_data(self.config.data), processes)
        if not self.resumed:
            RunFolder.refuse_existing(self.run_dir)

    def check_lists(self, source: DataSource, world_size: int) -> None:
        """Refuse lists and masks that this method and batch cannot be trained from. Raises `UserError`."""
        train, method = self.config.train, METHODS[self.config.method.name]
        batches = {"train.batch_labeled": train.batch_labeled}
        if not len(source.lists["labeled"]):
            raise UserError(f"data set {source.name} has no labeled pictures: training needs at least 1")
        if not len(source.lists["val"]):
            raise UserError(f"data set {source.name} has no validation pictures: evaluation needs at least 1")
        if method.num_strong:
            batches["train.batch_unlabeled"] = train.batch_unlabeled
            count = len(source.lists[train.unlabeled_from])
            if count < 2:
                raise UserError(
                    f"data set {source.name} has {count} {train.unlabeled_from} pictures: method "
                    f"{self.config.method.name} mixes pairs and needs at least 2; add pictures, or train "
                    "--method.name supervised"
                )
        class_numbers(
            STRICT_CLASSES, getattr(self.config.method, "relaxation_strict_classes", None), source.class_names
        )
        source.check_labels()
        for name, size in batches.items():
            micro_batches = world_size * train.accumulate
            if size % micro_batches and train.accumulate > 1:
                raise UserError(
                    f"{name} {size} does not divide by {world_size} processes x train.accumulate {train.accumulate}: "
                    f"choose a multiple of {micro_batches}"
                )
            if size % world_size:
                raise UserError(
                    f"{name} {size} does not divide by {world_size} processes: choose a multiple of {world_size}"
                )

    def arguments(self, argv: Sequence[str]) -> list[str]:
        """The command line for each rank: without `--processes`, with the folder that was chosen."""
        rest = without_option(argv, "processes")
        return rest if self.resumed else [*without_option(rest, "run_dir"), "--run_dir", str(self.run_dir)]


def without_option(argv: Sequence[str], name: str) -> list[str]:
    """`argv` without the option `--name VALUE` or `--name=VALUE`."""
    kept, words = [], iter(argv)
    for word in words:
        option, equals, _ = word.replace("-", "_").partition("=")
        if option == f"__{name}":
            if not equals:
                next(words, None)
        else:
            kept.append(word)
    return kept


def read_plan(options: Options) -> Plan:
    """The plan that a command line asks for. Raises `UserError` for settings that cannot be."""
    if "resume" in options.own:
        return resume_plan(options, existing_folder(options.own["resume"], "run folder"))
    config = options.config()
    check_stop(config)
    check_shard(config)
    if restarted := restarted_run(config):
        return restarted
    if "data.name" not in {entry.key for entry in options.entries()} and config.data.name != "scenes":
        print(f"data.root {config.data.root}: recognised as data.name {config.data.name}", flush=True)
    return Plan(config, Path(config.run_dir or default_run_dir(config)), resumed=False)


def restarted_run(config: RunConfig) -> Plan | None:
    """The run to go on with when torchrun started this process anew after a lost one; None at the first start.

    Raises `UserError` where torchrun may do that and no folder is named, for the next start would not find the run.
    """
    if config.run_dir is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        raise UserError("torchrun --max-restarts needs a named folder, so that a new start finds it: add --run_dir DIR")
    again = config.run_dir and any(int(os.environ.get(name, "0")) > 0 for name in RESTART_COUNTS)
    if not again or not RunFolder.is_taken(config.run_dir):
        return None
    run_dir = existing_folder(config.run_dir, "run folder")
    stored = flatten(RunFolder.open(run_dir).config())
    given = flatten(to_dict(config))
    changed = [
        key for key, value in given.items() if stored.get(key) != value and key not in (*LATER_CHANGES, "run_dir")
    ]
    if changed:
        raise UserError(f"{run_dir} is a run with another {changed[0]}: a new start goes on with its own run alone")
    return Plan(config, run_dir, resumed=True)


def default_run_dir(config: RunConfig) -> str:
    """`runs/<date>-<data>-<method>-s<seed>`, with a number behind it when that folder is there already."""
    name = f"runs/{time.strftime('%Y-%m-%d')}-{config.data.name}-{config.method.name}-s{config.seed}"
    free = (path for path in chain([name], (f"{name}-{number}" for number in count(2))) if not Path(path).exists())
    return next(free)


def resume_plan(options: Options, run_dir: Path) -> Plan:
    """Go on with a run: its own settings hold, but for those that change neither its steps nor its results."""
    if options.files:
        raise UserError("--config cannot be given with --resume: the run's own settings hold")
    for entry in options.given:
        if entry.key not in LATER_CHANGES:
            raise UserError(
                f"{entry.key} cannot change when a run is resumed; what may change: {', '.join(LATER_CHANGES)}"
            )
    run = RunFolder.open(run_dir)
    refuse_weights_alone(run)
    stored = flatten(run.config()) | {"train.stop_at": None}
    origin = str(run_dir / "config.yaml")
    config = build_config([Given(key, as_text(value), origin) for key, value in stored.items()] + options.given)
    check_stop(config)
    check_shard(config)
    stands_at = (run.last() or {"step": 0})["step"]
    if config.train.steps < stands_at:
        raise UserError(f"train.steps {config.train.steps} is before step {stands_at}, where the run stands")
    if config.train.steps != stored["train.steps"]:
        print(f"train.steps was {stored['train.steps']} and is {config.train.steps}: the schedule changes", flush=True)
    return Plan(config, run_dir, resumed=True)


def refuse_weights_alone(run: RunFolder) -> None:
    """Raise `UserError` where no checkpoint holds the optimizer: a run that was recorded to be looked at."""
    folders = [run.path / "checkpoints" / f"{step:08d}" for step in run.checkpoints()]
    if folders and not any((folder / "optimizer.safetensors").exists() for folder in folders):
        raise UserError(
            f"run {run.name} cannot be resumed: its checkpoints hold the networks alone; "
            f"to start a new run from them: --model.weights {run.path}"
        )


def check_stop(config: RunConfig) -> None:
    """Refuse a stop after the last step. Raises `UserError`."""
    train = config.train
    if train.stop_at is not None and train.stop_at > train.steps:
        raise UserError(f"train.stop_at {train.stop_at} is after the last step, train.steps {train.steps}")


def check_shard(config: RunConfig) -> None:
    """Refuse what needs the whole weights where they are split. Raises `UserError`."""
    train = config.train
    if train.shard and train.accumulate > 1:
        raise UserError(
            f"train.shard and train.accumulate {train.accumulate}: micro batches compute a network again when its "
            "weights are split: set one of them back, or take model.checkpoint_activations to save memory"
        )
    if train.shard and train.gradient_terms_every:
        raise UserError(
            f"train.gradient_terms_every {train.gradient_terms_every} reads gradients of whole weights, and "
            "train.shard splits them: set one of them back"
        )
