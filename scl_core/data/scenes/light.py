"""Light: the mood of the day, the sun's direction, the colour of haze, and the sky with its clouds."""

from dataclasses import dataclass
from math import exp
from random import Random

import numpy as np
from PIL import Image

from scl_core.data.scenes.classes import SKY
from scl_core.data.scenes.paint import Colour, blend

LAMPLIGHT: Colour = (255.0, 208.0, 112.0)


@dataclass(frozen=True)
class Mood:
    """One kind of weather: sky colours, share of direct sun, haze per metre, gain and colour of the light."""

    zenith: Colour
    rim: Colour
    sun: float
    haze: float
    gain: float
    tint: Colour
    clouds: float


CLEAR = Mood((70, 125, 205), (185, 212, 236), 0.9, 0.0025, 1.05, (1.02, 1.0, 0.97), 0.35)
MOODS: tuple[tuple[Mood, float], ...] = (
    (CLEAR, 2.5),
    (Mood((150, 160, 172), (205, 209, 212), 0.15, 0.005, 0.92, (0.98, 1.0, 1.02), 0.9), 2.5),
    (Mood((84, 112, 170), (250, 205, 150), 0.95, 0.005, 1.0, (1.18, 0.99, 0.78), 0.5), 1.5),
    (Mood((176, 186, 192), (212, 216, 218), 0.1, 0.022, 0.95, (1.0, 1.0, 1.0), 0.2), 1.0),
    (Mood((46, 52, 98), (228, 150, 120), 0.3, 0.006, 0.62, (1.04, 0.92, 1.02), 0.6), 1.0),
    (Mood((14, 18, 40), (46, 50, 78), 0.1, 0.004, 0.42, (0.85, 0.95, 1.18), 0.4), 0.5),
    (Mood((74, 82, 94), (140, 148, 152), 0.15, 0.008, 0.72, (0.94, 1.0, 1.04), 1.0), 0.9),
    (Mood((222, 228, 236), (246, 246, 244), 0.5, 0.006, 1.08, (1.02, 1.0, 0.98), 0.3), 0.8),
)


@dataclass(frozen=True)
class Light:
    """The light of one scene; `sun_x` and `sun_z` are the metres a shadow runs right and ahead per metre of height."""

    mood: Mood
    sun_x: float
    sun_z: float
    gain: float
    tint: Colour
    lamps: bool

    def side(self, sign: int) -> float:
        """Brightness of a wall on the given side of the street (-1 left, +1 right) that faces the street."""
        facing = max(-1.0, min(1.0, self.sun_x * sign))
        return 0.86 + 0.26 * self.mood.sun * facing

    def front(self) -> float:
        """Brightness of a wall that faces the camera."""
        return 0.86 + 0.22 * self.mood.sun * max(-1.0, min(1.0, self.sun_z))

    @property
    def haze(self) -> Colour:
        """The colour far things fade into."""
        return blend(self.mood.rim, (200, 205, 210), 0.2 if not self.lamps else 0.0)


def make_light(dice: Random, spread: float) -> Light:
    """Draw the light; `spread` 0 is a mild clear day, 1 anything from fog to night."""
    moods, weights = zip(*MOODS, strict=True)
    mood = dice.choices(moods, weights)[0] if dice.random() < min(1.0, 1.3 * spread) else CLEAR
    warmth = dice.gauss(0, 0.14 * spread)
    tint = (mood.tint[0] * (1 + warmth), mood.tint[1] * (1 + dice.gauss(0, 0.05 * spread)), mood.tint[2] * (1 - warmth))
    return Light(
        mood=mood,
        sun_x=dice.choice((-1, 1)) * dice.uniform(0.15, 1.3),
        sun_z=dice.uniform(-0.7, 0.7),
        gain=min(mood.gain * exp(dice.gauss(0, 0.3 * spread)), 1.35),
        tint=tint,
        lamps=mood.gain < 0.65,
    )


def paint_sky(
    dice: Random, noise: np.random.Generator, light: Light, size: tuple[int, int], horizon: float
) -> Image.Image:
    """The backdrop as an RGBX picture of `size` (width, height): a gradient with clouds down to row `horizon`."""
    rows, columns = 40, 96
    height = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    zenith, rim = np.float32(light.mood.zenith), np.float32(light.mood.rim)
    sky = zenith + (rim - zenith) * height ** dice.uniform(0.7, 2.0)
    cover = _clouds(dice, noise, rows, columns, light.mood.clouds)[..., None]
    white = np.float32(blend(light.mood.rim, (255, 255, 255), 0.15 if light.lamps else 0.6))
    sky = sky + (white * dice.uniform(0.8, 1.05) - sky) * cover * (1 - 0.5 * height)
    glow = np.exp(-(((np.arange(columns) / columns - 0.5 - 0.4 * light.sun_x) * 4) ** 2)).astype(np.float32)
    sky *= 1 + 0.12 * light.mood.sun * glow[None, :, None] * height
    bands = np.full((rows, columns, 4), SKY, dtype=np.uint8)
    bands[..., :3] = sky.clip(0, 255)
    small = Image.frombuffer("RGBX", (columns, rows), bands, "raw", "RGBX", 0, 1)
    backdrop = Image.new("RGBX", size, (*bands[-1].mean(axis=0).astype(int).tolist()[:3], SKY))
    backdrop.paste(small.resize((size[0], min(int(horizon), size[1])), Image.Resampling.BILINEAR), (0, 0))
    return backdrop


def _clouds(dice: Random, noise: np.random.Generator, rows: int, columns: int, amount: float) -> np.ndarray:
    """Cloud cover in [0, 1], [rows, columns]: two octaves of smooth noise, cut at a level that leaves `amount`."""
    field = np.zeros((rows, columns), np.float32)
    for cells, weight in ((5, 0.65), (14, 0.35)):
        grid = noise.random((cells, cells), dtype=np.float32)
        field += weight * np.asarray(Image.fromarray(grid).resize((columns, rows), Image.Resampling.BICUBIC))
    level = 0.78 - 0.5 * amount * dice.uniform(0.4, 1.1)
    return ((field - level) * dice.uniform(2.0, 7.0)).clip(0, 0.95)
