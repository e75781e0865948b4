"""Views of pictures that lie on a device, as `scl_core.data.augment` makes them on the CPU, a whole batch at a time.

The host draws and works out which pixels count how much; the device then reads, adds and multiplies, and tells the host
nothing. Pictures are scaled in Pillow's own whole numbers, so that a view without a change of colors is bitwise the
CPU's; changed colors differ by rounding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scl_core.data.augment import Geometry, Photometric
from scl_core.data.batch import Movable
from scl_core.data.filter_taps import FIXED_POINT_BITS, Axis, axis_of, nearest_pixels, spread
from scl_core.data.images import IGNORE_INDEX, IMAGENET_MEAN, IMAGENET_STD


@dataclass
class Cuts(Movable):
    """How B crops [h, w] are read from pixels [P, 3]: columns first, for J rows of each picture, then rows of those.

    Beyond its picture a crop repeats the border; `rows_inside` and `columns_inside` say where it lies within.
    """

    rows_read: Tensor  # int64 [B, J], the place of each row's first pixel
    columns: Tensor  # int64 [B, K, w], columns in the picture
    column_weights: Tensor  # int32 [B, K, w]
    rows: Tensor  # int64 [B, L, h], rows among all B J that were read
    row_weights: Tensor  # int32 [B, L, h]
    rows_inside: Tensor  # bool [B, h]
    columns_inside: Tensor  # bool [B, w]
    share: Tensor  # float32 [B, 1], 1 / pixels inside

    def inside(self) -> Tensor:
        """Where the crops show their pictures: bool [B, h, w]."""
        return self.rows_inside[:, :, None] & self.columns_inside[:, None]

    def read(self, pixels: Tensor) -> Tensor:
        """The crops, float32 [B, 3, h, w] in 0 .. 1."""
        places = (self.rows_read[:, :, None] + columns[:, None] for columns in self.columns.unbind(1))
        lines = _weighted(pixels, places, self.column_weights[:, :, None, :, None].unbind(1))  # [B, J, w, 3]
        crops = _weighted(
            lines.view(-1, lines.shape[2] * 3), self.rows.unbind(1), self.row_weights[..., None].unbind(1)
        )
        crops = crops.view(*crops.shape[:2], -1, 3).permute(0, 3, 1, 2)
        return crops.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


@dataclass
class ClassCuts(Movable):
    """How B crops of masks are read from classes [P]."""

    rows_read: Tensor  # int64 [B, h], the place of each row's first pixel
    columns: Tensor  # int64 [B, w]

    def read(self, classes: Tensor, inside: Tensor) -> Tensor:
        """The crops, int64 [B, h, w], 255 where they show no picture."""
        places = self.rows_read[:, :, None] + self.columns[:, None]
        return classes.index_select(0, places.flatten()).view(places.shape).long().masked_fill_(~inside, IGNORE_INDEX)


@dataclass
class Colors(Movable):
    """A change of colors and sharpness for each of B crops."""

    matrix: Tensor  # float32 [B, 3, 3]
    luma: Tensor  # float32 [B, 3], times the mean color
    blur: Tensor  # float32 [B, 2 radius + 1]

    def apply(self, crops: Tensor, cuts: Cuts) -> Tensor:
        """Change float32 [B, 3, h, w] in 0 .. 1; the result is in 0 .. 1 again."""
        flat = crops.flatten(2)
        mean = (flat * cuts.inside().flatten(1)[:, None]).sum(2) * cuts.share
        shift = (self.luma * mean).sum(1)[:, None, None]
        mixed = torch.baddbmm(shift, self.matrix, flat).clamp_(0, 1).view_as(crops)
        radius = self.blur.shape[1] // 2
        if radius == 0:
            return mixed
        mixed = _shifted(F.pad(mixed, (0, 0, radius, radius), mode="replicate"), self.blur, dim=2)
        return _shifted(F.pad(mixed, (radius, radius, 0, 0), mode="replicate"), self.blur, dim=3)


class Finish:
    """Normalises crops and makes their padding 0; holds its numbers on the device."""

    def __init__(self, device: torch.device):
        self.mean, self.deviation = (
            torch.tensor(values).view(3, 1, 1).to(device) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def __call__(self, crops: Tensor, inside: Tensor) -> Tensor:
        """From float32 [B, 3, h, w] in 0 .. 1 to the network's input of that shape."""
        return (crops - self.mean).div_(self.deviation).masked_fill_(~inside[:, None], 0.0)


