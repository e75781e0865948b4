"""The structured consistency loss: student and teacher agree on how alike any two pixels of a CutMix box are.

The file imports torch alone. The sum over all P^2 pairs of a box needs no P x P matrix. With S and T the normalised
predictions, D = S - T and Q = S + T, each of shape [C, P], the differences of the similarities are
S'S - T'T = (D'Q + Q'D) / 2, and their mean square is (<DD', QQ'> + <DQ', (DQ')'>) / (2 P^2): three C x C matrices.
Written with D the loss keeps its digits when the student is close to its teacher, where <SS', SS'> - 2 <ST', ST'> +
<TT', TT'> would lose them; both products may be negative alone, so nothing here is clamped.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BOX_REDUCTIONS = ("sum", "mean")
SMALLEST_SQUARED_NORM = 1e-24


def structured_consistency_loss(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    max_pairs: int | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    valid: Tensor | None = None,
    box_reduction: str = "sum",
) -> Tensor:
    """Eq. 8 of Kim et al. 2020, or eq. 10 with `num_loss_boxes` and `max_pairs`: a scalar, the mean over the pictures.

    `student`, `teacher`: probabilities [B, C, H, W]; no gradient reaches the teacher. `owner`: int64 [B, H, W], the box
    that each pixel shows, numbered in paste order, -1 for none. Each of the last `num_loss_boxes` of the `num_boxes`
    boxes gives the mean of (a_student - a_teacher)^2 over all ordered pairs of the pixels that it still shows, i = j
    included; `box_reduction` "sum" adds the boxes, "mean" divides that by `num_loss_boxes`.

    `max_pairs` None takes every pair, exactly. A number takes that many pairs (eq. 9), drawn with replacement, in each
    box that has more of them: an unbiased estimate; 0 gives 0. `generator`: one for the whole batch or one per picture.
    `valid`: bool [B, H, W]; pixels that are False belong to no box. Boxes without a visible pixel add exactly 0, and
    whatever is empty gives 0 with a connected gradient of zeros. Computed in float32 at least, also under autocast.

    Raises ValueError for shapes that do not fit, numbers below 0, `num_loss_boxes` above `num_boxes`, a box in `owner`
    that is not below `num_boxes`, an unknown `box_reduction`.
    """
    total, count = structured_consistency_sum(
        student, teacher, owner, num_boxes, num_loss_boxes, max_pairs, generator, valid, box_reduction
    )
    return total / count.clamp(min=1)


def structured_consistency_sum(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    max_pairs: int | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    valid: Tensor | None = None,
    box_reduction: str = "sum",
) -> tuple[Tensor, Tensor]:
    """`structured_consistency_loss` before its mean: the sum over the pictures and their number (int64)."""
    values, _ = structured_per_box(student, teacher, owner, num_boxes, num_loss_boxes, max_pairs, generator, valid)
    return sum_of_boxes(values, box_reduction)


def sum_of_boxes(values: Tensor, box_reduction: str = "sum") -> tuple[Tensor, Tensor]:
    """From one value per box, [B, boxes], to the sum over the pictures and their number; "mean" divides by the boxes.

    Raises ValueError for an unknown `box_reduction`.
    """
    if box_reduction not in BOX_REDUCTIONS:
        raise ValueError(f"box_reduction is {box_reduction!r}; it must be one of {', '.join(BOX_REDUCTIONS)}")
    pictures, boxes = values.shape
    total = values.sum() / (max(boxes, 1) if box_reduction == "mean" else 1)
    return total, torch.tensor(pictures, device=values.device)


def structured_per_box(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    max_pairs: int | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The terms of the loss: the mean over pairs of each loss box, and how many pixels each shows.

    Returns two tensors [B, num_loss_boxes], float and int64; column k is box `num_boxes - num_loss_boxes + k`.
    Arguments and errors are those of `structured_consistency_loss`.
    """
    if not 0 <= num_loss_boxes <= num_boxes:
        raise ValueError(f"num_loss_boxes is {num_loss_boxes}; it must lie between 0 and num_boxes = {num_boxes}")
    if max_pairs is not None and max_pairs < 0:
        raise ValueError(f"max_pairs is {max_pairs}; it must be None (every pair) or at least 0")
    check_shapes(student, teacher, owner, valid)
    generators = _one_per_picture(generator, len(student))
    pixels, counts = _visible_pixels(owner, valid, num_boxes - num_loss_boxes, num_loss_boxes)
    rows = counts.tolist()
    if any(row[-1] for row in rows):
        raise ValueError(f"owner names a box that is not below num_boxes = {num_boxes}")
    groups = [] if max_pairs == 0 else _box_groups(pixels, rows, max_pairs, generators)
    with torch.autocast(student.device.type, enabled=False):
        values = _PairLoss.apply(student.flatten(2), teacher.detach().flatten(2), groups, num_loss_boxes)
    return values, counts[:, :-1]


