"""Paint: every material draws its colour from families that other classes use too, so colour alone tells little."""

import colorsys
from itertools import accumulate
from random import Random

Colour = tuple[float, float, float]

# hue, saturation and value ranges in [0, 1]; a hue range may pass 1 and wraps around
_FAMILIES: dict[str, tuple[float, float, float, float, float, float]] = {
    "grey": (0.0, 1.0, 0.0, 0.10, 0.30, 0.72),
    "dark": (0.0, 1.0, 0.0, 0.25, 0.08, 0.26),
    "white": (0.0, 1.0, 0.0, 0.08, 0.78, 0.97),
    "beige": (0.07, 0.14, 0.15, 0.35, 0.55, 0.88),
    "brick": (0.98, 1.05, 0.35, 0.62, 0.35, 0.68),
    "brown": (0.04, 0.10, 0.30, 0.60, 0.22, 0.50),
    "yellow": (0.11, 0.16, 0.45, 0.85, 0.60, 0.95),
    "green": (0.19, 0.37, 0.22, 0.55, 0.24, 0.58),
    "deep_green": (0.27, 0.42, 0.30, 0.60, 0.14, 0.34),
    "blue": (0.54, 0.66, 0.30, 0.75, 0.35, 0.85),
    "red": (0.96, 1.03, 0.60, 0.90, 0.45, 0.85),
    "pastel": (0.0, 1.0, 0.12, 0.35, 0.65, 0.93),
    "vivid": (0.0, 1.0, 0.55, 0.90, 0.50, 0.92),
    "skin": (0.04, 0.09, 0.25, 0.55, 0.28, 0.92),
    "glass": (0.52, 0.62, 0.10, 0.45, 0.14, 0.48),
}

_MATERIALS: dict[str, dict[str, float]] = {
    "road": {"grey": 6, "dark": 3, "brown": 0.5, "beige": 0.4, "brick": 0.3},
    "sidewalk": {"grey": 5, "beige": 2.4, "brick": 1.3, "white": 0.7, "brown": 0.4, "dark": 0.2},
    "facade": {
        "grey": 3,
        "beige": 3,
        "brick": 3,
        "white": 2,
        "pastel": 2,
        "brown": 1.5,
        "blue": 1.2,
        "green": 1,
        "dark": 0.8,
        "yellow": 0.8,
    },
    "roof": {"brick": 3, "grey": 2, "dark": 3, "brown": 2, "blue": 0.5, "green": 0.5},
    "fence": {"green": 2, "grey": 2.5, "brown": 2, "brick": 1.5, "white": 1.5, "deep_green": 1.5, "dark": 1},
    "pole": {"grey": 3, "dark": 2.5, "deep_green": 1.5, "white": 0.8, "brown": 1, "blue": 0.5},
    "sign": {"blue": 3, "white": 2, "yellow": 1.5, "green": 1.5, "red": 1.5},
    "leaf": {"green": 6, "deep_green": 3, "yellow": 0.7, "brick": 0.5, "brown": 0.4, "pastel": 0.15},
    "trunk": {"brown": 3, "dark": 2, "grey": 1.5},
    "terrain": {"green": 6, "brown": 1.3, "yellow": 0.8, "beige": 0.7, "deep_green": 1, "grey": 0.2},
    "car": {
        "grey": 3,
        "white": 2,
        "dark": 2.5,
        "blue": 2,
        "red": 1.5,
        "green": 1.5,
        "beige": 0.6,
        "yellow": 0.6,
        "brown": 0.4,
    },
    "cloth": {"dark": 3, "blue": 2, "grey": 1.5, "green": 1, "vivid": 2, "white": 1, "beige": 1, "brick": 0.5},
    "skin": {"skin": 1},
    "glass": {"glass": 1},
}
_CHOICES = {name: (tuple(families), tuple(accumulate(families.values()))) for name, families in _MATERIALS.items()}


def _draw_colour(dice: Random, family: str) -> Colour:
    hue_low, hue_high, saturation_low, saturation_high, value_low, value_high = _FAMILIES[family]
    hue = dice.uniform(hue_low, hue_high) % 1.0
    saturation = dice.uniform(saturation_low, saturation_high)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, dice.uniform(value_low, value_high))
    return red * 255, green * 255, blue * 255


class PaintBox:
    """The paints of one scene: `color_overlap` of all colours come from one shared pot per family."""

    def __init__(self, dice: Random, color_overlap: float) -> None:
        self._dice = dice
        self._overlap = color_overlap
        self._pots = {family: _draw_colour(dice, family) for family in _FAMILIES}

    def family(self, name: str) -> Colour:
        """A colour (red, green, blue in 0..255) of the named family."""
        if self._dice.random() < self._overlap:
            return vary(self._dice, self._pots[name], 0.04)
        return _draw_colour(self._dice, name)

    def material(self, name: str) -> Colour:
        """A colour for the named material ("road", "facade", "leaf", ...)."""
        families, bounds = _CHOICES[name]
        return self.family(self._dice.choices(families, cum_weights=bounds)[0])


def vary(dice: Random, colour: Colour, spread: float) -> Colour:
    """The colour, lighter or darker by up to `spread` (a share of its brightness)."""
    return scale(colour, 1 + dice.uniform(-spread, spread))


def scale(colour: Colour, factor: float) -> Colour:
    """The colour times a brightness factor; values above 255 are cut when it is laid on the canvas."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    keep = 1 - share
    return tuple(keep * a + share * b for a, b in zip(first, second, strict=True))