def plan_cuts(geometries: Sequence[Geometry], sizes: Sequence[tuple[int, int]], starts: Sequence[int]) -> Cuts:
    """How to read crops of pictures of `sizes` (height, width) whose first pixels are at `starts`."""
    downs, acrosses = zip(*map(_axes, geometries, sizes), strict=True)
    lows = [int(down.first.min()) for down in downs]
    read = max(int(down.first.max()) - low + down.weights.shape[1] for down, low in zip(downs, lows, strict=True))
    rows_read = [
        start + (low + np.arange(read)).clip(max=height - 1) * width
        for start, low, (height, width) in zip(starts, lows, sizes, strict=True)
    ]
    among_read = [down.first - low + number * read for number, (down, low) in enumerate(zip(downs, lows, strict=True))]
    column_places = _taps([across.first for across in acrosses], acrosses)
    return Cuts(
        _stacked(rows_read),
        column_places.minimum(torch.tensor([[[width - 1]] for _, width in sizes])),
        _weights(acrosses),
        _taps(among_read, downs).clamp(max=len(downs) * read - 1),
        _weights(downs),
        _stacked([down.inside for down in downs]),
        _stacked([across.inside for across in acrosses]),
        torch.tensor([[1 / (geometry.rows * geometry.columns)] for geometry in geometries]),
    )


def plan_classes(geometries: Sequence[Geometry], sizes: Sequence[tuple[int, int]], starts: Sequence[int]) -> ClassCuts:
    """How to read crops of masks: the pixels are those that Pillow takes."""
    rows, columns = [], []
    for geometry, (height, width), start in zip(geometries, sizes, starts, strict=True):
        left, top, right, bottom = geometry.box((height, width))
        down, across = spread(geometry.rows, geometry.down, geometry.height), _across(geometry)
        rows.append(start + nearest_pixels(height, top, bottom, geometry.rows)[down[0]] * width)
        columns.append(nearest_pixels(width, left, right, geometry.columns)[across[0]])
    return ClassCuts(_stacked(rows), _stacked(columns))


def plan_colors(changes: Sequence[Photometric]) -> Colors:
    """The changes of B crops as tensors; a shorter blur gets zeros at its ends, which add nothing."""
    blurs = [change.blur() for change in changes]
    longest = max(map(len, blurs))
    sides = [[0.0] * ((longest - len(blur)) // 2) for blur in blurs]
    return Colors(
        torch.stack([change.matrix() for change in changes]),
        torch.stack([change.luma() for change in changes]),
        torch.tensor([side + blur + side for side, blur in zip(sides, blurs, strict=True)]),
    )


def _axes(geometry: Geometry, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """The rows and the columns of a crop."""
    left, top, right, bottom = geometry.box(size)
    down = axis_of(size[0], top, bottom, geometry.rows, spread(geometry.rows, geometry.down, geometry.height))
    return down, axis_of(size[1], left, right, geometry.columns, _across(geometry))


def _across(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    return spread(geometry.columns, geometry.sides[0], geometry.width, geometry.flip)


def _taps(firsts: Sequence[np.ndarray], axes: Sequence[Axis]) -> Tensor:
    """The places of the taps of B axes, int64 [B, K, n]."""
    most = max(axis.weights.shape[1] for axis in axes)
    return _stacked([first + np.arange(most)[:, None] for first in firsts])


def _weights(axes: Sequence[Axis]) -> Tensor:
    """The weights of the taps of B axes, int32 [B, K, n], 0 where an axis has fewer."""
    most = max(axis.weights.shape[1] for axis in axes)
    return _stacked([np.pad(axis.weights, ((0, 0), (0, most - axis.weights.shape[1]))).T for axis in axes])


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _weighted(values: Tensor, places: Iterable[Tensor], weights: Iterable[Tensor]) -> Tensor:
    """Bytes: the sum over the taps of values [N, M] at each tap's places [B, ...], times its weights [B, ..., 1]."""
    total = 1 << (FIXED_POINT_BITS - 1)
    for place, weight in zip(places, weights, strict=True):
        total = total + values.index_select(0, place.flatten()).view(*place.shape, values.shape[1]) * weight
    return (total >> FIXED_POINT_BITS).clamp_(0, 255).to(torch.uint8)


def _shifted(padded: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Convolve maps [B, 3, h, w] along `dim`, each picture with its own weights [B, n]."""
    length = padded.shape[dim] - weights.shape[1] + 1
    weights = weights[..., None, None, None]
    total = padded.narrow(dim, 0, length) * weights[:, 0]
    for offset in range(1, weights.shape[1]):
        total.addcmul_(padded.narrow(dim, offset, length), weights[:, offset])
    return total