def cosine_similarity_matrix(probs: Tensor) -> Tensor:
    """Eq. 5: the cosine similarity of every two of the pixels `probs` [C, P], a few thousand at most: [P, P]."""
    unit, _ = normalise(probs)
    return unit.T @ unit


def similarity_row(probs: Tensor, pixel: int) -> Tensor:
    """One row of `cosine_similarity_matrix`: how alike `pixel` is to each of the P pixels, [P]; for any P."""
    unit, _ = normalise(probs)
    return unit[:, pixel] @ unit


def sampled_pairs(
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    max_pairs: int,
    generator: torch.Generator,
    valid: Tensor | None = None,
) -> dict[int, Tensor]:
    """The pairs that eq. 9 draws in one picture, `owner` int64 and `valid` bool [H, W]: the very draw of the loss.

    For each box that has more pairs than `max_pairs` (the others keep all of them): int64 [2, max_pairs], places in
    the flattened picture.
    """
    valid = None if valid is None else valid[None]
    pixels, counts = _visible_pixels(owner[None], valid, num_boxes - num_loss_boxes, num_loss_boxes)
    groups = _box_groups(pixels, counts.tolist(), max_pairs, [generator])
    first = num_boxes - num_loss_boxes
    return {
        first + column: group.pixels[group.pairs[:, index]]
        for group in groups
        if group.pairs is not None
        for index, column in enumerate(group.columns)
    }


class _BoxGroup(NamedTuple):
    """Boxes of one picture that are computed together, their visible pixels packed one box after the other."""

    picture: int
    columns: list[int]  # which of the loss boxes
    counts: list[int]  # visible pixels of each
    pixels: Tensor  # int64 [P], places in the flattened picture, no pixel twice
    pairs: Tensor | None  # int64 [2, boxes, max_pairs], places in the P packed pixels; None: every pair


class _PairLoss(torch.autograd.Function):
    """The loss of each box with its closed-form gradient; the picture is read once and its gradient is written once."""

    @staticmethod
    def forward(ctx, student, teacher, groups, num_loss_boxes):
        dtype = torch.promote_types(student.dtype, torch.float32)
        values = student.new_zeros((len(student), num_loss_boxes), dtype=dtype)
        gradients = []
        for group in groups:
            unit, inverse_norm = normalise(_take(student[group.picture], group.pixels).to(dtype))
            target, _ = normalise(_take(teacher[group.picture], group.pixels).to(dtype))
            stacked = unit.new_empty(2, *unit.shape)  # D and Q, without the copies of a concatenation
            torch.sub(unit, target, out=stacked[0])
            torch.add(unit, target, out=stacked[1])
            pair_loss = _every_pair if group.pairs is None else _drawn_pairs
            value, gradient = pair_loss(stacked.flatten(0, 1), group)
            values[group.picture, group.columns] = value
            if ctx.needs_input_grad[0]:
                along = (gradient * unit).sum(0)
                gradients.append(gradient.addcmul_(unit, along, value=-1).mul_(inverse_norm))
        ctx.groups = groups
        ctx.save_for_backward(student, *gradients)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_values):
        student, *gradients = ctx.saved_tensors
        grad_student = torch.zeros_like(student)
        for group, gradient in zip(ctx.groups, gradients, strict=True):
            scaled = gradient * _spread(grad_values[group.picture, group.columns], group.counts)
            places = group.pixels.expand(len(gradient), -1)
            grad_student[group.picture].scatter_(1, places, scaled.to(student.dtype))
        return grad_student, None, None, None


