"""A probe looked at closer: what classes and pixels carry of the loss, hard labels, the gradient, other temperatures.

Every function takes a `Probe` and calls the functions that training calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scl_core.cutmix import at_cells, boxes_of, nearest_places, shown_pixels
from scl_core.losses.consistency import consistency_loss
from scl_core.losses.structured import structured_consistency_loss
from scl_core.losses.structured_family import class_pair_matrix, pixel_shares, same_width
from scl_core.probe import Probe
from scl_core.seeding import generator_for


@dataclass(frozen=True)
class Exact:
    """The structured loss of a probe over every pair, taken apart; each part adds up to `loss`.

    Where the form weighs pairs, or does not take all pairs of a region, these are the parts of the plain pairs.

    `shares` float64 [H, W] by pixel, `class_pairs` float64 [C, C] by the teacher's most probable classes of a pair's
    two pixels, and `boxes` by the number of the box. All with the settings' reduction over the boxes.
    """

    loss: float
    shares: np.ndarray
    class_pairs: np.ndarray
    boxes: dict[int, np.ndarray]


def exact_parts(probe: Probe) -> Exact:
    """Take the loss of every pair apart, whatever `max_pairs` the method trains with, in float64.

    Where cells of features are compared, the pixels of a cell have equal parts of its share.
    """
    number = loss_boxes(probe)
    divisor = max(number, 1) if probe.box_reduction == "mean" else 1
    compared = probe.compared()
    vectors = same_width(compared.student.double(), compared.teacher.double())
    maps, valid = (*vectors, probe.regions.owner, len(probe.boxes), number), compared.valid
    shares = pixel_shares(*maps, valid=valid)[0] / divisor
    classes = {"labels": compared.probs.argmax(1), "num_classes": compared.probs.shape[1]}
    matrices = class_pair_matrix(*maps, **classes, valid=valid)[0] / divisor
    loss = structured_consistency_loss(*maps, valid=valid, box_reduction=probe.box_reduction)
    first = len(probe.boxes) - number
    boxes = {first + column: matrix.numpy() for column, matrix in enumerate(matrices)}
    return Exact(float(loss), spread(shares, probe.owner.shape).numpy(), matrices.sum(0).numpy(), boxes)


def spread(shares: Tensor, size: Sequence[int]) -> Tensor:
    """Shares of cells [h, w] as those of the pixels of a picture of `size` (H, W) that lie nearest to each."""
    lines = [nearest_places(*ends).bincount(minlength=ends[0]) for ends in zip(shares.shape, size, strict=True)]
    return at_cells(shares / torch.outer(*lines).clamp(min=1), tuple(size))


def loss_boxes(probe: Probe) -> int:
    """How many of the probe's boxes, the last ones, are in the loss."""
    return sum(box.in_loss for box in probe.report)


def hard_disagreement(probe: Probe, number: int) -> float | None:
    """The share of a box's ordered pixel pairs that the two label maps see differently, as same or as different class.

    It is what the box's loss would be for one-hot predictions, 1 - Rand index with i = j counted; None for a box that
    shows nothing.
    """
    shown = probe.shown(number)
    labels = [probs[:, shown].argmax(0) for probs in (probe.student, probe.teacher)]
    if not len(labels[0]):
        return None
    classes = len(probe.student)
    table = torch.bincount(labels[0] * classes + labels[1], minlength=classes**2).view(classes, classes).double()
    together, ours, theirs = (float(part.square().sum()) for part in (table, table.sum(1), table.sum(0)))
    return (ours + theirs - 2 * together) / len(labels[0]) ** 2


def pixel_gradients(probe: Probe) -> np.ndarray:
    """How strongly the exact structured loss of the form pulls at each pixel: float32 [H, W], the gradient's norm.

    Over the classes, by the student's logits, up to a constant for each pixel: that is what the network feels there.
    Where cells are compared, of each cell by its vector.
    """
    if probe.by_cells:
        compared = probe.compared()
        vectors = compared.student.clone().requires_grad_(True)
        gradient = torch.autograd.grad(probe.loss_of(compared._replace(student=vectors)), vectors)[0]
        return at_cells(gradient[0].norm(dim=0), tuple(probe.owner.shape)).numpy()
    logits = probe.student.log().clamp(min=-30)[None].requires_grad_(True)
    loss = probe.exact_loss(logits.softmax(1), probe.teacher[None])
    return torch.autograd.grad(loss, logits)[0][0].norm(dim=0).numpy()


def at_temperature(probs: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature) from probabilities [C, H, W] alone; above 1 it undoes saturation."""
    return (probs.clamp(min=1e-30).log() / temperature).softmax(0)


def losses_at(probe: Probe, temperature: float) -> tuple[float, float]:
    """Eq. 4 and the exact structured loss of a probe whose two networks are softened (or sharpened) alike."""
    student, teacher = (at_temperature(probs, temperature)[None] for probs in (probe.student, probe.teacher))
    structured = probe.exact_loss(student, teacher)
    return float(consistency_loss(student, teacher, probe.valid[None])), float(structured)


def confident_share(probe: Probe, threshold: float) -> float:
    """The share of valid pixels whose most probable class has, for the teacher, at least this probability."""
    sure = probe.teacher.max(0).values[probe.valid] >= threshold
    return float(sure.float().mean()) if sure.numel() else 0.0


def box_statistics(height: int, width: int, settings, seed: int, draws: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """What many draws of these box settings become: covered shares [draws] and visible pixels [draws, N].

    `settings` has num_boxes, total_area and area_mode; draw k is that of step k + 1, position 0, under `seed`.
    """
    covered, visible = np.zeros(draws), np.zeros((draws, settings.num_boxes), dtype=np.int64)
    for index in range(draws):
        draw = generator_for(seed, index + 1, 0, "boxes")
        boxes = boxes_of(settings, height, width, draw)
        counts = shown_pixels(boxes, height, width)
        covered[index], visible[index] = 1 - counts[0].item() / (height * width), counts[1:].numpy()
    return covered, visible
