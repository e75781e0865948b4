"""Which pixels Pillow's resize reads along one axis, and with which weights, for a crop with its padding."""

from typing import NamedTuple

import numpy as np
from PIL import Image

FIXED_POINT_BITS = 22  # Pillow's weights are multiples of 2^-22


class Axis(NamedTuple):
    """For each of n places of a crop: K pixels in a row, their weights, and whether the place shows the picture."""

    first: np.ndarray  # int64 [n]
    weights: np.ndarray  # int32 [n, K], in multiples of 2^-22
    inside: np.ndarray  # bool [n]


def axis_of(extent: int, low: float, high: float, count: int, shown: tuple[np.ndarray, np.ndarray]) -> Axis:
    """`count` pixels made of `low` .. `high` of an axis of `extent`, laid in a crop as `spread` says."""
    first, weights = bilinear_taps(extent, low, high, count)
    place, inside = shown
    return Axis(first[place], weights[place], inside)


def spread(count: int, before: int, places: int, mirrored: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Which of `count` pixels each of the `places` of a crop shows, the border's beyond them, and whether it does."""
    place = np.arange(places) - before
    inside = (place >= 0) & (place < count)
    place = place.clip(0, count - 1)
    return count - 1 - place if mirrored else place, inside


def bilinear_taps(extent: int, low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pillow's antialiased bilinear filter from `low` .. `high` to `count` pixels: first pixels and weights [count, K].

    The same arithmetic as `precompute_coeffs` of Pillow's Resample.c: bounds in float32, weights in float64, then
    rounded. What lies beyond `extent` has the weight 0.
    """
    low, high = np.float32(low), np.float32(high)
    scale = float(high - low) / count
    reach = max(scale, 1.0)
    center = float(low) + (np.arange(count) + 0.5) * scale
    first = (center - reach + 0.5).astype(np.int64).clip(min=0)
    last = (center + reach + 0.5).astype(np.int64).clip(max=extent)
    place = first[:, None] + np.arange((last - first).max())
    weights = 1.0 - np.abs((place - center[:, None] + 0.5) * (1.0 / reach))
    weights = np.where(place < last[:, None], weights.clip(min=0.0), 0.0)
    weights /= weights.cumsum(1)[:, -1:]  # one after the other, as Pillow adds them
    return first, (0.5 + weights * (1 << FIXED_POINT_BITS)).astype(np.int32)


def nearest_pixels(extent: int, low: float, high: float, count: int) -> np.ndarray:
    """The pixel of an axis that Pillow's nearest resize takes for each of `count`: int64 [count]; asked of Pillow."""
    numbers = Image.fromarray(np.arange(extent, dtype=np.int32)[None])
    return np.array(numbers.resize((count, 1), Image.Resampling.NEAREST, box=(low, 0, high, 1)))[0].astype(np.int64)
