"""The structured consistency loss: student and teacher agree on how alike any two pixels of a CutMix box are.

The file imports torch alone. The sum over all P^2 pairs of a box needs no P x P matrix. With S and T the normalised
predictions, D = S - T and Q = S + T, each of shape [C, P], the differences of the similarities are
S'S - T'T = (D'Q + Q'D) / 2, and their mean square is (<DD', QQ'> + <DQ', (DQ')'>) / (2 P^2): three C x C matrices.
Written with D the loss keeps its digits when the student is close to its teacher, where <SS', SS'> - 2 <ST', ST'> +
<TT', TT'> would lose them; both products may be negative alone, so nothing here is clamped.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BOX_REDUCTIONS = ("sum", "mean")
SMALLEST_SQUARED_NORM = 1e-24
BAND = 8192  # pixels that are computed at once on a CPU
TILE = 256  # pixels of one small matrix product on a GPU


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
    first_box = num_boxes - num_loss_boxes
    groups = []
    if max_pairs is None and _without_host(student.device):
        counts, parts = _tiles(owner, valid, first_box, num_loss_boxes)
    else:
        places, counts = _visible_pixels(owner, valid, first_box, num_loss_boxes)
        rows = counts.tolist()
        if any(row[-1] for row in rows):
            raise ValueError(f"owner names a box that is not below num_boxes = {num_boxes}")
        parts = _bands(places, rows, owner.shape[2], max_pairs)
        groups = _box_groups(places, rows, max_pairs, generators) if max_pairs else []
    counts = counts[:, :-1]
    with torch.autocast(student.device.type, enabled=False):
        if not groups:
            return _EveryPair.apply(student, teacher.detach(), parts, counts), counts
        drawn = _DrawnPairs.apply(student.flatten(2), teacher.detach().flatten(2), groups, num_loss_boxes)
        return drawn + _EveryPair.apply(student, teacher.detach(), parts, counts) if parts else drawn, counts


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
        for index, column in enumerate(group.columns)
    }


class _Band(NamedTuple):
    """Pixels of one box: rows of a rectangle that it nearly fills, or scattered places; few enough for the cache."""

    picture: int
    column: int  # which of the loss boxes
    places: tuple[slice, slice] | Tensor  # rows and columns, or int64 [P] in the flattened picture
    shown: Tensor | None  # bool [P], None where the box shows all of them

    def read(self, maps: Tensor) -> Tensor:
        """The pixels of maps [B, C, H, W]: [C, P]."""
        if isinstance(self.places, Tensor):
            return _take(maps[self.picture].flatten(1), self.places)
        return maps[self.picture][:, *self.places].reshape(maps.shape[1], -1)

    def add(self, maps: Tensor, values: Tensor) -> None:
        """Add values [C, P] to maps [B, C, H, W] in place, where `read` took them."""
        if isinstance(self.places, Tensor):
            maps[self.picture].view(len(values), -1).scatter_add_(1, self.places.expand(len(values), -1), values)
        else:
            part = maps[self.picture][:, *self.places]
            part.add_(values.view_as(part))

    def add_grams(self, grams: Tensor, stacked: Tensor) -> None:
        """Add the Gram matrix of `stacked` [2C, P] to that of its box; grams [B, boxes, 2C, 2C]."""
        grams[self.picture, self.column].addmm_(stacked, stacked.T)

    def mixed(self, mixing: Tensor, stacked: Tensor) -> Tensor:
        """`stacked` times the matrix of its box, [C, P]; mixing [B, boxes, C, 2C]."""
        return mixing[self.picture, self.column] @ stacked


class _Tiles(NamedTuple):
    """All pixels of one picture sorted by box, each box padded to whole tiles: sizes that the host knows in advance."""

    picture: int
    places: Tensor  # int64 [P], in the flattened picture; anything where not shown
    shown: Tensor  # bool [P]
    member: Tensor  # float [boxes, tiles], 1 where the tile belongs to the box

    def read(self, maps: Tensor) -> Tensor:
        """The pixels of maps [B, C, H, W]: [C, P]."""
        return _take(maps[self.picture].flatten(1), self.places)

    def add(self, maps: Tensor, values: Tensor) -> None:
        """Add values [C, P] to maps [B, C, H, W] in place, where `read` took them."""
        maps[self.picture].view(len(values), -1).scatter_add_(1, self.places.expand(len(values), -1), values)

    def add_grams(self, grams: Tensor, stacked: Tensor) -> None:
        """Add the Gram matrices of `stacked` [2C, P] to those of the boxes; grams [B, boxes, 2C, 2C]."""
        tiles = self._cut(stacked)
        grams[self.picture] += (self.member.to(grams.dtype) @ (tiles @ tiles.mT).flatten(1)).view_as(grams[0])

    def mixed(self, mixing: Tensor, stacked: Tensor) -> Tensor:
        """`stacked` times the matrix of each pixel's box, [C, P]; mixing [B, boxes, C, 2C]."""
        of_tile = self.member.to(mixing.dtype).T @ mixing[self.picture].flatten(1)
        return (of_tile.view(-1, *mixing.shape[2:]) @ self._cut(stacked)).transpose(0, 1).flatten(1)

    def _cut(self, stacked: Tensor) -> Tensor:
        return stacked.view(len(stacked), -1, TILE).transpose(0, 1)


