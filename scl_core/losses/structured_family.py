"""Relatives of the structured loss: the same Gram matrices, taken apart, weighted, or of other pixels and vectors.

With s_i, t_i the normalised predictions of pixel i, d_i = s_i - t_i and q_i = s_i + t_i, a pair's difference of
similarities is (d_i.q_j + q_i.d_j) / 2. Its square, summed over the pixels i of one set and j of another, is
(<DD, Q'Q'> + <QQ, D'D'> + 2 <DQ, (D'Q')'>) / 4: products of Gram matrices, each of one set alone. Sets may be boxes,
classes in a box, or single pixels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from scl_core.losses.structured import check_shapes, normalise, without_host
from scl_core.losses.structured_tiles import between, class_pairs_by_tiles, weighted_by_tiles

SMALLEST_PROBABILITY = 1e-30


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
    if without_host(student.device):
        given = (owner, num_boxes, num_loss_boxes, labels, num_classes, valid)
        return class_pairs_by_tiles(student.to(dtype), teacher.detach().to(dtype), *given)[0]
    matrix = (student.to(dtype).sum() * 0).expand(len(student), num_loss_boxes, num_classes, num_classes).clone()
    for box in _shown_boxes(student, teacher, owner, num_boxes, num_loss_boxes, valid):
        classes = labels[box.picture][box.shown]
        sets = [_grams(box.difference[:, classes == c], box.total[:, classes == c]) for c in range(num_classes)]
        matrix[box.picture, box.column] = between(*map(torch.stack, zip(*sets, strict=True))) / box.shown.sum() ** 2
    return matrix


def class_weighted_per_box(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    class_weights: Tensor,
    labels: Tensor,
    valid: Tensor | None = None,
) -> Tensor:
    """`structured_per_box` with the weight W[c, d] for a pair of pixels of classes c and d: [B, boxes].

    `class_weights`: [C, C], at least 0; `labels`: int64 [B, H, W], others than 0 .. C - 1 take no part. A box's value
    is the sum of W (a_s - a_t)^2 over its pairs divided by that of W. The rest is as in `class_pair_matrix`.
    """
    check_shapes(student, teacher, owner, valid)
    classes = len(class_weights)
    given = (owner, num_boxes, num_loss_boxes, labels, classes, valid)
    if without_host(student.device):
        dtype = torch.promote_types(student.dtype, torch.float32)
        matrix, counts, visible = class_pairs_by_tiles(student.to(dtype), teacher.detach().to(dtype), *given)
        counts, shown_pairs = counts.to(dtype), visible.to(dtype).square()
        pairs = counts[..., :, None] * counts[..., None, :]
    else:
        matrix = class_pair_matrix(student, teacher, *given)
        pairs, shown_pairs = torch.zeros_like(matrix), matrix.new_zeros(matrix.shape[:2])
        for picture, column, shown in _boxes(owner, num_boxes, num_loss_boxes, valid):
            of_box = labels[picture][shown]
            counts = of_box[(of_box >= 0) & (of_box < classes)].bincount(minlength=classes).to(matrix.dtype)
            pairs[picture, column], shown_pairs[picture, column] = torch.outer(counts, counts), float(len(of_box)) ** 2
    weights = class_weights.to(matrix.dtype)
    total = (pairs * weights).sum((2, 3))
    return (matrix * weights).sum((2, 3)) * shown_pairs / torch.where(total > 0, total, 1)


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


def weighted_per_box(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    valid: Tensor | None = None,
    weights: Tensor | None = None,
    centred: bool = False,
) -> Tensor:
    """`structured_per_box` with pair weights w_i w_j, centred, or of two networks of different widths: [B, boxes].

    `student` [B, C, H, W] and `teacher` [B, E, H, W] may be any vectors: probabilities, logits, features of another
    network. `weights`: float [B, H, W], at least 0; a box's value is the sum of w_i w_j (a_s - a_t)^2 over its pairs
    divided by that of w_i w_j. `centred` first subtracts the box's (weighted) mean vector from the normalised ones,
    which makes it the exact distance of linear HSIC; nothing is divided, so that a box of one class stays finite.
    With E other than C, D = S - T does not exist: in float64, the squared norms are taken apart, P (C + E)^2, or the
    pairs themselves where a box shows fewer pixels than the wider side has channels.
    """
    dtype = torch.promote_types(student.dtype, torch.float32 if student.shape[1] == teacher.shape[1] else torch.float64)
    with torch.autocast(student.device.type, enabled=False):
        if without_host(student.device):
            given = (owner, num_boxes, num_loss_boxes, valid, weights, centred)
            return weighted_by_tiles(student.to(dtype), teacher.detach().to(dtype), *given)
        values = (student.sum() * 0).to(dtype).expand(len(student), num_loss_boxes).clone()
        for picture, column, shown in _boxes(owner, num_boxes, num_loss_boxes, valid):
            unit, _ = normalise(student[picture][:, shown].to(dtype))
            target, _ = normalise(teacher[picture].detach()[:, shown].to(dtype))
            weight = torch.ones_like(unit[0]) if weights is None else weights[picture][shown].detach().to(dtype)
            if centred:
                unit, target = (side - (side * weight).sum(1, keepdim=True) / weight.sum() for side in (unit, target))
            unit, target = unit * weight.sqrt(), target * weight.sqrt()
            values[picture, column] = _squared_distance(unit, target) / weight.sum().square()
    return values


def window_per_picture(student: Tensor, teacher: Tensor, radius: int, valid: Tensor | None = None) -> Tensor:
    """Eq. 6 over near pairs alone, without boxes: [B], the mean over valid pixels i, j with |dx|, |dy| <= `radius`.

    `student`, `teacher`: [B, C, H, W], no gradient reaches the teacher. The C^2 maps of outer products are summed over
    windows by prefix sums, so the cost, P C^2, does not depend on the radius; a row of them is in memory at a time.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        shown = torch.ones_like(student[:, :1], dtype=dtype) if valid is None else valid[:, None].to(dtype)
        unit, target = normalise(student.to(dtype), 1)[0], normalise(teacher.detach().to(dtype), 1)[0]
        difference, total = (unit - target) * shown, (unit + target) * shown
        squares = sum(
            checkpoint(_window_row, difference, total, channel, radius, use_reentrant=False)
            for channel in range(student.shape[1])
        )
        pairs = (window_sum(shown, radius) * shown).sum((1, 2, 3))
        return squares / (4 * pairs.clamp(min=1))


