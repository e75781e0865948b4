"""The ground: road with lane marks, kerbs, sidewalks, grass verges, the crossing street, patches and manholes."""

from scl_core.data.scenes.canvas import Ink, Point
from scl_core.data.scenes.classes import ROAD, SIDEWALK, TERRAIN
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.paint import Colour, blend, scale, vary
from scl_core.data.scenes.street import FAR, NEAR, Side, Street

_DEPTHS = (NEAR, 1.5, 2.2, 3.2, 4.5, 6.5, 9.5, 14.0, 20.0, 29.0, 42.0, 62.0, 95.0, FAR)


def draw_ground(scene: Scene) -> None:
    """Lay the ground from the base up: open ground, side strips, crossing street, road and what is painted on it."""
    street, canvas, paints = scene.street, scene.canvas, scene.paints
    colours = {name: paints.material(name) for name in ("road", "sidewalk", "terrain")}
    paved = street.kind in ("city", "works")
    canvas.move_to(0.0)
    base = canvas.ink(colours["sidewalk"], SIDEWALK) if paved else canvas.ink(colours["terrain"], TERRAIN)
    left, right = street.skyline(0), street.skyline(street.width)
    canvas.polygon([(0, left), (street.width, right), (street.width, street.height), (0, street.height)], base)
    for side in street.sides:
        _draw_side(scene, side, colours)
    road = canvas.ink(colours["road"], ROAD)
    if street.crossing:
        start, end = street.crossing
        canvas.polygon(_across(street, start, end), road)
    canvas.polygon(_strip(street, street.left.road, street.right.road), road)
    _draw_wear(scene, colours["road"])
    _draw_marks(scene, colours["road"])


def _strip(street: Street, start: float, end: float) -> list[Point]:
    """The outline of the ground between x = start and x = end, along the bend."""
    there = [street.point(start, 0, z) for z in _DEPTHS]
    return there + [street.point(end, 0, z) for z in reversed(_DEPTHS)]


def _across(street: Street, start: float, end: float) -> list[Point]:
    reach = 4 * end
    return [street.point(x, 0, z) for x, z in ((-reach, start), (reach, start), (reach, end), (-reach, end))]


def _draw_side(scene: Scene, side: Side, colours: dict[str, Colour]) -> None:
    street, canvas, dice = scene.street, scene.canvas, scene.dice
    terrain = canvas.ink(colours["terrain"], TERRAIN)
    walk = canvas.ink(colours["sidewalk"], SIDEWALK)
    lawn = street.kind not in ("city", "works") or dice.random() < 0.15
    if side.line != side.walk:
        canvas.polygon(_strip(street, side.walk, side.line), terrain if lawn else walk)
    if side.walk != side.verge:
        canvas.polygon(_strip(street, side.verge, side.walk), walk)
    if side.verge != side.road:
        canvas.polygon(_strip(street, side.road, side.verge), terrain)
    if side.walk != side.verge or dice.random() < 0.3:
        kerb = blend(colours["sidewalk"], (215, 212, 205), dice.uniform(0.1, 0.8))
        edge = side.road + side.sign * dice.uniform(0.14, 0.3)
        canvas.polygon(_strip(street, side.road, edge), canvas.ink(kerb, SIDEWALK))


def _draw_wear(scene: Scene, colour: Colour) -> None:
    """Repaired patches, tyre tracks and manholes: a road that is not one even grey."""
    street, canvas, dice = scene.street, scene.canvas, scene.dice
    start, end = street.left.road, street.right.road
    if dice.random() < 0.4:
        track = canvas.ink(scale(colour, dice.uniform(0.84, 1.12)), ROAD)
        for share in (0.2, 0.36, 0.64, 0.8):
            middle = start + share * (end - start)
            canvas.polygon(_strip(street, middle - 0.25, middle + 0.25), track)
    for _ in range(dice.randint(0, 4)):
        x, z = dice.uniform(start, end - 1), dice.uniform(2.5, 22)
        ink = canvas.ink(vary(dice, colour, 0.3), ROAD)
        canvas.polygon(_rectangle(street, x, min(x + dice.uniform(0.6, 3), end), z, z * dice.uniform(1.1, 1.6)), ink)
    for _ in range(dice.randint(0, 2)):
        u, v, size = street.upright(dice.uniform(start, end), dice.uniform(3, 16))
        canvas.ellipse(u, v, 0.35 * size, 0.1 * size, canvas.ink(scale(colour, 0.6), ROAD))


def _rectangle(street: Street, left: float, right: float, near: float, far: float) -> list[Point]:
    return [street.point(x, 0, z) for x, z in ((left, near), (right, near), (right, far), (left, far))]


def _draw_marks(scene: Scene, road: Colour) -> None:
    street, dice = scene.street, scene.dice
    if dice.random() < 0.14:
        return
    paint = (228, 180, 60) if dice.random() < 0.2 else (236, 236, 230)
    ink = scene.canvas.ink(blend(paint, road, dice.uniform(0.0, 0.6)), ROAD)
    left, right = street.left.road, street.right.road
    lanes = max(2, round((right - left) / dice.uniform(3.2, 4.5)))
    for lane in range(1, lanes):
        x = left + lane * (right - left) / lanes
        _draw_lane(scene, x, ink, solid=2 * lane == lanes and dice.random() < 0.4)
    if dice.random() < 0.45:
        for x in (left + 0.4, right - 0.4):
            scene.canvas.polygon(_strip(street, x - 0.07, x + 0.07), ink)
    if street.crossing and dice.random() < 0.8:
        _draw_zebra(scene, street.crossing[0] - 4.5, ink)
    elif dice.random() < 0.25:
        _draw_zebra(scene, dice.uniform(4, 18), ink)


def _draw_lane(scene: Scene, x: float, ink: Ink, solid: bool) -> None:
    street = scene.street
    if solid:
        scene.canvas.polygon(_strip(street, x - 0.09, x + 0.09), ink)
        return
    length, gap = scene.dice.uniform(1.5, 4), scene.dice.uniform(2, 6)
    z = scene.dice.uniform(NEAR, NEAR + length + gap)
    while z < 55:
        scene.canvas.polygon(_rectangle(street, x - 0.08, x + 0.08, z, z + length), ink)
        z += length + gap


def _draw_zebra(scene: Scene, z: float, ink: Ink) -> None:
    street, pitch = scene.street, scene.dice.uniform(0.8, 1.3)
    x = street.left.road + 0.4
    while x + 0.5 * pitch < street.right.road:
        scene.canvas.polygon(_rectangle(street, x, x + 0.5 * pitch, z, z + 3.2), ink)
        x += pitch
