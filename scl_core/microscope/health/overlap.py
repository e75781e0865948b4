"""Is a picture trained on and scored on? By name, and by what it shows: copies saved anew are found too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scl_core.data.images import resize_picture
from scl_core.data.leaks import EVALUATED, TRAINED
from scl_core.data.pictures import DataSource, FileList, PictureList
from scl_core.microscope.health.finding import LOOK, SOUND, UNKNOWN, Finding
from scl_core.progress import Count, Tell, unheard

CHECK, NAME = "Lists", "Training pictures that are scored on"
SIDE = 32
ALIKE = 0.98  # correlation of two pictures at SIDE x SIDE pixels
MOST = 200  # of each list


@dataclass(frozen=True)
class Overlap:
    """A training picture and the evaluated one that shows the same: list, place in it and file of each.

    `likeness` is the correlation of their small versions, 1 for drawn pictures of one scene; `same_name` whether the
    lists call them the same.
    """

    trained: tuple[str, int, str]
    evaluated: tuple[str, int, str]
    likeness: float
    same_name: bool


@dataclass(frozen=True)
class Lists:
    """What was found, the two files that are most alike, and how many pictures of how many were compared by side."""

    found: tuple[Overlap, ...]
    nearest: Overlap | None
    trained: tuple[int, int]
    evaluated: tuple[int, int]


def shared_pictures(source: DataSource, most: int = MOST, tell: Tell = unheard) -> Lists:
    """Compare the first `most` pictures of each training list with those of val and test.

    Files are read and compared at `SIDE` x `SIDE` pixels; drawn scenes by their line alone, which says everything.
    `tell` hears of each file.
    Raises UserError for a file that cannot be read.
    """
    ours, theirs = _numbered(source, TRAINED, most), _numbered(source, EVALUATED, most)
    files = all(isinstance(source.lists[name], FileList) for name, _ in (*ours, *theirs))
    if files:
        count = Count(len(ours) + len(theirs), tell)
        likeness = _small(source, ours, count) @ _small(source, theirs, count).T
    else:
        likeness = _same_lines(source, ours, theirs)
    places = sorted(zip(*np.nonzero(likeness >= ALIKE), strict=True), key=lambda place: -likeness[place])
    found = tuple(_overlap(source, ours[row], theirs[column], likeness[row, column]) for row, column in places)
    nearest = None
    if files and likeness.size:
        row, column = np.unravel_index(likeness.argmax(), likeness.shape)
        nearest = _overlap(source, ours[row], theirs[column], likeness[row, column])
    counts = (len(_numbered(source, names)) for names in (TRAINED, EVALUATED))
    return Lists(found, nearest, *zip((len(ours), len(theirs)), counts, strict=True))


def judge_overlap(lists: Lists) -> Finding:
    """Whether any training picture shows what an evaluated one shows."""
    if not lists.trained[0] and lists.trained[1]:
        return Finding(CHECK, UNKNOWN, NAME, "–", "No picture has been compared.", "Compare the pictures.")
    leaked = {overlap.trained for overlap in lists.found}
    number = f"{len(leaked)} of {lists.trained[0]:,}"
    looked = "" if lists.trained[0] == lists.trained[1] and lists.evaluated[0] == lists.evaluated[1] else (
        f" Looked at {lists.trained[0]:,} of {lists.trained[1]:,} and {lists.evaluated[0]:,} of {lists.evaluated[1]:,}."
    )  # fmt: skip
    if not leaked:
        return Finding(CHECK, SOUND, NAME, number, f"No picture of val or test was found among them.{looked}")
    names = sorted({overlap.trained[0] for overlap in lists.found})
    where = sorted({overlap.evaluated[0] for overlap in lists.found})
    return Finding(
        CHECK, LOOK, NAME, number,
        f"Pictures of {' and '.join(where)} are in the {' and '.join(names)} list under other names or as copies: the "
        f"score counts what was learned by heart.{looked}",
        "Take them out of the training list, and score and compare anew; no number of this run can be kept.",
        "it is trained on pictures that it is scored on",
    )  # fmt: skip


def _numbered(source: DataSource, names: Sequence[str], most: int | None = None) -> list[tuple[str, int]]:
    """List and place of every picture of these lists, or of the first `most` of each."""
    lists = {name: source.lists[name] for name in names if name in source.lists}
    return [(name, index) for name, pictures in lists.items() for index in range(len(pictures))[:most]]


def _same_lines(source: DataSource, ours: Sequence[tuple[str, int]], theirs: Sequence[tuple[str, int]]) -> np.ndarray:
    """1 where the line of a picture equals that of another, float32 [ours, theirs]."""
    first, second = (np.array([source.lists[name].lines[index] for name, index in side]) for side in (ours, theirs))
    return (first[:, None] == second[None]).astype(np.float32)


def _small(source: DataSource, pictures: Sequence[tuple[str, int]], count: Count) -> np.ndarray:
    """Each picture at SIDE x SIDE, its mean taken off and its length made 1: float32 [pictures, SIDE * SIDE * 3]."""
    if not pictures:
        return np.zeros((0, SIDE * SIDE * 3), dtype=np.float32)
    small = np.stack([_thumbnail(source.lists[name], index, count) for name, index in pictures])
    small = small.reshape(len(pictures), -1)
    small = small - small.mean(1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)


def _thumbnail(pictures: PictureList, index: int, count: Count) -> np.ndarray:
    small = resize_picture(pictures.image(index), SIDE, SIDE).astype(np.float32)
    count.step()
    return small


def _overlap(source: DataSource, ours: tuple[str, int], theirs: tuple[str, int], likeness: float) -> Overlap:
    (trained, first), (evaluated, second) = ours, theirs
    lists = source.lists[trained], source.lists[evaluated]
    return Overlap(
        (trained, first, lists[0].place(first)),
        (evaluated, second, lists[1].place(second)),
        float(likeness),
        lists[0].names[first] == lists[1].names[second],
    )
