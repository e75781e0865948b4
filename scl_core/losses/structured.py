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
KEPT_BANDS = 4  # a larger box is read once more for its gradient
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
    values, _ = structured_per_box(student, teacher, owner, num_boxes, num_loss_boxes, max_pairs, generator, valid)
    total, count = sum_of_boxes(values, box_reduction)
    return total / count.clamp(min=1)


def sum_of_boxes(values: Tensor, box_reduction: str = "sum") -> tuple[Tensor, Tensor]:
    """From one value per box, [B, boxes], to the sum over the pictures and their number; "mean" divides by the boxes.

    Raises ValueError for an unknown `box_reduction`.
    """
    if box_reduction not in BOX_REDUCTIONS:
        raise ValueError(f"box_reduction is {box_reduction!r}; it must be one of {', '.join(BOX_REDUCTIONS)}")
    pictures, boxes = values.shape
    total = values.sum() / (max(boxes, 1) if box_reduction == "mean" else 1)
    return total, torch.full((), pictures, device=values.device)


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
    if max_pairs is None and without_host(student.device):
        counts, terms = tiles_of(owner, valid, first_box, num_loss_boxes)
    else:
        places, counts = visible_pixels(owner, valid, first_box, num_loss_boxes)
        rows = counts.tolist()
        if any(row[-1] for row in rows):
            raise ValueError(f"owner names a box that is not below num_boxes = {num_boxes}")
        terms = _terms(places, rows, owner.shape[2], max_pairs, generators)
    counts = counts[:, :-1]
    with torch.autocast(student.device.type, enabled=False):
        return _SumOfTerms.apply(student, teacher.detach(), terms, counts), counts


def cosine_similarity_matrix(probs: Tensor) -> Tensor:
    """Eq. 5: the cosine similarity of every two of the pixels `probs` [C, P], a few thousand at most: [P, P]."""
    unit, _ = normalise(probs)
    return unit.T @ unit


def similarity_row(probs: Tensor, pixel: int) -> Tensor:
    """One row of `cosine_similarity_matrix`: how alike `pixel` is to each of the P pixels, [P]; for any P."""
    unit, _ = normalise(probs)
    return unit[:, pixel] @ unit


class _Part(NamedTuple):
    """Some pixels of one picture: rows of a rectangle that they nearly fill, or scattered places."""

    picture: int
    column: int | Tensor  # which of the loss boxes they belong to, or int64 [P], each of them
    places: tuple[slice, slice] | Tensor  # rows and columns, or int64 [P] in the flattened picture
    shown: Tensor | None  # bool [P], None where all of them belong to the box
    member: Tensor | None = None  # float [boxes, tiles], 1 where the tile belongs to the box; None for a single box

    def read(self, maps: Tensor) -> Tensor:
        """The pixels of maps [B, C, H, W]: [C, P]."""
        if isinstance(self.places, Tensor):  # unlike an index, `gather` is quick for channels-last storage, too
            return maps[self.picture].flatten(1).gather(1, self.places.expand(maps.shape[1], -1))
        return maps[self.picture][:, *self.places].reshape(maps.shape[1], -1)

    def add(self, maps: Tensor, values: Tensor) -> None:
        """Add values [C, P] to maps [B, C, H, W] in place, where `read` took them; no pixel gets two that are not 0."""
        if isinstance(self.places, Tensor):
            maps[self.picture].view(len(values), -1).scatter_add_(1, self.places.expand(len(values), -1), values)
            return
        part = maps[self.picture][:, *self.places]
        part.copy_(values.view_as(part)) if self.shown is None else part.add_(values.view_as(part))

    def add_grams(self, grams: Tensor, stacked: Tensor) -> None:
        """Add the Gram matrix of `stacked` [2C, P] to `grams` [2C, 2C]; those of tiles to [boxes, 2C, 2C]."""
        if self.member is None:
            grams.addmm_(stacked, stacked.T)
        else:
            tiles = _cut(stacked)
            grams += (self.member.to(grams.dtype) @ (tiles @ tiles.mT).flatten(1)).view_as(grams)

    def mixed(self, mixing: Tensor, stacked: Tensor) -> Tensor:
        """`stacked` times the matrix of its box, [C, P]; mixing [C, 2C], or [boxes, C, 2C] for tiles."""
        if self.member is None:
            return mixing @ stacked
        of_tile = self.member.to(mixing.dtype).T @ mixing.flatten(1)
        return (of_tile.view(-1, *mixing.shape[1:]) @ _cut(stacked)).transpose(0, 1).flatten(1)


