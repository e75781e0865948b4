"""Relatives of the structured loss: the same Gram matrices, taken apart, weighted, or of other pixels and vectors.

With s_i, t_i the normalised predictions of pixel i, d_i = s_i - t_i and q_i = s_i + t_i, a pair's difference of
similarities is (d_i.q_j + q_i.d_j) / 2. Its square, summed over the pixels i of one set and j of another, is
(<DD, Q'Q'> + <QQ, D'D'> + 2 <DQ, (D'Q')'>) / 4: products of Gram matrices, each of one set alone. Sets may be boxes,
classes in a box, or single pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scl_core.losses.structured import check_shapes, normalise


def pixel_shares(
    student: Tensor, teacher: Tensor, owner: Tensor, num_boxes: int, num_loss_boxes: int, valid: Tensor | None = None
) -> Tensor:
    """Which pixels carry the structured loss: [B, H, W], for pixel i of box n the sum over j of eq. 8's terms.

    Arguments and errors are those of `structured_per_box`; the pixels of a box add up to its exact value there, and 0
    is outside the loss boxes. In the predictions' type, float32 at least; give float64 for a map to the last digit.
    """
    check_shapes(student, teacher, owner, valid)
    shares = torch.zeros(owner.shape, dtype=torch.promote_types(student.dtype, torch.float32), device=owner.device)
    for box in _shown_boxes(student, teacher, owner, num_boxes, num_loss_boxes, valid):
        grams = _grams(box.difference, box.total)
        own = (box.difference * (grams.qq @ box.difference)).sum(0) + (box.total * (grams.dd @ box.total)).sum(0)
        both = (box.difference * (grams.dq.T @ box.total)).sum(0)
        shares[box.picture][box.shown] = (own + 2 * both) / (4 * box.shown.sum() ** 2)
    return shares


def class_pair_matrix(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    labels: Tensor | None = None,
    num_classes: int | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """How much of each box's loss the pairs of a pixel of class c with one of class d carry: [B, boxes, C, C].

    `labels`: int64 [B, H, W], the teacher's most probable class where None; pixels outside 0 .. `num_classes` - 1 are
    in no entry. `num_classes` is the number of channels where None. A box's entries, symmetric, add up to its value by
    `structured_per_box` when every pixel has a class. Differentiable by the student: with C x C weights,
    `(class_pair_matrix(...) * weights).sum()` is a loss at the same cost, P C^2 for P pixels. The other arguments and
    the errors are those of `structured_per_box`.
    """
    check_shapes(student, teacher, owner, valid)
    num_classes = num_classes or student.shape[1]
    labels = teacher.argmax(1) if labels is None else labels
    dtype = torch.promote_types(student.dtype, torch.float32)
    matrix = (student.to(dtype).sum() * 0).expand(len(student), num_loss_boxes, num_classes, num_classes).clone()
    for box in _shown_boxes(student, teacher, owner, num_boxes, num_loss_boxes, valid):
        classes = labels[box.picture][box.shown]
        sets = [_grams(box.difference[:, classes == c], box.total[:, classes == c]) for c in range(num_classes)]
        matrix[box.picture, box.column] = _between(sets) / box.shown.sum() ** 2
    return matrix


def pixel_cosine_per_box(
    student: Tensor, teacher: Tensor, owner: Tensor, num_boxes: int, num_loss_boxes: int, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A control without pairs: the mean over a box's visible pixels of 1 - cos(student's pixel, teacher's pixel).

    Taken as |s - t|^2 / 2 of the normalised vectors, which keeps its digits where they agree. Returns what
    `structured_per_box` returns, for the same boxes, in the same order; arguments and errors are its, too.
    """
    check_shapes(student, teacher, owner, valid)
    dtype = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        difference = normalise(student.to(dtype), 1)[0] - normalise(teacher.detach().to(dtype), 1)[0]
        of_pixels = difference.square().sum(1).flatten(1) / 2
        shown = owner if valid is None else owner.masked_fill(~valid, -1)
        boxes = torch.arange(num_boxes - num_loss_boxes, num_boxes, device=owner.device)
        member = shown.flatten(1)[:, None] == boxes[None, :, None]
        counts = member.sum(2)
        values = (member.to(dtype) @ of_pixels[:, :, None]).squeeze(2) / counts.clamp(min=1)
    return values, counts


class _Box(NamedTuple):
    """The pixels that a loss box shows."""

    picture: int
    column: int
    shown: Tensor  # bool [H, W]
    difference: Tensor  # D [C, P]
    total: Tensor  # Q [C, P]


class _Grams(NamedTuple):
    """Gram matrices of a set of pixels, each [C, C]."""

    dd: Tensor
    qq: Tensor
    dq: Tensor


def _shown_boxes(student, teacher, owner, num_boxes: int, num_loss_boxes: int, valid) -> Iterator[_Box]:
    """Every loss box that shows a pixel, its predictions normalised."""
    dtype = torch.promote_types(student.dtype, torch.float32)
    first = num_boxes - num_loss_boxes
    for picture in range(len(owner)):
        for column in range(num_loss_boxes):
            shown = owner[picture] == first + column
            if valid is not None:
                shown = shown & valid[picture]
            if not shown.any():
                continue
            unit, _ = normalise(student[picture][:, shown].to(dtype))
            target, _ = normalise(teacher[picture].detach()[:, shown].to(dtype))
            yield _Box(picture, column, shown, unit - target, unit + target)


def _grams(difference: Tensor, total: Tensor) -> _Grams:
    return _Grams(difference @ difference.T, total @ total.T, difference @ total.T)


def _between(sets: list[_Grams]) -> Tensor:
    """The squared differences of similarities, summed over the pairs between any two of the N sets: [N, N]."""
    dd, qq, dq = (torch.stack(grams) for grams in zip(*sets, strict=True))
    across = dd.flatten(1) @ qq.flatten(1).T
    return (across + across.T + 2 * dq.flatten(1) @ dq.mT.flatten(1).T) / 4
