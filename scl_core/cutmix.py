"""CutMix for segmentation: draw boxes, say which box each pixel shows, and mix two pictures by it."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import log, sqrt

import torch
from torch import Tensor

AREA_MODES = ("union", "sum")
NARROWEST = 0.1  # the least ratio of a box's sides, each taken as a share of the picture's
COVERAGE_GRID = 48
SIDES = ("log", "width", "ratio")
RATIOS = (0.3, 1 / 0.3)  # least and largest height over width, each as a share of the picture's, with sides "ratio"
TRIES = 64


def sample_boxes(
    height: int,
    width: int,
    num_boxes: int = 32,
    total_area: float = 0.5,
    area_mode: str = "union",
    generator: torch.Generator | None = None,
    smallest_area: float | None = None,
    sides: str = "log",
) -> Tensor:
    """Draw `num_boxes` boxes inside a picture of `height` x `width` pixels (Kim et al. 2020, section 3.1).

    Returns int64 [N, 4] in paste order: top, left, height, width, in pixels, each side at least 1. All boxes have the
    same target area; the ratio of their sides is log-uniform, their place uniform. `total_area`, between 0 and 1, is
    the share of the picture that the boxes cover on average ("union"), or what their areas add up to ("sum", which
    covers less, since boxes overlap). With `smallest_area` each box takes the N-th part of a share of its own, uniform
    from there to `total_area`, as in the masks of French et al. 2020; `area_mode` must be "sum" then.
    `sides` other than "log" are for one box: see `_one_box`.
    Raises ValueError for a number out of its range or an unknown `area_mode` or `sides`.
    """
    if height < 1 or width < 1 or num_boxes < 0:
        raise ValueError(f"cannot draw {num_boxes} boxes in a picture of {height} x {width} pixels")
    if not 0.0 <= total_area <= 1.0:
        raise ValueError(f"total_area is {total_area}; it must lie between 0 and 1")
    if area_mode not in AREA_MODES:
        raise ValueError(f"area_mode is {area_mode!r}; it must be one of {', '.join(AREA_MODES)}")
    if smallest_area is not None and not (0.0 <= smallest_area <= total_area and area_mode == "sum"):
        raise ValueError(f"smallest_area is {smallest_area}; it takes area_mode sum, and 0 to {total_area}")
    if sides not in SIDES or (sides != "log" and (num_boxes > 1 or smallest_area is not None)):
        raise ValueError(f"sides is {sides!r}; of {', '.join(SIDES)} all but log take one box of one area")
    if sides != "log" and num_boxes:
        return _one_box(height, width, total_area, sides, generator)
    device = generator.device if generator is not None else None
    ratio, top, left = torch.rand(3, num_boxes, generator=generator, dtype=torch.float64, device=device)
    if num_boxes == 0:
        return torch.zeros(0, 4, dtype=torch.int64, device=device)
    share = ratio.new_tensor(total_area)
    box_area = ratio.new_tensor(_share_of_one_box(num_boxes, total_area, area_mode))
    if smallest_area is not None:
        place = torch.rand(num_boxes, generator=generator, dtype=torch.float64, device=device)
        share = smallest_area + place * (total_area - smallest_area)
        box_area = share / num_boxes
    tall = (box_area.sqrt() * share.clamp(min=NARROWEST) ** (ratio - 0.5) * height).round().clamp(1, height)
    wide = (box_area * height * width / tall).round().clamp(1, width)
    top = (top * (height - tall + 1)).floor()
    left = (left * (width - wide + 1)).floor()
    return torch.stack([top, left, tall, wide], 1).long()


def _one_box(height: int, width: int, area: float, sides: str, generator: torch.Generator | None) -> Tensor:
    """One box of this share of the picture, int64 [1, 4], by the laws of two published codes.

    "width" (U2PL, PCR): the width is uniform from that share of the picture's to all of it, the place uniform.
    "ratio" (UniMatch): height over width is uniform in `RATIOS`, a corner uniform in the picture; the first of `TRIES`
    that fits, so that shapes which fit at more places are more frequent. The last is moved in where none does.
    """
    device = generator.device if generator is not None else None
    draws = torch.rand(TRIES if sides == "ratio" else 1, 3, generator=generator, dtype=torch.float64, device=device)
    if sides == "width":
        wide = ((area + draws[:, 0] * (1 - area)) * width).round().clamp(1, width)
        tall = (area * height * width / wide).round().clamp(1, height)
        top, left = (draws[:, 1] * (height - tall + 1)).floor(), (draws[:, 2] * (width - wide + 1)).floor()
        return torch.stack([top, left, tall, wide], 1).long()
    ratio = RATIOS[0] + draws[:, 0] * (RATIOS[1] - RATIOS[0])
    tall = ((area * ratio).sqrt() * height).floor().clamp(1, height)
    wide = ((area / ratio).sqrt() * width).floor().clamp(1, width)
    top, left = (draws[:, 1] * height).floor(), (draws[:, 2] * width).floor()
    fits = (top + tall <= height) & (left + wide <= width)
    first = int(fits.long().argmax()) if fits.any() else TRIES - 1
    top, left = torch.minimum(top, height - tall), torch.minimum(left, width - wide)
    return torch.stack([top, left, tall, wide], 1)[first : first + 1].long()


def boxes_of(settings, height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """`sample_boxes` by a method's settings: `num_boxes`, `total_area`, `area_mode` and what else it has."""
    own = (settings.num_boxes, settings.total_area, settings.area_mode)
    smallest, sides = getattr(settings, "smallest_box_area", None), getattr(settings, "box_sides", "log")
    return sample_boxes(height, width, *own, generator, smallest, sides)


