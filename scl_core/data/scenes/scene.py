"""One drawn street scene: everything planned first, then painted from far to near, then developed."""

from random import Random

import numpy as np

from scl_core.data.scenes.canvas import SUPERSAMPLE, Canvas
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.dials import Dials
from scl_core.data.scenes.finish import finish
from scl_core.data.scenes.ground import draw_ground
from scl_core.data.scenes.light import make_light, paint_sky
from scl_core.data.scenes.paint import PaintBox
from scl_core.data.scenes.roadside import plan_backdrop, plan_side
from scl_core.data.scenes.street import make_street
from scl_core.data.scenes.traffic import plan_traffic
from scl_core.errors import UserError

_SMALLEST = 16


def draw_scene(
    seed: int, index: int, height: int = 128, width: int = 256, dials: Dials | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw picture `index` of the endless set `seed`: image uint8 [H, W, 3] and label uint8 [H, W] (0..10, no void).

    The same arguments give the same bytes, whatever was drawn before. Another size shows the same scene as near as its
    pixels and aspect allow. Raises UserError for a negative index or a side under 16 pixels.
    """
    if index < 0:
        raise UserError(f"scenes: index is {index}; choose 0 or more")
    if min(height, width) < _SMALLEST:
        raise UserError(f"scenes: the size {height} x {width} is too small; choose at least {_SMALLEST} x {_SMALLEST}")
    words = np.random.SeedSequence([abs(seed), int(seed < 0), index]).generate_state(3, np.uint64)
    noise = np.random.Generator(np.random.SFC64(int(words[0])))
    scene = _set_up(Random(int(words[1])), noise, dials or Dials(), height * SUPERSAMPLE, width * SUPERSAMPLE)
    things = plan_backdrop(scene) + plan_traffic(scene)
    for side in scene.street.sides:
        things += plan_side(scene, side)
    draw_ground(scene)
    seeds = [scene.dice.getrandbits(32) for _ in things]
    for order in sorted(range(len(things)), key=lambda k: -things[k][0]):
        # own dice for each thing: details left out at a small size must not shift the draws of the next thing
        scene.dice.seed(seeds[order])
        things[order][1](scene)
    scene.dice.seed(int(words[2]))
    return finish(scene, noise)


def _set_up(dice: Random, noise: np.random.Generator, dials: Dials, height: int, width: int) -> Scene:
    street = make_street(dice, width, height)
    light = make_light(dice, dials.light)
    paints = PaintBox(dice, dials.color_overlap)
    backdrop = paint_sky(dice, noise, light, (width, height), street.horizon)
    return Scene(dice, dials, street, light, paints, Canvas(backdrop, light.haze, light.mood.haze))
