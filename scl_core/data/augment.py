"""Random views of a picture: one geometry for picture, label and all views, and a photometric change for each view.

Every draw comes from the sample's own generator, and the number of draws does not depend on the settings.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from scl_core.data.images import IGNORE_INDEX, normalise, to_unit
from scl_core.errors import UserError
from scl_core.settings import setting

LUMA = (0.299, 0.587, 0.114)
_RGB_TO_YIQ = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_YIQ_TO_RGB = torch.linalg.inv(_RGB_TO_YIQ)
_SMALLEST_SIGMA = 0.15
SMALLEST_SCALE, LARGEST_SCALE = 0.05, 20.0


@dataclass
class AugmentConfig:
    """How pictures are varied in training."""

    scale_min: float = setting(0.5, "Smallest random scale of a picture.", low=SMALLEST_SCALE, high=LARGEST_SCALE)
    scale_max: float = setting(2.0, "Largest random scale of a picture.", low=SMALLEST_SCALE, high=LARGEST_SCALE)
    scales: str | None = setting(
        None, "The scales that are drawn from, as 0.5,0.75,1; empty = any from scale_min to scale_max."
    )
    crop_height: int | None = setting(None, "Height of the training crop in pixels; none: the input height.", low=1)
    crop_width: int | None = setting(None, "Width of the training crop in pixels; none: the input width.", low=1)
    flip: float = setting(0.5, "Probability of a horizontal flip.", low=0.0, high=1.0)
    jitter: float = setting(0.25, "Brightness, contrast and saturation change by up to this share.", low=0.0, high=1.0)
    jitter_probability: float = setting(
        1.0, "Probability that brightness, contrast, saturation and hue change at all.", low=0.0, high=1.0
    )
    hue: float = setting(0.1, "Hue turns by up to this share of the full circle.", low=0.0, high=0.5)
    blur: float = setting(0.5, "Probability of a Gaussian blur.", low=0.0, high=1.0)
    blur_sigma_max: float = setting(1.3, "Largest standard deviation of the blur in pixels.", low=0.15, high=20.0)
    gray: float = setting(0.0, "Probability that the colors are removed.", low=0.0, high=1.0)
    class_uniform: float = setting(
        0.0, "Share of the labeled crops that contain a class drawn so that all classes come alike.", low=0.0, high=1.0
    )
    class_uniform_tile: int = setting(
        1024, "Side of the tiles of which each class has one place for such crops, in pixels at input size.", low=16
    )
    photometric_labeled: bool = setting(True, "Change colors and blur of labeled pictures too.")
    teacher_photometric: str = setting(
        "clean", "What the teacher sees: the clean crop, or the same picture as the student.", choices=("clean", "same")
    )

    def __post_init__(self) -> None:
        if self.scale_min > self.scale_max:
            raise UserError(f"augment.scale_min {self.scale_min} is larger than augment.scale_max {self.scale_max}")
        scale_list(self.scales)

    def scale(self, draw: float) -> float:
        """The scale for a draw from 0 to 1, uniform over the range or over the list."""
        if self.scales is None:
            return self.scale_min + draw * (self.scale_max - self.scale_min)
        listed = scale_list(self.scales)
        return listed[min(int(draw * len(listed)), len(listed) - 1)]


@cache
def scale_list(text: str | None) -> tuple[float, ...]:
    """The numbers of `augment.scales`. Raises `UserError` for anything but positive numbers between commas."""
    if text is None:
        return ()
    try:
        listed = tuple(float(word) for word in text.split(","))
    except ValueError:
        listed = ()
    if not listed or not all(SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in listed):
        raise UserError(
            f"augment.scales {text!r}: give numbers from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g} with commas between "
            "them, as 0.5,0.75,1"
        )
    return listed


@dataclass(frozen=True)
class Geometry:
    """A random scale, crop and flip of a picture of H x W pixels.

    The picture is scaled to (scaled_height, scaled_width); rows `top` .. and columns `left` .. of it, `rows` x
    `columns` pixels, land at (`down`, `right`) of a crop of (`height`, `width`); the rest of the crop is padding.
    """

    scaled_height: int
    scaled_width: int
    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int
    down: int
    right: int
    flip: bool

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is taken from a picture of `size` (height, width), in its own pixels."""
        scale_y, scale_x = size[0] / self.scaled_height, size[1] / self.scaled_width
        return (
            self.left * scale_x,
            self.top * scale_y,
            min((self.left + self.columns) * scale_x, size[1]),
            min((self.top + self.rows) * scale_y, size[0]),
        )

    @property
    def sides(self) -> tuple[int, int]:
        """Columns of padding to the left and to the right, after the flip."""
        sides = (self.right, self.width - self.right - self.columns)
        return sides[::-1] if self.flip else sides

    def cut(self, array: np.ndarray, how: Image.Resampling) -> np.ndarray:
        """Scale, cut and flip uint8 [H, W] or [H, W, 3] to [rows, columns(, 3)], computing no pixel beyond the cut."""
        cut = Image.fromarray(array).resize((self.columns, self.rows), how, box=self.box(array.shape[:2]))
        return np.array(cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else cut)

    def padded(self, part: Tensor, fill: float) -> Tensor:
        """Place [..., rows, columns] in the crop: [..., height, width], filled with `fill` elsewhere."""
        return F.pad(part, (*self.sides, self.down, self.height - self.down - self.rows), value=fill)

    def image(self, image: np.ndarray) -> Tensor:
        """Cut a picture uint8 [H, W, 3]: float32 [3, rows, columns] in 0 .. 1."""
        return to_unit(self.cut(image, Image.Resampling.BILINEAR))

    def label(self, label: np.ndarray) -> Tensor:
        """Cut and pad class indices uint8 [H, W]: int64 [height, width], 255 on padding."""
        return self.padded(torch.from_numpy(self.cut(label, Image.Resampling.NEAREST)).long(), IGNORE_INDEX)

    def valid(self) -> Tensor:
        """Return bool [height, width], False on padding."""
        return self.padded(torch.ones(self.rows, self.columns, dtype=torch.bool), False)


