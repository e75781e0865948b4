"""Forked pairs under PROTOCOL.md:  python -m experiments.study FILE WORLD [--pairs N] [--runs DIR] [--SETTING VALUE]

A recorded arm is skipped and a stopped one goes on, so the command may be given again at any time. It writes rows
beside the study file, `records/<study>-<world>.jsonl`, and commits nothing.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
import yaml

from experiments.matching import gradient_ratio
from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.distributed import World
from scl_core.evaluate import evaluate_network
from scl_core.metrics import mean_iou
from scl_core.restore import restore
from scl_core.runs import RunFolder
from scl_core.train import main as train

PROTOCOL = Path(__file__).with_name("PROTOCOL.md")
BLOCKS = 20


@dataclass(frozen=True)
class Study:
    """A study file on one of its data sets; `given` are settings of the machine, such as where the data lie."""

    path: Path
    world: str
    given: dict[str, object]
    runs: Path

    @property
    def file(self) -> dict:
        return yaml.safe_load(self.path.read_text(encoding="utf-8"))

    @property
    def records(self) -> Path:
        return self.path.parent / "records" / f"{self.path.stem}-{self.world}.jsonl"

    @property
    def pairs(self) -> list[dict]:
        return self.file["worlds"][self.world]["pairs"]

    def settings(self, pair: int) -> dict[str, object]:
        """What every run of a pair shares."""
        own = {"train.steps": self.file["steps"], "train.evaluate_every": self.file["steps"]}
        return own | self.file["settings"] | self.file["worlds"][self.world]["settings"] | self.pairs[pair] | self.given

    def folder(self, pair: int, name: str) -> Path:
        return self.runs / f"{self.path.stem}-{self.world}" / f"pair{pair}" / name

    @property
    def has_trunk(self) -> bool:
        """Without one every arm trains from the beginning, as its preset says."""
        return "trunk" in self.file

    def rows(self) -> list[dict]:
        """What is recorded so far."""
        if not self.records.exists():
            return []
        return [json.loads(line) for line in self.records.read_text(encoding="utf-8").splitlines()]

    def done(self) -> set[tuple[int, str]]:
        """Pairs and arms that are recorded under today's rules."""
        return {(row["pair"], row["arm"]) for row in self.rows() if row["protocol"] == protocol_hash()}


def protocol_hash() -> str:
    """The first 12 digits of the rules' SHA-256; it stands in every row."""
    return hashlib.sha256(PROTOCOL.read_bytes()).hexdigest()[:12]


def run_pair(study: Study, pair: int) -> None:
    """Train what is not recorded of one pair: its trunk, where the study has one, then each arm from its weights."""
    missing = [name for name in study.file["arms"] if (pair, name) not in study.done()]
    if not missing:
        return
    trunk = study.folder(pair, "trunk")
    if study.has_trunk:
        go_on(trunk, study.settings(pair) | study.file["trunk"] | {"train.stop_at": study.file["fork_at"]})
    for name in missing:
        settings, matched = arm_settings(study, pair, name, trunk)
        go_on(study.folder(pair, name), settings)
        append(study, row_of(study, pair, name, matched))


def arm_settings(study: Study, pair: int, name: str, trunk: Path) -> tuple[dict[str, object], float | None]:
    """An arm's settings, with the rest of the trunk's learning-rate schedule; and its matched weight, if it has one."""
    settings = study.settings(pair) | arm_of(study, name) | fork(study, trunk)
    reference = settings.pop("match_gradient_of", None)
    if reference is None:
        return settings, None
    other = study.settings(pair) | arm_of(study, reference) | fork(study, trunk)
    matched = load_config((), settings).method.consistency_weight * gradient_ratio(other, settings)
    return settings | {"method.consistency_weight": matched}, matched


def arm_of(study: Study, name: str) -> dict[str, object]:
    """The settings of an arm: over a preset, where it names one; else over those of SCL, where it names no method."""
    own = dict(study.file["arms"][name])
    if "preset" in own:
        return {"config": PROTOCOL.parent / own.pop("preset").format(world=study.world)} | own
    return own if "method.name" in own else study.file["unlabeled"] | own


