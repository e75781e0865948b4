"""The relatives of the structured loss as a GPU takes them: by tiles of equal size, without a number for the host.

`scl_core.losses.structured_family` has the definitions, and on a CPU computes them box by box. Here every box of a
picture is cut into tiles, and the Gram matrices of the tiles are added up by a product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scl_core.losses.structured import normalise, tiles_of


def weighted_by_tiles(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    valid: Tensor | None,
    weights: Tensor | None,
    centred: bool,
) -> Tensor:
    """What `weighted_per_box` returns: [B, boxes]; predictions in the type to compute in."""
    values = []
    for picture, pixels in enumerate(_pixels(owner, valid, num_boxes - num_loss_boxes, num_loss_boxes)):
        unit, target = pixels.unit(student[picture]), pixels.unit(teacher[picture])
        shown = pixels.shown.to(unit.dtype)
        weight = shown if weights is None else shown * pixels.read(weights[picture, None].detach())[0]
        total = pixels.sums(weight[None])[:, 0]
        share = torch.where(total > 0, 1 / total, 0.0)
        if centred:
            unit, target = (
                side - pixels.spread(pixels.sums(side * weight) * share[:, None]) for side in (unit, target)
            )
        unit, target = unit * weight.sqrt(), target * weight.sqrt()
        values.append(_squared_distances(pixels, unit, target) * share.square())
    return torch.stack(values) if values else student.new_zeros(0, num_loss_boxes)


def class_pairs_by_tiles(
    student: Tensor,
    teacher: Tensor,
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    labels: Tensor,
    num_classes: int,
    valid: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `class_pair_matrix` returns, [B, boxes, C, C]; the pixels of each class in each box, and those of each box.

    A set of pixels is here a class in a box.
    """
    first, sets = num_boxes - num_loss_boxes, num_loss_boxes * num_classes
    known = (labels >= 0) & (labels < num_classes) & (owner >= first)
    of_class = torch.where(known, (owner - first) * num_classes + labels, -1)
    box = torch.where((owner >= first) if valid is None else (owner >= first) & valid, owner - first, num_loss_boxes)
    visible = torch.zeros(len(owner), num_loss_boxes + 1, dtype=torch.long, device=owner.device)
    visible = visible.scatter_add_(1, box.flatten(1), torch.ones_like(box).flatten(1))[:, :-1]
    matrices, counts = [], []
    for picture, pixels in enumerate(_pixels(of_class, valid, 0, sets)):
        unit, target = pixels.unit(student[picture]), pixels.unit(teacher[picture])
        grams = pixels.grams(torch.cat([unit - target, unit + target]))
        grams, half = grams.unflatten(0, (num_loss_boxes, num_classes)), len(unit)
        matrices.append(between(grams[..., :half, :half], grams[..., half:, half:], grams[..., :half, half:]))
        counts.append(pixels.counts)
    matrix = torch.stack(matrices) / visible.clamp(min=1).square()[..., None, None]
    return matrix, torch.stack(counts).unflatten(1, (num_loss_boxes, num_classes)), visible


def between(dd: Tensor, qq: Tensor, dq: Tensor) -> Tensor:
    """The squared differences of similarities, summed over the pairs between any two of N sets: [..., N, N].

    `dd`, `qq`, `dq`: Gram matrices [..., N, C, C] of D with itself, Q with itself and D with Q.
    """
    across = dd.flatten(-2) @ qq.flatten(-2).mT
    return (across + across.mT + 2 * dq.flatten(-2) @ dq.mT.flatten(-2).mT) / 4


class _Pixels(NamedTuple):
    """The pixels of a picture's sets, P of them with those that fill up the tiles."""

    places: Tensor  # int64 [P], in the flattened picture
    shown: Tensor  # bool [P], False where a tile is filled up
    member: Tensor  # float [sets, tiles], 1 where the tile belongs to the set
    counts: Tensor  # int64 [sets]

    def read(self, maps: Tensor) -> Tensor:
        """The pixels of maps [C, H, W]: [C, P]."""
        return maps.flatten(1).gather(1, self.places.expand(len(maps), -1))

    def unit(self, maps: Tensor) -> Tensor:
        """The normalised vectors of maps [C, H, W], 0 where nothing is shown: [C, P]."""
        return normalise(self.read(maps))[0] * self.shown

    def cut(self, values: Tensor) -> Tensor:
        """Values [C, P] tile by tile: [tiles, C, pixels of a tile]."""
        return values.unflatten(1, (self.member.shape[1], -1)).transpose(0, 1)

    def sums(self, values: Tensor) -> Tensor:
        """The sums of values [C, P] over each set: [sets, C]."""
        return self.member.to(values.dtype) @ self.cut(values).sum(2)

    def spread(self, values: Tensor) -> Tensor:
        """Each set's values [sets, C] at its pixels: [C, P], 0 where nothing is shown."""
        of_tile = (self.member.to(values.dtype).T @ values).T
        return of_tile.repeat_interleave(len(self.shown) // of_tile.shape[1], 1) * self.shown

    def grams(self, vectors: Tensor) -> Tensor:
        """The Gram matrices of vectors [C, P] over each set: [sets, C, C]."""
        tiles = self.cut(vectors)
        return (self.member.to(vectors.dtype) @ (tiles @ tiles.mT).flatten(1)).unflatten(1, 2 * vectors.shape[:1])


def _pixels(owner: Tensor, valid: Tensor | None, first: int, sets: int) -> Iterator[_Pixels]:
    """The pixels of the sets `first` .. `first` + `sets` - 1 of owner [B, H, W], picture by picture."""
    counts, terms = tiles_of(owner, valid, first, sets)
    for of_picture, term in zip(counts, terms, strict=True):
        (part,) = term.parts
        yield _Pixels(part.places, part.shown, part.member, of_picture[:-1])


def _squared_distances(pixels: _Pixels, unit: Tensor, target: Tensor) -> Tensor:
    """The sum of (s_i.s_j - t_i.t_j)^2 over all pairs of each set's columns of [C, P] and [E, P]: [sets]."""
    half = len(unit)
    if half == len(target):
        grams = pixels.grams(torch.cat([unit - target, unit + target]))
        cross = grams[:, :half, half:]
        return (grams[:, :half, :half] * grams[:, half:, half:] + cross * cross.mT).sum((1, 2)) / 2
    squares = pixels.grams(torch.cat([unit, target])).square()
    return (
        squares[:, :half, :half].sum((1, 2))
        - 2 * squares[:, :half, half:].sum((1, 2))
        + (squares[:, half:, half:].sum((1, 2)))
    )
