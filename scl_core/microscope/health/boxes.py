"""Can a box hold a pair of classes? Boxes as the method draws them, laid over labeled pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scl_core.cutmix import box_owner, boxes_of
from scl_core.data.images import IGNORE_INDEX
from scl_core.microscope.health.finding import LOOK, SOUND, UNKNOWN, Finding
from scl_core.seeding import generator_for

CHECK, NAME = "Boxes", "Boxes that hold two classes or more"
TOO_FEW = 0.5  # of the boxes that show anything
DRAWS = 8


@dataclass(frozen=True)
class BoxClasses:
    """The loss boxes that show labeled pixels: classes in each [N], pixels in each [N], and pairs of unlike pixels.

    `unlike` [N] float64 is the share of a box's ordered pairs whose two pixels are of different classes.
    `label`, `owner` int64 [H, W] are one of the pictures and its boxes, of which the last `num_loss_boxes` count.
    """

    classes: np.ndarray
    pixels: np.ndarray
    unlike: np.ndarray
    label: np.ndarray
    owner: np.ndarray

    @property
    def several(self) -> float:
        """The share of the boxes that hold at least two classes; 0 without any."""
        return float((self.classes >= 2).mean()) if len(self.classes) else 0.0


def classes_per_box(labels: Sequence[np.ndarray], settings, seed: int, draws: int = DRAWS) -> BoxClasses:
    """Lay `draws` draws of boxes over the `labels` (int [H, W] each, 255 = ignore, one after another).

    `settings` are a method's: num_boxes, num_loss_boxes, total_area, area_mode. Draw k is that of step k + 1,
    position 0, under `seed`. Raises ValueError without a label.
    """
    if not len(labels):
        raise ValueError("no label to lay boxes over")
    in_loss = settings.num_boxes if settings.num_loss_boxes is None else settings.num_loss_boxes
    counted, first = [], None
    for index in range(draws):
        label = np.asarray(labels[index % len(labels)])
        draw = generator_for(seed, index + 1, 0, "boxes")
        boxes = boxes_of(settings, *label.shape, draw)
        owner = box_owner(boxes, *label.shape).numpy()
        first = first or (label, owner)
        counted += _histograms(label, owner, range(settings.num_boxes - in_loss, settings.num_boxes))
    shares = [counts / counts.sum() for counts in counted]
    return BoxClasses(
        np.array([(counts > 0).sum() for counts in counted], dtype=np.int64),
        np.array([counts.sum() for counts in counted], dtype=np.int64),
        np.array([1 - np.square(share).sum() for share in shares], dtype=np.float64),
        *first,
    )


def _histograms(label: np.ndarray, owner: np.ndarray, numbers: range) -> list[np.ndarray]:
    """The pixels of each class in each of these boxes, int64 [classes]; boxes without a labeled pixel are left out."""
    known = label != IGNORE_INDEX
    found = [np.bincount(label[known & (owner == number)].astype(np.int64)) for number in numbers]
    return [counts for counts in found if counts.sum()]


def judge_boxes(found: BoxClasses | None) -> Finding:
    """Whether fewer than `TOO_FEW` of the boxes hold two classes."""
    if found is None:
        return Finding(CHECK, UNKNOWN, NAME, "–", "This method compares no pixels inside boxes.")
    if not len(found.classes):
        return Finding(
            CHECK, LOOK, NAME, "–", "No box shows a pixel.",
            "Set method.num_boxes and method.total_area.", "no box shows a pixel",
        )  # fmt: skip
    number = f"{found.several:.0%}"
    pixels = f"Half of the boxes show at most {np.median(found.pixels):,.0f} pixels"
    if found.several >= TOO_FEW:
        return Finding(CHECK, SOUND, NAME, number, f"{pixels}, and most hold pairs that should differ.")
    return Finding(
        CHECK, LOOK, NAME, number,
        f"{pixels}, mostly of one class; there every pair is alike for teacher and student, and the structured loss "
        "says nothing that the pixel-wise one does not.",
        "Draw fewer or larger boxes: method.num_boxes, method.total_area, or method.structured_region whole.",
        "most boxes are too small to hold a pair of classes",
    )  # fmt: skip
