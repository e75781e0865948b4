"""From flat paint to a photograph: texture, paving, shadows and haze on the ground, light, blur and sensor noise."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from scl_core.data.scenes.canvas import SUPERSAMPLE
from scl_core.data.scenes.classes import CLASS_NAMES, GROUND, ROAD, SIDEWALK
from scl_core.data.scenes.context import Scene

_TILE = 256
_SHOULDER = np.float32(
    195
)  # brighter values are halved towards it, as film does, so that bright days keep their detail
_GRAIN = {
    "road": 0.07,
    "sidewalk": 0.08,
    "building": 0.06,
    "fence": 0.09,
    "pole": 0.04,
    "traffic sign": 0.03,
    "vegetation": 0.24,
    "terrain": 0.16,
    "sky": 0.0,
    "person": 0.07,
    "car": 0.03,
}


@dataclass(frozen=True)
class GroundMap:
    """Where each pixel from row `top` down meets the ground: metres across `x` and ahead `z`, both [H - top, W]."""

    top: int
    x: np.ndarray
    z: np.ndarray


@lru_cache(maxsize=1)
def _noise_tile() -> np.ndarray:
    """Smooth-and-fine noise float32 [256, 256] that repeats without a seam, mean 0 and deviation 1; always the same."""
    noise, field = np.random.default_rng(20200114), np.zeros((_TILE, _TILE), np.float64)
    for cells, weight in ((16, 0.7), (64, 0.8), (256, 0.6)):
        octave = np.kron(noise.standard_normal((cells, cells)), np.ones((_TILE // cells, _TILE // cells)))
        for axis in (0, 1):
            octave = sum(np.roll(octave, shift, axis) for shift in range(_TILE // cells)) / (_TILE // cells)
        field += weight * octave / octave.std()
    tile = ((field - field.mean()) / field.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


def finish(scene: Scene, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Develop the scene's canvas: picture uint8 [H, W, 3] and label uint8 [H, W]."""
    colours, labels, shadow = scene.canvas.develop()
    ground = _map_ground(scene, labels.shape)
    on_ground = np.isin(labels[ground.top :], GROUND)
    factor = _texture(scene, labels, ground)
    if scene.light.lamps:
        lit = (colours[0] > 232) & (colours[0] - colours[2] > 80)
        factor[lit] *= 1.0 / scene.light.gain
    factor[ground.top :] *= _shadow(scene, shadow, ground.top, on_ground)
    colours *= factor
    _fade_ground(scene, colours[:, ground.top :], ground, on_ground)
    _light(scene, colours)
    return _expose(scene, noise, colours), labels