@dataclass(frozen=True)
class Photometric:
    """A change of colors and sharpness: factors around 1, hue as a share of the circle, sigma in pixels (0: none)."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    sigma: float

    def apply(self, image: Tensor) -> Tensor:
        """Change float32 [3, H, W] in 0 .. 1; the result is in 0 .. 1 again."""
        return _blurred(self._recolored(image), self.blur())

    def without_jitter(self) -> "Photometric":
        """Brightness, contrast and hue as they were, colors kept or removed."""
        return replace(self, brightness=1.0, contrast=1.0, saturation=1.0 if self.saturation else 0.0, hue=0.0)

    def matrix(self) -> Tensor:
        """Brightness, contrast, saturation and hue as one matrix [3, 3]."""
        if self._keeps_colors:
            return torch.eye(3)
        return self.contrast * (self.brightness * _hue_and_saturation(self.hue, self.saturation))

    def luma(self) -> Tensor:
        """What is added times the picture's mean color, [3]: contrast stretches around the mean luma."""
        return torch.tensor(LUMA) * (self.brightness * (1 - self.contrast))

    def blur(self) -> list[float]:
        """The blur's weights along an axis, from -radius to radius; a single 1 for none."""
        if self.sigma <= 0:
            return [1.0]
        radius = max(1, math.ceil(3 * self.sigma))
        weights = [math.exp(-0.5 * (offset / self.sigma) ** 2) for offset in range(-radius, radius + 1)]
        return [weight / sum(weights) for weight in weights]

    @property
    def _keeps_colors(self) -> bool:
        return (self.brightness, self.contrast, self.saturation, self.hue) == (1.0, 1.0, 1.0, 0.0)

    def _recolored(self, image: Tensor) -> Tensor:
        if self._keeps_colors:
            return image
        mean_luma = self.brightness * float(torch.tensor(LUMA) @ image.mean((1, 2)))
        mixed = self.matrix() @ image.reshape(3, -1)
        return mixed.add_((1 - self.contrast) * mean_luma).clamp_(0, 1).view_as(image)


def draw_geometry(
    config: AugmentConfig,
    size: tuple[int, int],
    crop: tuple[int, int],
    generator: torch.Generator,
    focus: tuple[int, int] | None = None,
) -> Geometry:
    """Draw scale, place and flip for a picture of `size` and a crop of `crop`, both (height, width). Four draws.

    Where the scaled picture is smaller than the crop it lies at a random place in it. The crop contains `focus`, a
    (row, column) of the picture, where one is given; it may lie anywhere in the crop.
    """
    scale, vertical, horizontal, flip = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    factor = config.scale(scale)
    scaled = [max(1, round(extent * factor)) for extent in size]
    inside = [None, None]
    if focus is not None:
        inside = [min(int((f + 0.5) * s / e), s - 1) for f, s, e in zip(focus, scaled, size, strict=True)]
    top, rows, down = _place(scaled[0], crop[0], vertical, inside[0])
    left, columns, right = _place(scaled[1], crop[1], horizontal, inside[1])
    return Geometry(*scaled, *crop, top, left, rows, columns, down, right, flip < config.flip)


def draw_photometric(config: AugmentConfig, generator: torch.Generator) -> Photometric:
    """Draw one view's change of colors and sharpness. Seven draws."""
    draws = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    brightness, contrast, saturation = (1 + config.jitter * (2 * draw - 1) for draw in draws[:3])
    hue = config.hue * (2 * draws[3] - 1)
    sigma = _SMALLEST_SIGMA + draws[6] * (config.blur_sigma_max - _SMALLEST_SIGMA)
    return Photometric(
        brightness,
        contrast,
        0.0 if draws[4] < config.gray else saturation,
        hue,
        sigma if draws[5] < config.blur else 0.0,
    )