class _EveryPair(torch.autograd.Function):
    """The exact loss of each box. Only C x C matrices are kept for the gradient, which reads the pixels once more."""

    @staticmethod
    def forward(ctx, student, teacher, parts, counts):
        dtype = torch.promote_types(student.dtype, torch.float32)
        half = student.shape[1]
        grams = torch.zeros((*counts.shape, 2 * half, 2 * half), dtype=dtype, device=student.device)
        for part in parts:
            part.add_grams(grams, _stacked(part, student, teacher, dtype)[0])
        cross = grams[..., :half, half:]
        products = grams[..., :half, :half] * grams[..., half:, half:] + cross * cross.mT
        # one pixel is as like itself in both networks: not even rounding is left of it
        share = (counts > 1) / counts.clamp(min=1).to(dtype).square()
        mixing = (grams[..., :half, :] + grams[..., half:, :]).roll(half, -1) * share[..., None, None]
        ctx.parts = parts
        ctx.save_for_backward(student, teacher, mixing)
        return products.sum((2, 3)) * share / 2

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_values):
        student, teacher, mixing = ctx.saved_tensors
        mixing = mixing * grad_values[..., None, None]
        grad_student = torch.zeros_like(student, memory_format=torch.contiguous_format)
        for part in ctx.parts:
            stacked, unit, inverse_norm = _stacked(part, student, teacher, mixing.dtype)
            gradient = part.mixed(mixing, stacked)
            along = torch.mul(gradient, unit).sum(0)
            gradient.addcmul_(unit, along, value=-1).mul_(inverse_norm)
            part.add(grad_student, gradient.to(student.dtype))
        return grad_student, None, None, None


