"""The canvas: colours and labels side by side in one four-band picture, drawn at twice the size of the result."""

from math import exp

import numpy as np
from PIL import Image, ImageDraw

from scl_core.data.scenes.paint import Colour

SUPERSAMPLE = 2
Point = tuple[float, float]
Ink = tuple[int, int, int, int]


class Canvas:
    """Draws polygons whose ink carries red, green, blue and the label, so both are always filled alike.

    `backdrop` is an RGBX picture with the label in its fourth band; `haze` and `density` (per metre) fade far things.
    """

    def __init__(self, backdrop: Image.Image, haze: Colour, density: float) -> None:
        self.picture = backdrop
        self.shadow = Image.new("L", (backdrop.width // SUPERSAMPLE, backdrop.height // SUPERSAMPLE), 0)
        self._draw = ImageDraw.Draw(backdrop)
        self._shade = ImageDraw.Draw(self.shadow)
        self._haze = haze
        self._density = density
        self._clear = 1.0

    def move_to(self, depth: float) -> None:
        """Everything drawn from here on stands `depth` metres away and is faded by that much haze."""
        self._clear = exp(-self._density * depth)

    def ink(self, colour: Colour, label: int, shade: float = 1.0) -> Ink:
        """The ink of a colour times `shade`, seen through the haze at the present depth."""
        keep, veil = self._clear * shade, 1 - self._clear
        red = int(keep * colour[0] + veil * self._haze[0])
        green = int(keep * colour[1] + veil * self._haze[1])
        blue = int(keep * colour[2] + veil * self._haze[2])
        # written out, and without min(): tens of thousands of inks are mixed each second
        return 255 if red > 255 else red, 255 if green > 255 else green, 255 if blue > 255 else blue, label

    def polygon(self, points: list[Point], ink: Ink) -> None:
        """Fill a polygon given in canvas pixels."""
        self._draw.polygon(points, fill=ink)

    def box(self, left: float, top: float, right: float, bottom: float, ink: Ink) -> None:
        """Fill an upright rectangle, at least one result pixel wide and high."""
        right, bottom = max(right, left + SUPERSAMPLE - 1), max(bottom, top + SUPERSAMPLE - 1)
        self._draw.rectangle((left, top, right, bottom), fill=ink)

    def ellipse(self, u: float, v: float, radius_u: float, radius_v: float, ink: Ink) -> None:
        """Fill an ellipse around (u, v)."""
        self._draw.ellipse((u - radius_u, v - radius_v, u + radius_u, v + radius_v), fill=ink)

    def line(self, points: list[Point], width: float, ink: Ink) -> None:
        """Draw a line, at least one result pixel wide."""
        self._draw.line(points, fill=ink, width=max(SUPERSAMPLE, round(width)))

    def cast(self, points: list[Point], strength: float) -> None:
        """Darken the ground (road, sidewalk, terrain) inside a polygon; strength 0..1."""
        half = [(u / SUPERSAMPLE, v / SUPERSAMPLE) for u, v in points]
        self._shade.polygon(half, fill=int(255 * min(strength, 1.0)))

    def develop(self) -> tuple[np.ndarray, np.ndarray, Image.Image]:
        """The colours float32 [3, H, W] in 0..255, the labels uint8 [H, W] and the ground's shadow ("L")."""
        bands = np.asarray(self.picture.reduce(SUPERSAMPLE))
        colours = np.stack([bands[..., band] for band in range(3)]).astype(np.float32)
        labels = np.ascontiguousarray(np.asarray(self.picture)[::SUPERSAMPLE, ::SUPERSAMPLE, 3])
        return colours, labels, self.shadow