def _window_row(difference: Tensor, total: Tensor, channel: int, radius: int) -> Tensor:
    """One channel's part of the sum of (d_i.q_j)^2 + (q_i.d_j)^2 + 2 (d_i.q_j)(q_i.d_j) over near pairs: [B]."""
    d, q = difference[:, channel, None], total[:, channel, None]
    # the first two are one number: exchanging i and j turns one into the other
    own = 2 * d * (window_sum(q * total, radius) * difference).sum(1, keepdim=True)
    both = 2 * d * (window_sum(q * difference, radius) * total).sum(1, keepdim=True)
    return (own + both).sum((1, 2, 3))


def window_sum(maps: Tensor, radius: int) -> Tensor:
    """The sum over the square of side 2 `radius` + 1 around each pixel of maps [B, C, H, W], what lies outside is 0."""
    for dim in (2, 3):
        size = maps.shape[dim]
        upto = torch.cat([torch.zeros_like(maps.narrow(dim, 0, 1)), maps.cumsum(dim)], dim)
        place = torch.arange(size, device=maps.device)
        last, first = (place + radius + 1).clamp(max=size), (place - radius).clamp(min=0)
        maps = upto.index_select(dim, last) - upto.index_select(dim, first)
    return maps


def batch_pairs_loss(
    student: Tensor,
    teacher: Tensor,
    valid: Tensor | None = None,
    add: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ranks: int = 1,
) -> Tensor:
    """Eq. 6 over the pairs of all valid pixels of a batch, also of two pictures, also on two ranks: a scalar.

    Gram matrices add, so `add` (the sum of a tensor over the ranks, detached) joins (2 C)^2 numbers of each of the
    `ranks`. The value is the same everywhere; its gradient is times `ranks`, so that a mean of gradients over the ranks
    is the gradient of the whole. `student`, `teacher`: [B, C, H, W]; `valid`: bool [B, H, W].
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        shown = torch.ones_like(student[:, 0], dtype=dtype) if valid is None else valid.to(dtype)
        unit, target = normalise(student.to(dtype), 1)[0], normalise(teacher.detach().to(dtype), 1)[0]
        stacked = torch.cat([unit - target, unit + target], 1) * shown[:, None]
        stacked = stacked.transpose(0, 1).flatten(1)
        own = stacked @ stacked.T
        grams, half = own + (add(own) - own).detach(), student.shape[1]
        cross = grams[:half, half:]
        squares = (grams[:half, :half] * grams[half:, half:] + cross * cross.T).sum() / 2
        loss = squares / add(shown.sum()).clamp(min=1).square()
    return loss.detach() + ranks * (loss - loss.detach())


def same_width(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of two widths, [B, C, H, W] and [B, E, H, W], as wide as the wider and in float64; others as they are.

    The channels added are 0: they change no similarity, and D = S - T exists.
    """
    width = max(student.shape[1], teacher.shape[1])
    if student.shape[1] == teacher.shape[1]:
        return student, teacher
    return tuple(pad(maps.double(), (0, 0, 0, 0, 0, width - maps.shape[1])) for maps in (student, teacher))


