"""People: upright figures with legs in mid-step, clothes, arms, hair, sometimes a coat or a bag."""

from scl_core.data.scenes.classes import PERSON
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.paint import Colour, scale


def draw_person(scene: Scene, x: float, z: float) -> None:
    """One person standing at (x, z)."""
    dice, canvas = scene.dice, scene.canvas
    if scene.out_of_view(x, z, 0.5):
        return
    canvas.move_to(z)
    u, ground, size = scene.street.upright(x, z)
    height = dice.uniform(1.5, 1.92) if dice.random() < 0.88 else dice.uniform(1.0, 1.3)
    scene.cast_shadow(x, z, 0.22, height)
    if not scene.is_tiny(z):
        scene.ground_blot(x, z, 0.3, 0.3, 0.5)
    unit = height * size
    build = dice.uniform(0.11, 0.16)
    top, trousers = scene.paints.material("cloth"), scene.paints.material("cloth")
    skin = scene.paints.material("skin")
    _draw_legs(scene, u, ground, unit, build, trousers)
    if not scene.is_tiny(z):
        _draw_arms(scene, u, ground, unit, build, top, skin)
    _draw_trunk(scene, u, ground, unit, build, top)
    _draw_head(scene, u, ground, unit, skin)


def _draw_legs(scene: Scene, u: float, ground: float, unit: float, build: float, colour: Colour) -> None:
    stride = scene.dice.uniform(0.0, 0.16) * unit
    hip, width = ground - 0.5 * unit, max(1.0, 0.045 * unit)
    for sign, shade in ((-1, 0.8), (1, 1.0)):
        foot, start = u + sign * (0.03 * unit + stride / 2), u + sign * 0.4 * build * unit
        ink = scene.canvas.ink(colour, PERSON, shade)
        points = [(start - width, hip), (start + width, hip), (foot + width, ground), (foot - width, ground)]
        scene.canvas.polygon(points, ink)


def _draw_arms(scene: Scene, u: float, ground: float, unit: float, build: float, sleeve: Colour, skin: Colour) -> None:
    swing = scene.dice.uniform(0.0, 0.1) * unit
    shoulder, hand = ground - 0.8 * unit, ground - 0.47 * unit
    for sign in (-1, 1):
        start, end = u + sign * 0.9 * build * unit, u + sign * (build * unit + swing)
        scene.canvas.line([(start, shoulder), (end, hand)], 0.06 * unit, scene.canvas.ink(sleeve, PERSON, 0.86))
        scene.canvas.ellipse(end, hand, 0.025 * unit, 0.025 * unit, scene.canvas.ink(skin, PERSON))


def _draw_trunk(scene: Scene, u: float, ground: float, unit: float, build: float, colour: Colour) -> None:
    canvas, dice = scene.canvas, scene.dice
    style = dice.random()
    hem, flare = (0.28, 1.25) if style < 0.25 else (0.46, 0.85)
    shoulder, half = ground - 0.83 * unit, max(1.0, build * unit)
    foot = ground - hem * unit
    ink = canvas.ink(colour, PERSON)
    points = [(u - 0.75 * half, shoulder - 0.02 * unit), (u + 0.75 * half, shoulder - 0.02 * unit)]
    points += [(u + half, shoulder + 0.06 * unit), (u + flare * half, foot), (u - flare * half, foot)]
    canvas.polygon([*points, (u - half, shoulder + 0.06 * unit)], ink)
    if style > 0.8:
        bag = canvas.ink(scene.paints.material("cloth"), PERSON, 0.9)
        canvas.box(u - 0.7 * half, shoulder + 0.03 * unit, u + 0.7 * half, shoulder + 0.28 * unit, bag)


def _draw_head(scene: Scene, u: float, ground: float, unit: float, skin: Colour) -> None:
    canvas, radius = scene.canvas, max(1.0, 0.065 * unit)
    v = ground - 0.93 * unit
    canvas.ellipse(u, v, 0.85 * radius, 1.1 * radius, canvas.ink(skin, PERSON))
    hair = scene.paints.family(scene.dice.choice(("dark", "dark", "brown", "beige", "grey", "vivid")))
    cap = canvas.ink(scale(hair, 0.8), PERSON)
    canvas.ellipse(u, v - 0.5 * radius, 0.9 * radius, 0.75 * radius, cap)
