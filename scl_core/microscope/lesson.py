"""One pair of pictures on its way through the method, for a reader who sees it for the first time.

Every number comes from the function that training calls; the networks run in eval mode, as in `scl_core.probe`.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scl_core.config import RunConfig
from scl_core.data.batch import Batch, Views
from scl_core.data.images import denormalise
from scl_core.data.sources import DataSource
from scl_core.demo import RECORDED, settings
from scl_core.methods import Method, StepDraws
from scl_core.methods.parts import teacher_probs
from scl_core.microscope.replay import batch_of_step
from scl_core.probe import Probe, SimilarityMatrices, eval_mode, similarity_maps, similarity_matrices
from scl_core.restore import build_method, restore
from scl_core.train import weighted_sum

RUN = RECORDED / "demo-scl"
PAIRS = ("the pair they disagree on most", "alike for both", "unlike for both")
"""Which two pixels of a box a reader may look at; see `example_pair`."""


@dataclass(frozen=True)
class Average:
    """One weight of the network as the teacher's average moves it: before, the student's, after; and the decay d.

    `name` is the weight's; `updates` how often the average has moved so far.
    """

    name: str
    teacher: float
    student: float
    after: float
    decay: float
    updates: int


@dataclass(frozen=True)
class Lesson:
    """A labeled picture and an unlabeled pair at one step, with all that the ten steps of the lesson show.

    Pictures are uint8 [H, W, 3], class maps int64 [H, W] (255 = ignored), probabilities float [C, H, W]. `terms` are
    the unweighted losses of this one picture and this one pair, `weights` those of the step, `loss` their sum.
    """

    config: RunConfig
    class_names: tuple[str, ...]
    palette: np.ndarray
    trained_steps: int
    picture: np.ndarray
    labels: np.ndarray
    labeled_probs: Tensor
    whole_a: Tensor
    whole_b: Tensor
    probe: Probe
    average: Average
    terms: dict[str, float]
    weights: dict[str, float]
    loss: float


def open_lesson(pair: int = 0, run: Path = RUN) -> Lesson:
    """The lesson on the networks of `run`, or on untrained ones with the demo's settings where it is not there.

    `pair` counts the pairs of the batch from 0, modulo their number.
    """
    method, config, source, taken = _networks(run)
    step = taken or config.train.steps
    batch = batch_of_step(config, source, method.num_strong, step, config.seed)
    one = _only(batch, pair % len(batch.positions))
    average = _average(method, taken)
    probe = method.probe(one, StepDraws(config.seed, step))
    with eval_mode(method.student, method.producer), torch.no_grad():
        logits = method.student(one.images).logits
        supervised = float(method.relaxed_loss(logits, one.labels, step))
        whole = teacher_probs(method.producer, torch.cat([one.unlabeled_a.weak, one.unlabeled_b.weak]))
    terms = {"supervised": supervised, "consistency": probe.consistency, "structured": probe.structured}
    weights = method.weights(step)
    return Lesson(
        config,
        source.class_names,
        np.asarray(source.palette, dtype=np.uint8),
        taken,
        denormalise(one.images[0]),
        one.labels[0].numpy(),
        logits[0].softmax(0),
        *whole,
        probe,
        average,
        terms,
        weights,
        float(weighted_sum(terms, weights)),
    )


def example_pair(probe: Probe, number: int, kind: str, most: int = 96) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two pixels of box `number`, (row, column) each, of one of `PAIRS`, among at most `most` of its pixels.

    Raises ValueError for another word.
    """
    found = similarity_matrices(probe, number, most)
    place = {PAIRS[0]: _most_disputed, PAIRS[1]: _most_alike, PAIRS[2]: _most_different}
    if kind not in place:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(PAIRS)}")
    first, second = np.unravel_index(place[kind](found), found.teacher.shape)
    return tuple(found.places[first].tolist()), tuple(found.places[second].tolist())


def similarity_of(probe: Probe, first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Eq. 7 for two pixels (row, column): teacher and student."""
    return tuple(float(found[second]) for found in similarity_maps(probe, *first))


def squared_distances(probe: Probe) -> np.ndarray:
    """The pixels of eq. 4 before their mean, float [H, W]; NaN on padding."""
    found = (probe.student - probe.teacher).square().sum(0)
    return torch.where(probe.valid, found, torch.nan).numpy()


def heaviest_box(probe: Probe) -> int:
    """The box that adds most to the structured loss."""
    return max((box for box in probe.report if box.in_loss), key=lambda box: (box.term, box.visible)).number


def _networks(run: Path) -> tuple[Method, RunConfig, DataSource, int]:
    config = settings("scl")
    if not (run / "checkpoints").is_dir():
        source = config.data.open()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return build_method(config, len(source.class_names)).eval(), config, source, 0
    restored = restore(run)
    return restored.method, restored.config, restored.open_data(), restored.step


def _only(batch: Batch, index: int) -> Batch:
    """One labeled picture and one pair of the batch, in their places of it."""
    label, sides = index % len(batch.images), []
    for side in (batch.unlabeled_a, batch.unlabeled_b):
        strong = tuple(view[index : index + 1] for view in side.strong)
        keep = slice(index, index + 1)
        sides.append(Views(side.weak[keep], strong, side.valid[keep], side.names[keep]))
    place = slice(label, label + 1)
    return Batch(
        batch.images[place],
        batch.labels[place],
        batch.names[place],
        *sides,
        batch.positions[index : index + 1],
        batch.label_positions[place],
    )


def _average(method: Method, taken: int) -> Average:
    """One update of a copy of the teacher, watched at the weight in which the two differ most."""
    teacher = deepcopy(method.teacher)
    student = {name: value.detach() for name, value in method.student.named_parameters()}
    before = {name: value.clone() for name, value in teacher.model.named_parameters()}
    name = max(before, key=lambda name: float((before[name] - student[name]).abs().max()))
    place = int((before[name] - student[name]).abs().argmax())
    teacher.update(method.student)
    after = dict(teacher.model.named_parameters())[name]
    old, new, ours = (float(values.flatten()[place]) for values in (before[name], after, student[name]))
    decay = (new - ours) / (old - ours) if old != ours else teacher.decay
    return Average(f"{name}[{place}]", old, ours, new, decay, taken)


def _most_disputed(found: SimilarityMatrices) -> int:
    return int(np.square(found.student - found.teacher).argmax())


def _most_alike(found: SimilarityMatrices) -> int:
    least = np.minimum(found.student, found.teacher).astype(np.float64)
    np.fill_diagonal(least, -np.inf)
    distance = np.abs(found.places[:, None] - found.places[None]).sum(2)
    return int((least + 1e-3 * distance / distance.max()).argmax()) if len(least) > 1 else 0


def _most_different(found: SimilarityMatrices) -> int:
    return int(np.maximum(found.student, found.teacher).argmin())