def soften(probs: Tensor, temperature: float) -> Tensor:
    """softmax(z / `temperature`) from probs = softmax(z) [B, C, H, W]: above 1, certain pixels differ again."""
    return probs if temperature == 1 else (log_probs(probs) / temperature).softmax(1)


def centred_logits(probs: Tensor) -> Tensor:
    """The logits z that probs = softmax(z) [B, C, H, W] came from, less their mean over the classes."""
    logs = log_probs(probs)
    return logs - logs.mean(1, keepdim=True)


def log_probs(probs: Tensor) -> Tensor:
    """Their logarithms [B, C, H, W], in float32 or better; those below `SMALLEST_PROBABILITY` count as that."""
    return probs.to(torch.promote_types(probs.dtype, torch.float32)).clamp(min=SMALLEST_PROBABILITY).log()


def confidence_weights(teacher: Tensor) -> Tensor:
    """The teacher's largest probability at each pixel: [B, H, W]."""
    return teacher.detach().amax(1)


def class_area_weights(teacher: Tensor, owner: Tensor, num_boxes: int, valid: Tensor | None = None) -> Tensor:
    """1 / (visible pixels of the same box with the same most probable class of the teacher): [B, H, W].

    With these every pair of classes in a box counts the same, however large road is.
    """
    classes = teacher.shape[1]
    shown = owner >= 0 if valid is None else (owner >= 0) & valid
    key = torch.where(shown, owner * classes + teacher.argmax(1), num_boxes * classes).flatten(1)
    counts = key.new_zeros(len(key), num_boxes * classes + 1).scatter_add_(1, key, torch.ones_like(key))
    return counts.gather(1, key).to(teacher.dtype).reciprocal().view_as(owner)


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
    for picture, column, shown in _boxes(owner, num_boxes, num_loss_boxes, valid):
        unit, _ = normalise(student[picture][:, shown].to(dtype))
        target, _ = normalise(teacher[picture].detach()[:, shown].to(dtype))
        yield _Box(picture, column, shown, unit - target, unit + target)


def _boxes(owner, num_boxes: int, num_loss_boxes: int, valid) -> Iterator[tuple[int, int, Tensor]]:
    """Picture, column and bool [H, W] of every loss box that shows a pixel."""
    for picture in range(len(owner)):
        for column in range(num_loss_boxes):
            shown = owner[picture] == num_boxes - num_loss_boxes + column
            if valid is not None:
                shown = shown & valid[picture]
            if shown.any():
                yield picture, column, shown


def _squared_distance(unit: Tensor, target: Tensor) -> Tensor:
    """The sum of (s_i.s_j - t_i.t_j)^2 over all pairs of the columns of [C, P] and [E, P]."""
    if len(unit) == len(target):
        grams = _grams(unit - target, unit + target)
        return ((grams.dd * grams.qq).sum() + (grams.dq * grams.dq.T).sum()) / 2
    if unit.shape[1] <= max(len(unit), len(target)):  # so few pixels that their pairs are fewer than those of channels
        return (unit.T @ unit - target.T @ target).square().sum()
    own, across, other = unit @ unit.T, unit @ target.T, target @ target.T
    return own.square().sum() - 2 * across.square().sum() + other.square().sum()


def _grams(difference: Tensor, total: Tensor) -> _Grams:
    return _Grams(difference @ difference.T, total @ total.T, difference @ total.T)