def box_owner(boxes: Tensor, height: int, width: int) -> Tensor:
    """Say which box each pixel shows: int64 [H, W], the number of the last box pasted over it, -1 where there is none.

    `boxes`: int64 [N, 4] as `sample_boxes` gives them. Raises ValueError for a box that leaves the picture.
    """
    owner = torch.full((height, width), -1, dtype=torch.int64, device=boxes.device)
    for number, place in enumerate(_places(boxes, height, width)):
        owner[place] = number
    return owner


def shown_pixels(boxes: Tensor, height: int, width: int) -> Tensor:
    """How many pixels of `box_owner` show no box, and each of the boxes: int64 [1 + N], without a map of the pixels.

    Between two neighbouring edges of boxes all rows are alike, and all columns, so one of each is looked at.
    """
    ends = boxes[:, :2] + boxes[:, 2:]
    lines = [torch.cat([boxes[:, k], ends[:, k], torch.tensor([0, size])]).unique() for k, size in
             enumerate((height, width))]  # fmt: skip
    first, last = (torch.stack([torch.searchsorted(line, side[:, k].contiguous()) for k, line in enumerate(lines)], 1)
                   for side in (boxes, ends))  # fmt: skip
    rows, columns = (line.diff() for line in lines)
    owner = box_owner(torch.cat([first, last - first], 1), len(rows), len(columns))
    pixels = torch.outer(rows, columns).flatten()
    return torch.zeros(len(boxes) + 1, dtype=torch.int64).scatter_add_(0, owner.flatten() + 1, pixels)


def toggled_owner(boxes: Tensor, height: int, width: int) -> Tensor:
    """Let each box toggle what its pixels show (French et al. 2020): int64 [H, W] for `cutmix`, 0 or -1.

    A pixel shows the second picture, 0, where an odd number of `boxes` lies over it, and the first, -1, elsewhere: two
    boxes show nothing where they overlap. So no pixel belongs to one of several boxes. `boxes` and the ValueError as
    in `box_owner`.
    """
    shown = torch.zeros(height, width, dtype=torch.bool, device=boxes.device)
    for place in _places(boxes, height, width):
        shown[place] ^= True
    return shown.long() - 1


def cutmix(a: Tensor, b: Tensor, owner: Tensor) -> Tensor:
    """Paste the boxes of `b` over `a`: `b` where `owner` >= 0, else `a`.

    `a`, `b`: one shape, [..., H, W]. `owner`: [H, W] for all leading dimensions, or [B, H, W] for `a` of [B, H, W] or
    [B, C, H, W]. Raises ValueError for shapes that do not fit.
    """
    batched = owner.dim() == 3 and a.dim() in (3, 4) and len(owner) == len(a)
    if a.shape != b.shape or a.shape[-2:] != owner.shape[-2:] or not (batched or owner.dim() == 2):
        raise ValueError(f"cannot mix {list(a.shape)} and {list(b.shape)} by an owner of {list(owner.shape)}")
    pasted = owner >= 0
    if batched and a.dim() == 4:
        pasted = pasted.unsqueeze(1)
    return torch.where(pasted, b, a)