def fork(study: Study, trunk: Path) -> dict[str, object]:
    """Begin with the trunk's weights where its learning rate stood: a power of what is left of the schedule is left."""
    if not study.has_trunk:
        return {}
    left = study.file["steps"] - study.file["fork_at"]
    rate = study.file["settings"]["train.learning_rate"] * (left / study.file["steps"]) ** 0.9
    return {
        "model.weights": str(trunk),
        "train.steps": left,
        "train.evaluate_every": left,
        "train.learning_rate": rate,
        "train.power": 0.9,
    }


def go_on(folder: Path, settings: dict[str, object]) -> None:
    """Train a run to its end from wherever it stands."""
    end = settings.get("train.stop_at", settings["train.steps"])
    if steps_done(folder) >= end:
        return
    if RunFolder.is_taken(folder):
        given = {"resume": folder} | {key: settings[key] for key in ("train.stop_at",) if key in settings}
    else:
        given = settings | {"run_dir": folder, "train.checkpoint_every": 100}
    argv = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    if run_command(train, argv) or steps_done(folder) < end:
        raise SystemExit(f"{folder}: not trained to its end; the same command goes on from here")


def steps_done(folder: Path) -> int:
    """The step of the run's last checkpoint, 0 where there is none."""
    return RunFolder(folder).last()["step"] if folder.exists() and RunFolder(folder).checkpoints() else 0


def row_of(study: Study, pair: int, name: str, matched: float | None) -> dict:
    """The arm's score on dev, in whole and block by block, and all that says where it comes from."""
    folder = study.folder(pair, name)
    confusions, network, list_hash = dev_confusions(folder)
    seconds = [json.loads(line)["seconds"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "study": study.path.stem,
        "world": study.world,
        "pair": pair,
        "arm": name,
        "draw": study.pairs[pair],
        "network": network,
        "split": "dev",
        "mean_iou": mean_iou(torch.from_numpy(confusions.sum(0))),
        "blocks": blocks_of(confusions),
        "pictures": len(confusions),
        "matched_weight": matched,
        "list_hash": list_hash,
        "protocol": protocol_hash(),
        "minutes": round(sum(seconds) / 60, 2),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "date": date.today().isoformat(),
    }


def dev_confusions(folder: Path) -> tuple[np.ndarray, str, str]:
    """The counting network's confusion matrices [n, C, C] on the unlabeled pictures' masks and on val, in list order.

    With them the network's name, teacher where there is one, and the hash of the lists.
    """
    restored = restore(folder, "last")
    source, (counting, network) = restored.open_data(), next(iter(restored.method.evaluated.items()))
    labeled = set(source.lists["labeled"].names)
    found = []
    for name in ("train", "val"):
        done = evaluate_network(counting, network, source.lists[name], len(restored.class_names), alone())
        found += [done.confusions[k] for k, picture in enumerate(done.names) if name == "val" or picture not in labeled]
    return np.stack(found), counting, source.list_hash


def alone() -> World:
    """This process as the only one, on the CPU."""
    return World(rank=0, size=1, device=torch.device("cpu"))


def blocks_of(confusions: np.ndarray) -> list[list[list[int]]]:
    """Blocks of neighbouring pictures, for each class: right pixels, labeled pixels, predicted pixels."""
    parts = np.array_split(confusions, min(BLOCKS, len(confusions)))
    sums = [part.sum(0) for part in parts]
    return [np.stack([matrix.diagonal(), matrix.sum(1), matrix.sum(0)], 1).tolist() for matrix in sums]


def append(study: Study, row: dict) -> None:
    """One line more; the arm counts as done from here on."""
    if (row["pair"], row["arm"]) in study.done():
        return  # another process of the same study was faster
    study.records.parent.mkdir(parents=True, exist_ok=True)
    with study.records.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{row['world']} pair {row['pair']} {row['arm']}: dev mIoU {100 * row['mean_iou']:.2f}", flush=True)


def main(arguments: Sequence[str]) -> None:
    words = list(arguments)
    options = dict(zip((word.removeprefix("--") for word in words[2::2]), words[3::2], strict=True))
    pairs, runs = int(options.pop("pairs", 10**6)), Path(options.pop("runs", "runs"))
    study = Study(Path(words[0]), words[1], options, runs)
    for pair in range(min(pairs, len(study.pairs))):
        run_pair(study, pair)


if __name__ == "__main__":
    main(sys.argv[1:])