def _stacked(part: _Band | _Tiles, student: Tensor, teacher: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """D above Q of a part's pixels, [2C, P], zero where the box does not show them; the student's unit and 1 / norm."""
    unit, inverse_norm = normalise(part.read(student).to(dtype))
    target, _ = normalise(part.read(teacher).to(dtype))
    if part.shown is not None:
        unit, target, inverse_norm = unit * part.shown, target * part.shown, inverse_norm * part.shown
    stacked = unit.new_empty(2, *unit.shape)  # D and Q, without the copies of a concatenation
    torch.sub(unit, target, out=stacked[0])
    torch.add(unit, target, out=stacked[1])
    return stacked.flatten(0, 1), unit, inverse_norm


def _bands(places: Tensor, counts: list[list[int]], width: int, max_pairs: int | None) -> list[_Band]:
    """Cut each box of which every pair is compared into bands; `places` sorted by picture and box."""
    bands = []
    pieces = iter(places.split([count for row in counts for count in row]))
    for picture, row in enumerate(counts):
        for column, count in enumerate(row):
            piece = next(pieces)
            if count > 1 and (max_pairs is None or count * count <= max_pairs):
                bands += _bands_of_box(picture, column, piece, width)
    return bands


def _bands_of_box(picture: int, column: int, places: Tensor, width: int) -> Iterator[_Band]:
    """Rectangles are read far faster than lists of places, so a box is one, unless much of it is covered."""
    columns = places % width
    left, right = int(columns.min()), int(columns.max()) + 1
    top, bottom = int(places[0]) // width, int(places[-1]) // width + 1
    if (bottom - top) * (right - left) > 2 * len(places):
        yield from (_Band(picture, column, piece, None) for piece in places.split(BAND))
        return
    shown = None
    if (bottom - top) * (right - left) > len(places):
        shown = torch.zeros(bottom - top, right - left, dtype=torch.bool, device=places.device)
        shown[places // width - top, columns - left] = True
    rows = max(BAND // (right - left), 1)
    for start in range(top, bottom, rows):
        stop = min(start + rows, bottom)
        inside = None if shown is None else shown[start - top : stop - top].flatten()
        yield _Band(picture, column, (slice(start, stop), slice(left, right)), inside)


def _without_host(device: torch.device) -> bool:
    """Whether to compute by tiles: a GPU waits for the host at each size that it must tell."""
    return device.type != "cpu"


def _tiles(owner: Tensor, valid: Tensor | None, first_box: int, num_loss_boxes: int) -> tuple[Tensor, list[_Tiles]]:
    """The counts of `_visible_pixels` and the tiles of each picture, without a number that the host has to know."""
    shown = owner >= first_box if valid is None else (owner >= first_box) & valid
    box = torch.where(shown, owner.long() - first_box, num_loss_boxes).clamp(max=num_loss_boxes).flatten(1)
    counts = box.new_zeros(len(box), num_loss_boxes + 1).scatter_add_(1, box, torch.ones_like(box))
    sizes = (counts + TILE - 1) // TILE * TILE
    tiles = -(-box.shape[1] // TILE) + num_loss_boxes + 1
    first_slots, places = sizes.cumsum(1) - sizes, box.argsort(dim=1, stable=True)
    in_order = box.gather(1, places)
    shift = first_slots - (counts.cumsum(1) - counts)
    slots = torch.arange(box.shape[1], device=box.device) + shift.gather(1, in_order)
    padded = box.new_zeros(len(box), tiles * TILE).scatter_(1, slots, places)
    filled = shown.new_zeros(padded.shape).scatter_(1, slots, in_order < num_loss_boxes)
    starts = torch.arange(tiles, device=box.device) * TILE
    first, size = first_slots[:, :-1, None], sizes[:, :-1, None]
    member = ((starts >= first) & (starts < first + size)).float()
    return counts, [_Tiles(*of_picture) for of_picture in zip(range(len(box)), padded, filled, member, strict=True)]


class _BoxGroup(NamedTuple):
    """Boxes of one picture whose pairs are drawn, their visible pixels packed one box after the other."""

    picture: int
    columns: list[int]  # which of the loss boxes
    counts: list[int]  # visible pixels of each
    pixels: Tensor  # int64 [P], places in the flattened picture, no pixel twice
    pairs: Tensor  # int64 [2, boxes, pairs], places in the P packed pixels


class _DrawnPairs(torch.autograd.Function):
    """The loss over drawn pairs; the picture is read once and its gradient is written once."""

    @staticmethod
    def forward(ctx, student, teacher, groups, num_loss_boxes):
        dtype = torch.promote_types(student.dtype, torch.float32)
        values = student.new_zeros((len(student), num_loss_boxes), dtype=dtype)
        gradients = []
        for group in groups:
            unit, inverse_norm = normalise(_take(student[group.picture], group.pixels).to(dtype))
            target, _ = normalise(_take(teacher[group.picture], group.pixels).to(dtype))
            value, gradient = _drawn_pairs(unit.T, target.T, group.pairs)
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


def _drawn_pairs(unit: Tensor, target: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each box over its pairs, [boxes], and its gradient by the unit predictions [P, C], as [C, P]."""
    channels = unit.shape[1]
    rows = torch.cat([unit - target, unit + target], 1)  # D and Q of a pixel side by side, gathered in one go
    first, second = rows[pairs[0].flatten()], rows[pairs[1].flatten()]
    error = (first * second.roll(channels, 1)).sum(1, keepdim=True) / 2
    value = error.view(pairs.shape[1:]).square().mean(1)
    unit_first, unit_second = (side[:, :channels] + side[:, channels:] for side in (first, second))
    gradient = torch.zeros_like(rows[:, :channels])
    gradient.index_add_(0, pairs[0].flatten(), unit_second * error)
    gradient.index_add_(0, pairs[1].flatten(), unit_first * error)
    return value, gradient.T.contiguous() / pairs.shape[2]


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
    narrow = key.to(torch.uint8) if counts.numel() < 256 else key  # bytes are sorted several times faster
    return (places - picture * area)[narrow.argsort(stable=True)], counts


def _box_groups(
    places: Tensor, counts: list[list[int]], max_pairs: int, generators: Sequence[torch.Generator | None]
) -> list[_BoxGroup]:
    """Draw pairs where a box has more than `max_pairs`, picture by picture, box by box in paste order.

    On the CPU each box is a group, which fits its cache; elsewhere all boxes of a picture are one.
    """
    groups = []
    pieces = iter(places.split([count for row in counts for count in row]))
    for picture, (row, generator) in enumerate(zip(counts, generators, strict=True)):
        of_box = [next(pieces) for _ in row]
        wanted = [column for column, count in enumerate(row) if count * count > max_pairs]
        for columns in [[column] for column in wanted] if places.device.type == "cpu" else [wanted] if wanted else []:
            sizes = [row[column] for column in columns]
            pairs = _draw_pairs(sizes, max_pairs, generator, places.device)
            groups.append(_BoxGroup(picture, columns, sizes, torch.cat([of_box[column] for column in columns]), pairs))
    return groups


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