def shuffled_owner(owner: Tensor, valid: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """`owner` with its valid pixels in a random order: sets of scattered pixels, each as large as its box was.

    `owner`: int64 [B, H, W]; `valid`: bool [B, H, W], the pixels among which the numbers move; -1 outside.
    `generators`: one per picture, on the CPU.
    """
    pixels = owner[0].numel()
    keys = torch.stack([torch.randperm(pixels, generator=generator) for generator in generators]).to(owner.device)
    hidden = ~valid.flatten(1)
    # both orders list a picture's valid pixels first
    places, numbers = (keys + pixels * hidden).argsort(1), hidden.long().argsort(dim=1, stable=True)
    moved = torch.empty_like(owner).flatten(1).scatter_(1, places, owner.flatten(1).gather(1, numbers))
    return moved.masked_fill(hidden, -1).view_as(owner)


def at_cells(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The values of [..., H, W] (labels, flags, box numbers, vectors) at the pixels nearest to a `size` grid's cells.

    Cells lie as `models.layers.resize` puts them: the corner cells on the corner pixels. A finer grid repeats values.
    """
    if maps.shape[-2:] == size:
        return maps
    for dim, cells in zip((-2, -1), size, strict=True):
        maps = maps.index_select(dim, nearest_places(maps.shape[dim], cells).to(maps.device))
    return maps


def nearest_places(extent: int, cells: int) -> Tensor:
    """The pixel, of `extent` in a line, nearest to each of `cells` cells whose ends lie on its ends: int64 [cells]."""
    return torch.linspace(0, extent - 1, cells, dtype=torch.float64).round().long()


def _places(boxes: Tensor, height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of each box, in paste order. Raises ValueError for one that leaves the picture."""
    for number, (top, left, tall, wide) in enumerate(boxes.tolist()):
        if top < 0 or left < 0 or tall < 1 or wide < 1 or top + tall > height or left + wide > width:
            raise ValueError(f"box {number}, {[top, left, tall, wide]}, is not inside {height} x {width} pixels")
        yield slice(top, top + tall), slice(left, left + wide)


@lru_cache(maxsize=64)
def _share_of_one_box(num_boxes: int, total_area: float, area_mode: str) -> float:
    """The share of the picture that one box takes, such that all of them take `total_area` in the given sense."""
    low, high = total_area / num_boxes, total_area
    if area_mode == "sum" or num_boxes == 1:
        return low
    for _ in range(30):
        middle = (low + high) / 2
        if _mean_coverage(middle, num_boxes, max(total_area, NARROWEST)) < total_area:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _mean_coverage(box_area: float, num_boxes: int, narrowest: float) -> float:
    """The expected share that `num_boxes` independent boxes cover.

    A pixel is missed by all of them with (1 - q)^N. The chance q that one box covers it is `box_area` on average, but
    falls towards the border, because boxes stay inside; so it is computed on a grid.
    """
    grid = (torch.arange(COVERAGE_GRID, dtype=torch.float64) + 0.5) / COVERAGE_GRID
    ratios = torch.linspace(-0.5, 0.5, 33, dtype=torch.float64) * log(narrowest)
    tall = (sqrt(box_area) * ratios.exp()).clamp(max=1.0)
    down = _interval_coverage(tall, grid)
    across = _interval_coverage((box_area / tall).clamp(max=1.0), grid)
    weights = torch.full((33,), 1 / 32, dtype=torch.float64)
    weights[[0, -1]] /= 2
    chance = torch.einsum("r,ry,rx->yx", weights, down, across)
    return float((1 - (1 - chance).clamp(min=0) ** num_boxes).mean())


def _interval_coverage(length: Tensor, place: Tensor) -> Tensor:
    """The chance that an interval of `length` [R], placed uniformly inside [0, 1], covers `place` [P]: [R, P]."""
    length, room = length[:, None], (1 - length)[:, None].clamp(min=1e-9)
    starts = torch.minimum(place, room) - (place - length).clamp(min=0)
    return torch.where(length >= 1 - 1e-9, 1.0, starts / room)