def _map_ground(scene: Scene, shape: tuple[int, int]) -> GroundMap:
    street = scene.street
    u = np.arange(shape[1], dtype=np.float32) * SUPERSAMPLE + 0.5
    skyline = street.skyline(u)
    top = int(max(0, min(skyline.min() // SUPERSAMPLE, shape[0] - 1)))
    v = np.arange(top, shape[0], dtype=np.float32)[:, None] * SUPERSAMPLE + 0.5
    z = np.float32(street.focal * street.camera) / np.maximum(v - skyline, 1.0)
    x = (u - street.vanish) * z / np.float32(street.focal) - np.float32(street.bend) * z * z
    return GroundMap(top, x, z)


def _sample_tile(dice: Random, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Noise at whole tile positions, shifted at random; `rows` and `columns` are broadcast against each other."""
    down, right = dice.randrange(_TILE), dice.randrange(_TILE)
    return _noise_tile()[(rows.astype(np.int32) + down) & (_TILE - 1), (columns.astype(np.int32) + right) & (_TILE - 1)]


def _texture(scene: Scene, labels: np.ndarray, ground: GroundMap) -> np.ndarray:
    """Brightness factor float32 [H, W]: each class has its own strength of grain, on the ground in perspective."""
    dice, (height, width) = scene.dice, labels.shape
    strength = 0.3 + 1.4 * scene.dials.noise
    grain = np.array([_GRAIN[name] * strength * dice.uniform(0.4, 1.6) for name in CLASS_NAMES], np.float32)
    unit = 128 / height
    rows = np.arange(height)[:, None] * unit * dice.uniform(0.8, 2.5)
    columns = np.arange(width)[None] * unit * dice.uniform(0.8, 2.5)
    field = _sample_tile(dice, rows, columns)
    density = dice.uniform(5, 14)
    on_ground = np.isin(labels[ground.top :], GROUND)
    flat = _sample_tile(dice, ground.z * density, ground.x * density) * (1.6 / (1 + ground.z / 14))
    field[ground.top :] = np.where(on_ground, flat, field[ground.top :])
    factor = 1 + grain[labels] * field
    _pave(scene, factor[ground.top :], labels[ground.top :], ground)
    return factor.clip(0.3, 1.8)


def _pave(scene: Scene, factor: np.ndarray, labels: np.ndarray, ground: GroundMap) -> None:
    """Joints between paving slabs, on most sidewalks and a few roads; changes `factor` in place."""
    dice = scene.dice
    for label, odds, low, high in ((SIDEWALK, 0.7, 0.5, 2.0), (ROAD, 0.1, 0.35, 0.8)):
        wanted, pitch_x, pitch_z = dice.random() < odds, dice.uniform(low, high), dice.uniform(low, high)
        depth = dice.uniform(0.1, 0.35)
        if not wanted:
            continue
        joint = ((ground.x / pitch_x) % 1 < 0.1) | ((ground.z / pitch_z) % 1 < 0.1)
        factor -= (joint & (labels == label)) * (depth / (1 + ground.z / 10)) * factor


def _shadow(scene: Scene, shadow: Image.Image, top: int, on_ground: np.ndarray) -> np.ndarray:
    """Brightness factor of the cast shadows, with a soft rim."""
    soft = np.asarray(shadow.filter(ImageFilter.BoxBlur(0.8 * shadow.height / 128)))[top:]
    return 1 - on_ground * soft.astype(np.float32) * np.float32(0.85 / 255)


def _fade_ground(scene: Scene, colours: np.ndarray, ground: GroundMap, on_ground: np.ndarray) -> None:
    clear = np.where(on_ground, np.exp(-np.float32(scene.light.mood.haze) * ground.z), np.float32(1))
    for band, haze in zip(colours, scene.light.haze, strict=True):
        band *= clear
        band += (1 - clear) * np.float32(haze)


def _light(scene: Scene, colours: np.ndarray) -> None:
    """Gain, colour of the light, saturation, contrast and a slow gradient over the picture; in place, [3, H, W]."""
    dice, light, spread = scene.dice, scene.light, scene.dials.light
    _, height, width = colours.shape
    slope = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(dice.gauss(0, 0.12 * spread))
    fall = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(dice.gauss(0, 0.12 * spread))
    saturation = min(max(dice.gauss(1.0, 0.3 * spread), 0.35), 1.4)
    contrast, middle = 1 + dice.gauss(0, 0.22 * spread), 105 * light.gain
    colours *= (1 + slope)[None, None] * (1 + fall)[None, :, None] * np.float32(light.gain * contrast)
    grey = (colours[0] * 0.3 + colours[1] * 0.59 + colours[2] * 0.11) * np.float32(1 - saturation)
    for band, tint in zip(colours, light.tint, strict=True):
        band *= np.float32(saturation)
        band += grey
        band *= np.float32(tint)
        band += np.float32((1 - contrast) * middle)


def _expose(scene: Scene, noise: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Sensor noise and blur; uint8 [H, W, 3]."""
    dice, amount = scene.dice, scene.dials.noise
    sigma = amount * (1.0 + 9.0 * dice.random() ** 2) * (1.6 if scene.light.lamps else 1.0)
    colours += noise.standard_normal(colours.shape[1:], dtype=np.float32) * np.float32(sigma)
    for band in colours:
        band += np.float32(dice.gauss(0, 3 * amount))
    colours -= (colours - _SHOULDER).clip(0) * np.float32(0.5)
    picture = np.ascontiguousarray(colours.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    if dice.random() < 0.7 * amount:
        radius = dice.uniform(0.2, 0.75) * picture.shape[0] / 128
        picture = np.array(Image.fromarray(picture).filter(ImageFilter.BoxBlur(radius)))
    return picture