def _every_pair(stacked: Tensor, group: _BoxGroup) -> tuple[Tensor, Tensor]:
    """The exact loss of each box, [boxes], and its gradient by the unit predictions, [C, P]; `stacked` is [D; Q]."""
    half = len(stacked) // 2
    boxes = _pad(stacked, group.counts)
    grams = boxes @ boxes.mT
    cross = grams[:, :half, half:]
    products = grams[:, :half, :half] * grams[:, half:, half:] + cross * cross.mT
    pairs = torch.tensor(group.counts, dtype=stacked.dtype, device=stacked.device).square()
    value = products.sum((1, 2)) / (2 * pairs)
    mixing = (grams[:, :half] + grams[:, half:]).roll(half, 2) / pairs[:, None, None]
    return value, _unpad(mixing @ boxes, group.counts)


def _drawn_pairs(stacked: Tensor, group: _BoxGroup) -> tuple[Tensor, Tensor]:
    """Like `_every_pair`, over the group's drawn pairs alone."""
    num_pairs = group.pairs.shape[2]
    first, second = group.pairs.flatten(1)
    first_of, second_of = _take(stacked, first), _take(stacked, second)
    error = (first_of * torch.cat(second_of.chunk(2)[::-1])).sum(0) / 2
    value = error.view(-1, num_pairs).square().mean(1)
    unit_first, unit_second = (sum(side.chunk(2)) for side in (first_of, second_of))
    gradient = torch.zeros_like(stacked[: len(stacked) // 2])
    gradient.index_add_(1, first, unit_second * error).index_add_(1, second, unit_first * error)
    return value, gradient / num_pairs


def normalise(vectors: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors along dimension `dim`, and the inverse norms; a vector without a direction gives 0 for both."""
    squared = (vectors * vectors).sum(dim)
    inverse_norm = squared.clamp(min=SMALLEST_SQUARED_NORM).rsqrt() * (squared > SMALLEST_SQUARED_NORM)
    return vectors * inverse_norm.unsqueeze(dim), inverse_norm


def _visible_pixels(owner: Tensor, valid: Tensor | None, first_box: int, num_loss_boxes: int) -> tuple[Tensor, Tensor]:
    """Places of the pixels that the loss boxes show, sorted by picture and box, and their numbers, [B, columns]."""
    area = max(owner.shape[1] * owner.shape[2], 1)
    shown = owner >= first_box
    if valid is not None:
        shown = shown & valid
    places = shown.flatten().nonzero().squeeze(1)
    picture = places // area
    # one column more than loss boxes: what owner names beyond them is counted in the last
    box = (owner.flatten()[places].long() - first_box).clamp(max=num_loss_boxes)
    key = picture * (num_loss_boxes + 1) + box
    counts = key.bincount(minlength=len(owner) * (num_loss_boxes + 1)).view(len(owner), num_loss_boxes + 1)
    return (places - picture * area)[key.argsort(stable=True)], counts


def _box_groups(
    pixels: Tensor, counts: list[list[int]], max_pairs: int | None, generators: Sequence[torch.Generator | None]
) -> list[_BoxGroup]:
    """Cut the sorted pixels into groups of boxes; pairs are drawn picture by picture, box by box in paste order.

    A box of one pixel is left out like an empty one: the pixel is as like itself in both networks, its loss is 0.
    """
    groups = []
    pieces = iter(pixels.split([count for row in counts for count in row]))
    for picture, (row, generator) in enumerate(zip(counts, generators, strict=True)):
        of_box = [next(pieces) for _ in row]
        many = [max_pairs is not None and count * count > max_pairs for count in row]
        for draws in (False, True):
            wanted = [column for column, count in enumerate(row) if count > 1 and many[column] == draws]
            for columns in _together(wanted, row, pixels.device):
                sizes = [row[column] for column in columns]
                pairs = _draw_pairs(sizes, max_pairs, generator, pixels.device) if draws else None
                packed = torch.cat([of_box[column] for column in columns])
                groups.append(_BoxGroup(picture, columns, sizes, packed, pairs))
    return groups


def _together(columns: list[int], counts: list[int], device: torch.device) -> list[list[int]]:
    """One padded product for all boxes where launches cost more than arithmetic, unless padding takes too much."""
    sizes = [counts[column] for column in columns]
    if device.type == "cpu" or max(sizes, default=0) * len(sizes) > 4 * sum(sizes):
        return [[column] for column in columns]
    return [columns] if columns else []


def _draw_pairs(counts: list[int], max_pairs: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Equally likely ordered pairs of each box's packed pixels, with replacement: int64 [2, boxes, max_pairs]."""
    drawn = []
    for count, start in zip(counts, accumulate(counts, initial=0), strict=False):
        code = torch.randint(
            count * count, (max_pairs,), generator=generator, device=generator.device if generator else None
        )
        drawn.append(torch.stack([code // count, code % count]) + start)
    return torch.stack(drawn, 1).to(device)


def _take(rows: Tensor, places: Tensor) -> Tensor:
    """Columns `places` of [C, P]; unlike an index, `gather` is quick for planes and for channels-last storage alike."""
    return rows.gather(1, places.expand(len(rows), -1))


def _spread(per_box: Tensor, counts: list[int]) -> Tensor:
    """One value per box, repeated for each of its packed pixels."""
    return per_box.repeat_interleave(torch.tensor(counts, device=per_box.device), output_size=sum(counts))


def _slots(counts: list[int], device: torch.device) -> Tensor:
    """Where each packed pixel lies when every box is padded to the largest."""
    shifts = [box * max(counts) - start for box, start in enumerate(accumulate(counts[:-1], initial=0))]
    return _spread(torch.tensor(shifts, device=device), counts) + torch.arange(sum(counts), device=device)


def _pad(packed: Tensor, counts: list[int]) -> Tensor:
    """Packed pixels [K, P] as one matrix per box, [boxes, K, most pixels], zeros behind the box's own."""
    if len(counts) == 1:
        return packed.unsqueeze(0)
    padded = packed.new_zeros(len(packed), len(counts) * max(counts))
    padded[:, _slots(counts, packed.device)] = packed
    return padded.view(len(packed), len(counts), -1).transpose(0, 1)


def _unpad(boxes: Tensor, counts: list[int]) -> Tensor:
    """The inverse of `_pad`."""
    if len(counts) == 1:
        return boxes.squeeze(0)
    return boxes.transpose(0, 1).flatten(1)[:, _slots(counts, boxes.device)]


def _one_per_picture(
    generator: torch.Generator | Sequence[torch.Generator] | None, pictures: int
) -> Sequence[torch.Generator | None]:
    if generator is None or isinstance(generator, torch.Generator):
        return [generator] * pictures
    if len(generator) != pictures:
        raise ValueError(f"{len(generator)} generators for {pictures} pictures: give one, or one per picture")
    return generator


def check_shapes(student: Tensor, teacher: Tensor, owner: Tensor, valid: Tensor | None) -> None:
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(f"student {list(student.shape)} and teacher {list(teacher.shape)} must be one [B, C, H, W]")
    for name, tensor in {"owner": owner, "valid": valid}.items():
        if tensor is not None and tensor.shape != student[:, 0].shape:
            raise ValueError(f"{name} is {list(tensor.shape)}, the predictions are {list(student.shape)}")
