"""Which pictures to label next: where a run's two networks agree least:  python -m scl_core.agreement RUN_DIR"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path

import torch
from torch import Tensor, nn

from scl_core import distributed
from scl_core.command_line import existing_folder, read_options, run_command
from scl_core.data.pictures import PictureList
from scl_core.errors import UserError
from scl_core.inference import predict_probs
from scl_core.predict import refuse_settings
from scl_core.progress import Progress
from scl_core.restore import Restored, restore
from scl_core.runs import RunFolder
from scl_core.storage.files import SMALL_FILE, DamagedFile, read_json, refusal, write_json_atomic

USAGE = "python -m scl_core.agreement RUN_DIR [--split unlabeled] [--checkpoint last|best|STEP] [--device cpu]"
FOLDER = "agreement"


@dataclass(frozen=True)
class Ranking:
    """For each picture of a list: how little two networks agree, and how undecided the one that counts is.

    `disagreement`: mean over pixels of half the sum over classes of |p - q|, 0 (alike) to 1; None for one network.
    `different`: share of pixels whose most probable class differs. `entropy`: mean over pixels, as a share of log C.
    """

    step: int
    split: str
    networks: list[str]
    list_hash: str
    names: list[str]
    lines: list[str]
    disagreement: list[float] | None
    different: list[float] | None
    entropy: list[float]

    def by(self, measure: str) -> list[int]:
        """The places of the pictures in the list, the largest `measure` first."""
        values = getattr(self, measure)
        return sorted(range(len(values)), key=lambda index: -values[index])


def mean_entropy(probs: Tensor) -> float:
    """Mean over pixels of the entropy of probabilities [C, H, W], as a share of log C: 0 certain, 1 undecided."""
    return float(torch.special.entr(probs).sum(0).mean() / log(max(len(probs), 2)))


def mean_distance(first: Tensor, second: Tensor) -> float:
    """Mean over pixels of the total variation of two distributions [C, H, W]: 0 alike, 1 disjoint."""
    return float((first - second).abs().sum(0).mean() / 2)


def different_share(first: Tensor, second: Tensor) -> float:
    """The share of pixels whose most probable class differs, of probabilities [C, H, W]."""
    return float((first.argmax(0) != second.argmax(0)).double().mean())


def rank(
    networks: dict[str, nn.Module],
    pictures: PictureList,
    device: torch.device,
    after_picture: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float] | None]:
    """The measures of `Ranking` by name, of the first two networks, at the size that a network sees pictures in."""
    chosen = list(networks.values())[:2]
    rows = []
    for index in range(len(pictures)):
        picture = pictures.input(index)
        probs = [predict_probs(network, picture, picture.shape[:2], device) for network in chosen]
        two = [measure(*probs) for measure in (mean_distance, different_share)] if len(probs) == 2 else []
        rows.append([mean_entropy(probs[0]), *two])
        after_picture(index + 1)
    columns = [list(column) for column in zip(*rows, strict=True)] + [None, None]
    return {"entropy": columns[0], "disagreement": columns[1], "different": columns[2]}


def rank_run(restored: Restored, run: RunFolder, split: str, device: torch.device) -> Ranking:
    """Rank a list of a run's data and store the ranking in its folder."""
    source = restored.open_data()
    pictures = source.pictures(split)
    networks = dict(list(restored.method.evaluated.items())[:2])
    progress = Progress(len(pictures))
    measures = rank(networks, pictures, device, lambda done: progress.update(done, split))
    found = Ranking(
        restored.step, split, list(networks), source.list_hash, list(pictures.names), list(pictures.lines), **measures
    )
    write_ranking(run, found)
    return found


def ranking_path(run: RunFolder, step: int, split: str) -> Path:
    """Where the ranking of a checkpoint lies."""
    return run.path / FOLDER / f"{int(step)}-{split}.json"


def write_ranking(run: RunFolder, ranking: Ranking) -> None:
    """Store it. Raises `UserError` where the disk refuses."""
    file = ranking_path(run, ranking.step, ranking.split)
    try:
        file.parent.mkdir(exist_ok=True)
        write_json_atomic(file, asdict(ranking))
    except (OSError, DamagedFile) as error:
        raise UserError(f"{file}: the ranking cannot be written: {refusal(error)}") from error


def read_ranking(run: RunFolder, step: int, split: str) -> Ranking | None:
    """The stored ranking of a checkpoint, None before it was made. Raises `UserError` for a damaged file."""
    file = ranking_path(run, step, split)
    try:
        ranking = Ranking(**read_json(file, limit=256 * SMALL_FILE))
        lengths = {len(values) for values in (ranking.names, ranking.lines, ranking.entropy)}
        if lengths != {len(ranking.names)}:
            raise ValueError("its lists differ in length")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete it and rank again") from error
    return ranking


def list_text(ranking: Ranking, order: Sequence[int]) -> str:
    """These pictures as a list file, one path a line, as data.labeled reads it once the masks are drawn."""
    return "".join(f"{ranking.lines[index].split(chr(9))[0]}\n" for index in order)


def main(argv: Sequence[str]) -> int:
    """The command; see `USAGE`."""
    options = read_options(argv, own=("split", "checkpoint", "device"), flags=("help",))
    if "help" in options.own:
        print(f"usage: {USAGE}\nWrites agreement/<step>-<split>.json into the run's folder.")
        return 0
    if len(options.words) != 1:
        raise UserError(f"usage: {USAGE}")
    refuse_settings(options, USAGE)
    run = RunFolder.open(existing_folder(options.words[0], "run folder"))
    device = distributed.start(options.own.get("device", "auto")).device
    restored = restore(run.path, options.own.get("checkpoint", "last"), device)
    ranking = rank_run(restored, run, options.own.get("split", "unlabeled"), device)
    measure = "entropy" if ranking.disagreement is None else "disagreement"
    for index in ranking.by(measure)[:10]:
        print(f"{getattr(ranking, measure)[index]:.4f}  {json.dumps(ranking.names[index])}")
    print(f"{len(ranking.names)} pictures, the least agreed on first: {ranking_path(run, ranking.step, ranking.split)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