def _cut(stacked: Tensor) -> Tensor:
    return stacked.view(len(stacked), -1, TILE).transpose(0, 1)


class _SumOfTerms(torch.autograd.Function):
    """The loss of each box. The gradient is taken while the pixels are at hand, and written into one map later."""

    @staticmethod
    def forward(ctx, student, teacher, terms, counts):
        values = torch.zeros(
            counts.shape, dtype=torch.promote_types(student.dtype, torch.float32), device=counts.device
        )
        ctx.parts, gradients = [], []
        for term in terms:
            value, of_parts = term.compute(student, teacher, counts[term.picture, term.columns].to(values.dtype))
            values[term.picture, term.columns] = value
            if ctx.needs_input_grad[0]:
                ctx.parts += term.parts
                gradients += of_parts
        ctx.save_for_backward(student, *gradients)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_values):
        student, *gradients = ctx.saved_tensors
        grad_student = torch.zeros_like(student, memory_format=torch.contiguous_format)
        for part, gradient in zip(ctx.parts, gradients, strict=True):
            scaled = gradient * grad_values[part.picture, part.column]
            part.add(grad_student, scaled.to(student.dtype))
        return grad_student, None, None, None


class _EveryPair(NamedTuple):
    """One box of which every pair counts, or all boxes of a picture at once."""

    picture: int
    columns: int | slice
    parts: list[_Part]

    def compute(self, student: Tensor, teacher: Tensor, counts: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
        """The exact loss, and by and by its gradient at the pixels of each part, [C, P]."""
        # one pixel is as like itself in both networks: not even rounding is left of it
        share = ((counts > 1) / counts.clamp(min=1).square())[..., None, None]
        half = student.shape[1]
        grams = share.new_zeros(*counts.shape, 2 * half, 2 * half)
        kept = []
        for part in self.parts:
            stacked = _stacked(part, student, teacher, counts.dtype)
            part.add_grams(grams, stacked[0])
            kept = [*kept, stacked] if len(self.parts) <= KEPT_BANDS else []
        cross = grams[..., :half, half:]
        products = grams[..., :half, :half] * grams[..., half:, half:] + cross * cross.mT
        mixing = (grams[..., :half, :] + grams[..., half:, :]).roll(half, -1) * share
        read_again = (_stacked(part, student, teacher, counts.dtype) for part in self.parts)
        gradients = (
            _tangent(part.mixed(mixing, stacked), *of_student)
            for part, (stacked, *of_student) in zip(self.parts, kept or read_again, strict=True)
        )
        return (products * share).sum((-2, -1)) / 2, gradients


class _DrawnPairs(NamedTuple):
    """Boxes of one picture whose pairs are drawn."""

    picture: int
    columns: list[int]
    parts: list[_Part]  # a single one
    pairs: Tensor  # int64 [2, boxes, pairs], places among the part's pixels

    def compute(self, student: Tensor, teacher: Tensor, counts: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
        """The loss of each box over its pairs, and its gradient at the part's pixels, [C, P]."""
        stacked, unit, inverse_norm = _stacked(self.parts[0], student, teacher, counts.dtype)
        rows, half = stacked.T.contiguous(), len(unit)  # D and Q of a pixel side by side
        first, second = (rows.index_select(0, side.flatten()) for side in self.pairs)
        error = (first * second.roll(half, 1)).sum(1, keepdim=True) / 2
        gradient = torch.zeros_like(rows[:, :half])
        gradient.index_add_(0, self.pairs[0].flatten(), (second[:, :half] + second[:, half:]).mul_(error))
        gradient.index_add_(0, self.pairs[1].flatten(), (first[:, :half] + first[:, half:]).mul_(error))
        gradients = (_tangent(of_part.T / self.pairs.shape[2], unit, inverse_norm) for of_part in (gradient,))
        return error.view(self.pairs.shape[1:]).square().mean(1), gradients


def _stacked(part: _Part, student: Tensor, teacher: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """D above Q of a part's pixels, [2C, P], zero where the box does not show them; the student's unit and 1 / norm."""
    unit, inverse_norm = normalise(part.read(student).to(dtype))
    target, _ = normalise(part.read(teacher).to(dtype))
    if part.shown is not None:
        unit, target, inverse_norm = unit * part.shown, target * part.shown, inverse_norm * part.shown
    stacked = unit.new_empty(2, *unit.shape)  # D and Q, without the copies of a concatenation
    torch.sub(unit, target, out=stacked[0])
    torch.add(unit, target, out=stacked[1])
    return stacked.flatten(0, 1), unit, inverse_norm


def _tangent(gradient: Tensor, unit: Tensor, inverse_norm: Tensor) -> Tensor:
    """The gradient by the predictions from that by their unit vectors, both [C, P]; written over the latter."""
    along = torch.mul(gradient, unit).sum(0)
    return gradient.addcmul_(unit, along, value=-1).mul_(inverse_norm)


def _terms(
    places: Tensor,
    counts: list[list[int]],
    width: int,
    max_pairs: int | None,
    generators: Sequence[torch.Generator | None],
) -> Iterator[_EveryPair | _DrawnPairs]:
    """The boxes of each picture in paste order, which is the order of the draws; `places` sorted by picture and box.

    Drawn pairs are a term for each box on the CPU, where it fits the cache; elsewhere all boxes of a picture are one.
    """
    pieces = iter(places.split([count for row in counts for count in row]))
    for picture, (row, generator) in enumerate(zip(counts, generators, strict=True)):
        drawn = []
        for column, piece in zip(range(len(row)), pieces, strict=False):
            if max_pairs and len(piece) ** 2 > max_pairs:
                part = _part_of_box(picture, column, piece, width)
                pairs = draw_pairs(len(piece), max_pairs, generator).to(places.device)
                if part.shown is not None:  # from places among the box's pixels to those in its rectangle
                    pairs = part.shown.nonzero().squeeze(1)[pairs]
                drawn.append(_DrawnPairs(picture, [column], [part], pairs[:, None]))
            elif len(piece) > 1 and max_pairs != 0:
                yield _EveryPair(picture, column, list(_bands(_part_of_box(picture, column, piece, width))))
        yield from [_joined(drawn)] if drawn and without_host(places.device) else drawn


def _part_of_box(picture: int, column: int, places: Tensor, width: int) -> _Part:
    """Rectangles are read far faster than lists of places, so a box is one, unless much of it is covered."""
    if without_host(places.device):
        return _Part(picture, column, places, None)
    columns = places % width
    left, right = int(columns.min()), int(columns.max()) + 1
    top, bottom = int(places[0]) // width, int(places[-1]) // width + 1
    area, shown = (bottom - top) * (right - left), None
    if area > 2 * len(places):
        return _Part(picture, column, places, None)
    if area > len(places):
        shown = torch.zeros(area, dtype=torch.bool)
        shown[(places // width - top) * (right - left) + columns - left] = True
    return _Part(picture, column, (slice(top, bottom), slice(left, right)), shown)


def _bands(box: _Part) -> Iterator[_Part]:
    """A box cut into parts of at most `BAND` pixels, or of a row."""
    if isinstance(box.places, Tensor):
        yield from (box._replace(places=piece) for piece in box.places.split(BAND))
        return
    rows, columns = box.places
    wide = columns.stop - columns.start
    step = max(BAND // wide, 1)
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        inside = slice((start - rows.start) * wide, (stop - rows.start) * wide)
        shown = None if box.shown is None else box.shown[inside]
        yield box._replace(places=(slice(start, stop), columns), shown=shown)


def _joined(drawn: list[_DrawnPairs]) -> _DrawnPairs:
    """Boxes of one picture as one term, their pixels one after the other."""
    columns, sizes = [term.columns[0] for term in drawn], [len(term.parts[0].places) for term in drawn]
    places = torch.cat([term.parts[0].places for term in drawn])
    column = torch.tensor(columns).repeat_interleave(torch.tensor(sizes)).to(places.device)
    pairs = torch.cat([term.pairs + start for term, start in zip(drawn, accumulate(sizes, initial=0), strict=False)], 1)
    return _DrawnPairs(drawn[0].picture, columns, [_Part(drawn[0].picture, column, places, None)], pairs)


def without_host(device: torch.device) -> bool:
    """Whether to compute by tiles: a GPU waits for the host at each size that it must tell."""
    return device.type != "cpu"


def tiles_of(
    owner: Tensor, valid: Tensor | None, first_box: int, num_loss_boxes: int
) -> tuple[Tensor, list[_EveryPair]]:
    """The counts of `visible_pixels` and the tiles of each picture, without a number that the host has to know."""
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
    member = (starts >= first) & (starts < first + size)
    column = member.byte().argmax(1).repeat_interleave(TILE, 1)
    parts = (
        _Part(*of_picture) for of_picture in zip(range(len(box)), column, padded, filled, member.float(), strict=True)
    )
    return counts, [_EveryPair(part.picture, slice(None), [part]) for part in parts]


def normalise(vectors: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors along dimension `dim`, and the inverse norms; a vector without a direction gives 0 for both."""
    squared = (vectors * vectors).sum(dim)
    inverse_norm = squared.clamp(min=SMALLEST_SQUARED_NORM).rsqrt() * (squared > SMALLEST_SQUARED_NORM)
    return vectors * inverse_norm.unsqueeze(dim), inverse_norm


def visible_pixels(owner: Tensor, valid: Tensor | None, first_box: int, num_loss_boxes: int) -> tuple[Tensor, Tensor]:
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


def draw_pairs(count: int, max_pairs: int, generator: torch.Generator | None) -> Tensor:
    """Equally likely ordered pairs of a box's `count` pixels, with replacement: int64 [2, max_pairs]."""
    device = generator.device if generator else None
    code = torch.randint(count * count, (max_pairs,), generator=generator, device=device)
    return torch.stack([code // count, code % count])


def _one_per_picture(
    generator: torch.Generator | Sequence[torch.Generator] | None, pictures: int
) -> Sequence[torch.Generator | None]:
    if generator is None or isinstance(generator, torch.Generator):
        return [generator] * pictures
    if len(generator) != pictures:
        raise ValueError(f"{len(generator)} generators for {pictures} pictures: give one, or one per picture")
    return generator


def check_shapes(student: Tensor, teacher: Tensor, owner: Tensor, valid: Tensor | None) -> None:
    """Raises ValueError naming the tensor that is not [B, C, H, W], or [B, H, W] for `owner` and `valid`."""
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(f"student {list(student.shape)} and teacher {list(teacher.shape)} must be one [B, C, H, W]")
    for name, tensor in {"owner": owner, "valid": valid}.items():
        if tensor is not None and tensor.shape != student[:, 0].shape:
            raise ValueError(f"{name} is {list(tensor.shape)}, the predictions are {list(student.shape)}")
