"""Do the unlabeled terms swamp the labels? From the gradients that `train.gradient_terms_every` records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scl_core.microscope.health.finding import LOOK, SOUND, UNKNOWN, Finding

CHECK, NAME = "Terms", "Pull of the unlabeled terms, at most"
SWAMPED = 3.0  # times the supervised gradient
SUPERVISED = "gradient/supervised"
NORM, COSINE = "gradient/", "cosine/"


@dataclass(frozen=True)
class Pulls:
    """Norms of the weighted gradients at the measured `steps`: of the labels, [N], and of each unlabeled term, [N].

    `cosines` are with the supervised gradient; NaN where a term had none. float64.
    """

    steps: np.ndarray
    supervised: np.ndarray
    unlabeled: dict[str, np.ndarray]
    cosines: dict[str, np.ndarray]

    @property
    def ratios(self) -> np.ndarray:
        """The norms of all unlabeled terms together, times the supervised one's, [N]: how far they can outvote it."""
        together = sum((np.nan_to_num(values) for values in self.unlabeled.values()), np.zeros(len(self.steps)))
        return together / np.maximum(self.supervised, 1e-12)


def pulls(records: Sequence[Mapping]) -> Pulls:
    """The measured steps of a run's `metrics.jsonl`; empty where nothing was measured."""
    rows = [row for row in records if row.get(SUPERVISED) is not None]
    names = dict.fromkeys(key.removeprefix(NORM) for row in rows for key in row if key.startswith(NORM))
    others = [name for name in names if NORM + name != SUPERVISED]
    return Pulls(
        np.array([row["step"] for row in rows], dtype=np.int64),
        _column(rows, SUPERVISED),
        {name: _column(rows, NORM + name) for name in others},
        {name: _column(rows, COSINE + name) for name in others},
    )


def judge_terms(found: Pulls, has_unlabeled: bool = True) -> Finding:
    """Whether the unlabeled terms pulled more than `SWAMPED` times as strongly as the labels at any measured step."""
    if not has_unlabeled:
        return Finding(CHECK, UNKNOWN, NAME, "–", "This method has labels alone, so nothing can swamp them.")
    if not len(found.steps):
        return Finding(
            CHECK, UNKNOWN, NAME, "–", "No gradients were measured in this run.",
            "Train with --train.gradient_terms_every 100, or set it on --resume: two more backward passes each time.",
        )  # fmt: skip
    worst = int(found.ratios.argmax())
    number = f"{found.ratios[worst]:.2f} × the labels'"
    if found.ratios[worst] <= SWAMPED:
        return Finding(CHECK, SOUND, NAME, number, "The labels keep the say over where the weights go.")
    names = " and ".join(found.unlabeled)
    return Finding(
        CHECK, LOOK, NAME, number,
        f"At step {found.steps[worst]} {names} outvoted the labels: the network learns to agree with itself, "
        "at worst on one class everywhere, after which these gradients vanish and nothing pulls it back.",
        "Make the unlabeled weights smaller (method.consistency_weight, method.structured_weight), method.ramp longer.",
        "the unlabeled terms outvote the labels",
    )  # fmt: skip


def _column(rows: Sequence[Mapping], key: str) -> np.ndarray:
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], dtype=np.float64)