def jittered_at_times(
    changes: list[Photometric], config: AugmentConfig, generator: torch.Generator
) -> list[Photometric]:
    """The changes, some without their jitter of colors, a draw for each; those that remove the colors still do."""
    draws = torch.rand(len(changes), generator=generator, dtype=torch.float64).tolist()
    return [
        change if draw < config.jitter_probability else change.without_jitter()
        for change, draw in zip(changes, draws, strict=True)
    ]


def draw_labeled_change(config: AugmentConfig, generator: torch.Generator) -> Photometric | None:
    """The change of a labeled picture, None where those keep their colors; drawn after its geometry."""
    (change,) = jittered_at_times([draw_photometric(config, generator)], config, generator)
    return change if config.photometric_labeled else None


def draw_strong_changes(config: AugmentConfig, generator: torch.Generator, num_strong: int) -> list[Photometric]:
    """The changes of the student's views of an unlabeled picture; drawn after its geometry."""
    drawn = [draw_photometric(config, generator) for _ in range(num_strong)]
    return jittered_at_times(drawn, config, generator)


def labeled_sample(
    image: np.ndarray,
    label: np.ndarray,
    config: AugmentConfig,
    crop: tuple[int, int],
    generator: torch.Generator,
    focus: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Vary a labeled picture, uint8 [H, W, 3] and [H, W]: float32 [3, h, w] normalised, int64 [h, w], padding 255.

    The crop contains the pixel `focus` (row, column) where one is given.
    """
    geometry = draw_geometry(config, image.shape[:2], crop, generator, focus)
    change = draw_labeled_change(config, generator)
    part = geometry.image(image)
    part = change.apply(part) if change is not None else part
    return geometry.padded(normalise(part), 0.0), geometry.label(label)


def unlabeled_sample(
    image: np.ndarray, config: AugmentConfig, crop: tuple[int, int], generator: torch.Generator, num_strong: int
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Make a teacher's view and `num_strong` student's views of one crop, from uint8 [H, W, 3].

    Returns weak float32 [3, h, w], strong views of that shape, and valid bool [h, w]; padding is 0 in every view.
    With teacher_photometric "same" the weak view is the first strong one.
    """
    geometry = draw_geometry(config, image.shape[:2], crop, generator)
    part = geometry.image(image)
    changes = draw_strong_changes(config, generator, num_strong)
    strong = tuple(geometry.padded(normalise(change.apply(part)), 0.0) for change in changes)
    same = config.teacher_photometric == "same" and num_strong > 0
    weak = strong[0].clone() if same else geometry.padded(normalise(part), 0.0)
    return weak, strong, geometry.valid()


def _place(scaled: int, crop: int, draw: float, inside: int | None = None) -> tuple[int, int, int]:
    """Along one axis: first scaled pixel taken, number taken, and where the first lands in the crop.

    The scaled pixel `inside` is among those taken.
    """
    low, high = 0, abs(scaled - crop)
    if inside is not None and scaled >= crop:
        low, high = max(0, inside - crop + 1), min(inside, high)
    offset = min(low + int(draw * (high - low + 1)), high)
    return (offset, crop, 0) if scaled >= crop else (0, scaled, offset)


def _hue_and_saturation(hue: float, saturation: float) -> Tensor:
    """The matrix [3, 3] that turns and scales the chroma plane of YIQ and keeps the luma."""
    cosine, sine = saturation * math.cos(2 * math.pi * hue), saturation * math.sin(2 * math.pi * hue)
    turn = torch.tensor([(1.0, 0.0, 0.0), (0.0, cosine, -sine), (0.0, sine, cosine)])
    return _YIQ_TO_RGB @ turn @ _RGB_TO_YIQ


def _blurred(image: Tensor, weights: list[float]) -> Tensor:
    """Blur [3, H, W] by these weights, one axis after the other, the border repeated."""
    radius = len(weights) // 2
    if radius == 0:
        return image
    rows = _weighted_shifts(F.pad(image[None], (0, 0, radius, radius), mode="replicate")[0], weights, dim=1)
    return _weighted_shifts(F.pad(rows[None], (radius, radius, 0, 0), mode="replicate")[0], weights, dim=2)


def _weighted_shifts(padded: Tensor, weights: list[float], dim: int) -> Tensor:
    """Convolve along `dim` as a sum of shifted slices: on a CPU several times faster than a depthwise convolution."""
    length = padded.shape[dim] - len(weights) + 1
    total = padded.narrow(dim, 0, length) * weights[0]
    for offset, weight in enumerate(weights[1:], start=1):
        total.add_(padded.narrow(dim, offset, length), alpha=weight)
    return total
