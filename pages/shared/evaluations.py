"""The evaluations of several runs under short labels (`A · teacher · step 400`), and whether they can be compared."""

from dataclasses import dataclass
from string import ascii_uppercase

import pandas as pd

from pages.shared import store
from pages.shared.words import plain_name
from scl_core.errors import UserError

MUST_AGREE = {"split": "lists", "list_hash": "pictures", "protocol": "protocols"}


@dataclass(frozen=True)
class Evaluation:
    """One line of a run's evaluations, and the letter that stands for the run on the page."""

    letter: str
    run: str
    record: dict

    @property
    def label(self) -> str:
        """Short and unique: the letter of the run, network, split and step, and what is not the run's own protocol."""
        network, split = (plain_name(self.record.get(key)) for key in ("network", "split"))
        variant = f" · {plain_name(self.record['variant'])}" if self.record.get("variant") else ""
        return f"{self.letter} · {network} · {split} · step {self.step}{variant}"

    @property
    def step(self) -> int:
        return self.record["step"]


def class_scores(evaluation: Evaluation, area: str = "whole") -> dict[str, float | None]:
    """IoU by class name, 0 to 1, on the whole picture or on the "boundary" band; None where the class is absent."""
    scores = evaluation.record.get("boundary_iou" if area == "boundary" else "per_class_iou")
    return scores if isinstance(scores, dict) else {}


def letter(index: int) -> str:
    """A, B, …, Z, A1, B1, …"""
    turn, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn) if turn else "")


def evaluations_of(names: list[str]) -> tuple[dict[str, Evaluation], dict[str, str]]:
    """Evaluations of these runs by label, and what is wrong with the runs that cannot be read.

    A network that was evaluated twice at a step on the same list counts with its last record.
    """
    found: dict[str, Evaluation] = {}
    problems: dict[str, str] = {}
    for index, name in enumerate(names):
        try:
            records = store.run_folder(name).evaluations()
        except (UserError, OSError) as error:
            problems[name] = str(error)
            continue
        for record in records:
            evaluation = Evaluation(letter(index), name, record)
            found[evaluation.label] = evaluation
    return found, problems


def short_labels(chosen: list[Evaluation]) -> list[str]:
    """Labels that say only in what the evaluations differ: `A` and `B`, or `teacher` and `student`."""
    parts = [item.label.split(" · ") for item in chosen]
    differing = [index for index in range(4) if len({part[index] for part in parts}) > 1] or [0]
    return [" · ".join(part[index] for index in differing) for part in parts]


def proposed(evaluations: dict[str, Evaluation]) -> list[str]:
    """What to compare at first: of one run every network at its last step, of several the best of each on one list."""
    letters = list(dict.fromkeys(item.letter for item in evaluations.values()))
    validation = {label: item for label, item in evaluations.items() if item.record["split"] == "val"} or evaluations
    if len(letters) == 1:
        last = max((item.step for item in validation.values()), default=0)
        return [label for label, item in validation.items() if item.step == last]
    chosen = []
    for name in letters:
        own = {label: item for label, item in validation.items() if item.letter == name}
        network = next((item.record["network"] for item in own.values()), None)
        counting = [label for label, item in own.items() if item.record["network"] == network]
        chosen += (
            [max(counting, key=lambda label: (own[label].record["mean_iou"] or 0, own[label].step))] if counting else []
        )
    return chosen


def overview(chosen: list[Evaluation]) -> pd.DataFrame:
    """One row for each evaluation: what it is of, its mIoU in percent, and what it was taken on."""
    rows = []
    for short, item in zip(short_labels(chosen), chosen, strict=True):
        record = item.record
        rows.append(
            {
                "": short,
                "Run": plain_name(item.run),
                "Network": plain_name(record.get("network")),
                "Split": plain_name(record.get("split")),
                "Step": item.step,
                "mIoU": in_percent(record.get("mean_iou")),
                "Boundary": in_percent(record.get("boundary_mean_iou")),
                "Pictures": record.get("pictures"),
                "List hash": record.get("list_hash"),
                "Protocol": plain_name(record.get("protocol")),
            }
        )
    return pd.DataFrame(rows)


def in_percent(share: object) -> float | None:
    """A share of 1 in percent, None for whatever is no number."""
    return 100 * share if isinstance(share, (int, float)) else None


def disagreements(chosen: list[Evaluation]) -> list[str]:
    """In what the evaluations were not taken alike; then their scores do not compare."""
    return [word for key, word in MUST_AGREE.items() if len({str(item.record.get(key)) for item in chosen}) > 1]
