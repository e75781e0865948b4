"""Trees of several kinds, hedges, woods at the horizon: everything labeled vegetation (trunks too)."""

from math import cos, pi, sin

from scl_core.data.scenes.classes import VEGETATION
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.paint import Colour, scale
from scl_core.data.scenes.street import NEAR

_TREES = {"round": 5.0, "tall": 1.5, "conifer": 1.5, "bare": 0.8, "bush": 1.4}


def draw_tree(scene: Scene, x: float, z: float, leaf: Colour, kind: str | None = None) -> None:
    """A tree of a random or given kind with its foot at (x, z)."""
    dice = scene.dice
    kind = kind or dice.choices(tuple(_TREES), tuple(_TREES.values()))[0]
    height = dice.uniform(1.0, 2.2) if kind == "bush" else dice.uniform(3.5, 11)
    spread = height * {"round": 0.36, "tall": 0.17, "conifer": 0.24, "bare": 0.3, "bush": 0.6}[kind]
    if scene.out_of_view(x, z, spread):
        return
    scene.canvas.move_to(z)
    if not scene.is_tiny(z):
        scene.ground_blot(x, z, spread * 0.8, spread * 0.8, 0.32)
    scene.cast_shadow(x, z, spread * 0.6, height)
    if kind != "bush":
        _draw_trunk(scene, x, z, height * (0.8 if kind == "bare" else 0.5))
    if kind == "conifer":
        _draw_conifer(scene, x, z, height, spread, leaf)
    elif kind == "bare":
        _draw_branches(scene, x, z, height)
    else:
        low = 0.05 if kind == "bush" else dice.uniform(0.28, 0.42)
        _draw_crown(scene, x, z, (low * height, height), spread, leaf)


def _draw_trunk(scene: Scene, x: float, z: float, height: float) -> None:
    u, ground, size = scene.street.upright(x, z)
    half, top = max(1.0, 0.02 * height * size + 0.05 * size), ground - height * size
    ink = scene.canvas.ink(scene.paints.material("trunk"), VEGETATION, 0.9)
    scene.canvas.polygon([(u - half, ground), (u - 0.5 * half, top), (u + 0.5 * half, top), (u + half, ground)], ink)


def _draw_crown(scene: Scene, x: float, z: float, span: tuple[float, float], spread: float, leaf: Colour) -> None:
    """Overlapping blobs, dark below and bright above on the sun's side, with loose leaves around the rim."""
    canvas, dice = scene.canvas, scene.dice
    u, ground, size = scene.street.upright(x, z)
    low, high = span
    middle, half = ground - 0.5 * (low + high) * size, 0.5 * (high - low) * size
    width = spread * size
    blobs = 4 if scene.is_tiny(z) else 9
    shades = sorted(dice.uniform(0.62, 1.0) for _ in range(blobs))
    for shade in shades:
        angle, out = dice.uniform(0, 2 * pi), dice.uniform(0.1, 0.62)
        lift = (shade - 0.8) * 0.9
        du, dv = out * cos(angle) - lift * scene.light.sun_x * 0.4, out * sin(angle) - lift
        ink = canvas.ink(leaf, VEGETATION, shade * 1.15)
        share = dice.uniform(0.38, 0.6)
        canvas.ellipse(u + du * width, middle + dv * half, share * width, share * half, ink)
    if not scene.is_tiny(0.6 * z):
        _draw_leaves(scene, u, middle, width, half, leaf)


def _draw_leaves(scene: Scene, u: float, v: float, width: float, half: float, leaf: Colour) -> None:
    """Loose leaves, in dark, middle and bright, the bright ones above."""
    dice, canvas = scene.dice, scene.canvas
    inks = [canvas.ink(leaf, VEGETATION, shade) for shade in (1.15, 0.95, 0.7)]
    for _ in range(14):
        angle, out, radius = 2 * pi * dice.random(), 0.5 + 0.38 * dice.random(), (0.05 + 0.07 * dice.random()) * width
        ink = inks[min(int(0.8 * (1 + sin(angle)) + 1.4 * dice.random()), 2)]
        canvas.ellipse(u + out * cos(angle) * width, v + out * sin(angle) * half, radius, radius, ink)


def _draw_conifer(scene: Scene, x: float, z: float, height: float, spread: float, leaf: Colour) -> None:
    u, ground, size = scene.street.upright(x, z)
    tiers = 4
    for tier in range(tiers):
        share = tier / tiers
        base, top = (0.12 + 0.8 * share) * height, min(1.0, 0.5 + 0.62 * share) * height
        half = spread * (1 - 0.75 * share) * size
        ink = scene.canvas.ink(scale(leaf, 0.72 + 0.12 * tier), VEGETATION)
        foot = ground - base * size
        scene.canvas.polygon([(u - half, foot), (u, ground - top * size), (u + half, foot)], ink)


def _draw_branches(scene: Scene, x: float, z: float, height: float) -> None:
    canvas, dice = scene.canvas, scene.dice
    u, ground, size = scene.street.upright(x, z)
    ink = canvas.ink(scene.paints.material("trunk"), VEGETATION, 0.85)
    for _ in range(9):
        start, lean = dice.uniform(0.35, 0.75) * height, dice.uniform(-0.4, 0.4) * height
        end = min(height, start + dice.uniform(0.15, 0.4) * height)
        middle = (u + 0.6 * lean * size, ground - (0.4 * start + 0.6 * end) * size)
        tip = (u + lean * size, ground - end * size)
        canvas.line([(u, ground - start * size), middle, tip], 0.06 * size, ink)


def draw_hedge(scene: Scene, x: float, near: float, far: float, height: float, leaf: Colour) -> None:
    """A cut hedge along x from `near` to `far`, its top uneven."""
    near = max(near, NEAR)
    canvas, dice = scene.canvas, scene.dice
    canvas.move_to(0.5 * (near + far))
    steps = [near * (far / near) ** (step / 7) for step in range(8)]
    stands = [scene.street.upright(x, z) for z in steps]
    tops = [(u, ground - height * dice.uniform(0.85, 1.12) * size) for u, ground, size in stands]
    foot = [(u, ground) for u, ground, _ in reversed(stands)]
    canvas.polygon(tops + foot, canvas.ink(leaf, VEGETATION, 0.82))
    band = [(u, ground - 0.72 * height * size) for u, ground, size in reversed(stands)]
    canvas.polygon(tops + band, canvas.ink(leaf, VEGETATION, 1.1))


def draw_woods(scene: Scene, leaf: Colour) -> None:
    """A line of far woods or hills along the horizon."""
    street, canvas, dice = scene.street, scene.canvas, scene.dice
    canvas.move_to(120)
    unit, points = street.height / 100, []
    height, steps = dice.uniform(2, 9), dice.randint(10, 28)
    for step in range(steps + 1):
        u = step * street.width / steps
        points.append((u, street.skyline(u) - unit * height * dice.uniform(0.55, 1.15)))
    points += [(street.width, street.skyline(street.width) + unit), (0, street.skyline(0) + unit)]
    canvas.polygon(points, canvas.ink(leaf, VEGETATION, 0.8))
