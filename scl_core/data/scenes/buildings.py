"""Buildings: boxes along the street with many kinds of facade, gable roofs, and the town at the end of the view."""

from dataclasses import dataclass

from scl_core.data.scenes.canvas import Point
from scl_core.data.scenes.classes import BUILDING
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.light import LAMPLIGHT
from scl_core.data.scenes.paint import Colour, blend, scale, vary
from scl_core.data.scenes.street import NEAR, Side

_FACADES = {"grid": 5.0, "framed": 2.5, "bands": 1.3, "curtain": 1.2, "blank": 1.2}
_MIN_BAY = 0.024  # of the picture's height: narrower window bays are not drawn


@dataclass(frozen=True)
class Facade:
    """How a wall is dressed; lengths in metres, shares in 0..1."""

    kind: str
    wall: Colour
    window: Colour
    trim: Colour
    storey: float
    bay: float
    window_width: float
    window_height: float
    ground_floor: float
    shop: Colour | None
    lit: float


@dataclass(frozen=True)
class Wall:
    """An upright wall from (x0, z0) to (x1, z1), `height` metres high, under light of the given brightness."""

    x0: float
    z0: float
    x1: float
    z1: float
    height: float
    shade: float

    def uprights(self, scene: Scene, shares: list[float]) -> list[tuple[float, float, float]]:
        """Column, ground row and pixels per metre at each share of the way along the wall."""
        dx, dz = self.x1 - self.x0, self.z1 - self.z0
        return [scene.street.upright(self.x0 + dx * share, self.z0 + dz * share) for share in shares]


def make_facade(scene: Scene) -> Facade:
    """Draw the dress of one building."""
    dice, paints = scene.dice, scene.paints
    wall = paints.material("facade")
    kind = dice.choices(tuple(_FACADES), tuple(_FACADES.values()))[0]
    shop = vary(dice, paints.family(dice.choice(("vivid", "dark", "blue", "green", "white"))), 0.1)
    return Facade(
        kind=kind,
        wall=paints.material("glass") if kind == "curtain" else wall,
        window=paints.material("glass") if dice.random() < 0.8 else scale(wall, 0.55),
        trim=blend(wall, (245, 242, 235), dice.uniform(0.3, 0.9)) if dice.random() < 0.6 else scale(wall, 0.6),
        storey=dice.uniform(2.8, 3.8),
        bay=dice.uniform(1.8, 4.0),
        window_width=dice.uniform(0.35, 0.7),
        window_height=dice.uniform(0.4, 0.72),
        ground_floor=dice.uniform(3.0, 4.4),
        shop=shop if scene.street.kind == "city" and dice.random() < 0.55 else None,
        lit=dice.uniform(0.1, 0.6) if scene.light.lamps else 0.0,
    )


def draw_building(scene: Scene, side: Side, x: float, near: float, far: float, height: float, gable: bool) -> None:
    """A building whose street front runs along x from `near` to `far`; `gable` gives it a pitched roof."""
    near = max(near, NEAR)
    if scene.out_of_view(x, far, 0.0) and scene.out_of_view(x, near, 0.0):
        return
    scene.canvas.move_to(0.5 * (near + far))
    facade, depth = make_facade(scene), side.sign * scene.dice.uniform(7, 13)
    _cast(scene, side, x, near, far, height)
    front = Wall(x, near, x + depth, near, height, scene.light.front())
    flank = Wall(x, near, x, far, height, scene.light.side(side.sign))
    if gable:
        _draw_roof(scene, front, far, height, depth)
    for wall in (front, flank):
        _draw_wall(scene, facade, wall)


def _cast(scene: Scene, side: Side, x: float, near: float, far: float, height: float) -> None:
    light, street = scene.light, scene.street
    if light.sun_x * side.sign > 0 or light.mood.sun < 0.2:
        return
    reach, along = min(height, 14) * light.sun_x, min(height, 14) * light.sun_z
    corners = ((x, near), (x, far), (x + reach, max(far + along, NEAR)), (x + reach, max(near + along, NEAR)))
    scene.canvas.cast([street.point(u, 0, z) for u, z in corners], 0.5 * light.mood.sun)


def _draw_roof(scene: Scene, front: Wall, far: float, height: float, depth: float) -> None:
    """A ridge along the street: the slope towards the road and the triangle above the front wall."""
    street, canvas, dice = scene.street, scene.canvas, scene.dice
    x, near, ridge = front.x0, front.z0, height + abs(depth) * dice.uniform(0.25, 0.5)
    middle, colour = x + depth / 2, scene.paints.material("roof")
    slope = [(x, height, near), (middle, ridge, near), (middle, ridge, far), (x, height, far)]
    gable = [(x, height, near), (middle, ridge, near), (x + depth, height, near)]
    canvas.polygon([street.point(*p) for p in slope], canvas.ink(colour, BUILDING, 1.05))
    canvas.polygon([street.point(*p) for p in gable], canvas.ink(scene.paints.material("facade"), BUILDING, 0.85))


def _draw_wall(scene: Scene, facade: Facade, wall: Wall) -> None:
    canvas = scene.canvas
    shares = [0.0, 1.0] if wall.z0 == wall.z1 else [0.0, 0.15, 0.45, 1.0]
    stands = wall.uprights(scene, shares)
    left, right = min(u for u, _, _ in stands), max(u for u, _, _ in stands)
    if right < 0 or left > scene.street.width or right - left < 1:
        return
    outline = _course(stands, 0, wall.height)
    canvas.polygon(outline, canvas.ink(facade.wall, BUILDING, wall.shade))
    canvas.polygon(_course(stands, wall.height * 0.965, wall.height), canvas.ink(facade.trim, BUILDING, wall.shade))
    if right - left < 2 * _MIN_BAY * scene.street.height:
        return
    if facade.kind in ("bands", "curtain"):
        _draw_bands(scene, facade, wall, stands)
    if facade.kind != "bands":
        _draw_windows(scene, facade, wall, right - left)
    if facade.shop:
        _draw_shop(scene, facade, wall, stands)


def _course(stands: list[tuple[float, float, float]], low: float, high: float) -> list[Point]:
    """The outline of the wall between two heights."""
    top = [(u, ground - high * size) for u, ground, size in stands]
    return top + [(u, ground - low * size) for u, ground, size in reversed(stands)]


def _draw_bands(scene: Scene, facade: Facade, wall: Wall, stands: list[tuple[float, float, float]]) -> None:
    colour = facade.window if facade.kind == "bands" else facade.trim
    share = facade.window_height if facade.kind == "bands" else 0.12
    ink = scene.canvas.ink(colour, BUILDING, wall.shade)
    level, step = facade.ground_floor, max(facade.storey, wall.height / 9)
    while level + share * step < wall.height:
        scene.canvas.polygon(_course(stands, level, level + share * step), ink)
        level += step


def _draw_windows(scene: Scene, facade: Facade, wall: Wall, pixels: float) -> None:
    """Window after window, leaving out those outside the picture or too small to see."""
    length = abs(wall.x1 - wall.x0) + abs(wall.z1 - wall.z0)
    bays = int(min(length / facade.bay, pixels / (_MIN_BAY * scene.street.height), 12))
    if bays < 1 or (facade.kind == "blank" and scene.dice.random() < 0.6):
        return
    margin = 0.5 * (1 - facade.window_width)
    edges = [(bay + offset) / bays for bay in range(bays) for offset in (margin, 1 - margin)]
    stands = wall.uprights(scene, edges)
    rows = _rows(facade, wall)
    for first, second in zip(stands[::2], stands[1::2], strict=True):
        left, right = min(first[0], second[0]), max(first[0], second[0])
        if right < 0 or left > scene.street.width:
            continue
        _draw_column(scene, facade, wall, [first, second], rows)


def _rows(facade: Facade, wall: Wall) -> list[tuple[float, float]]:
    """Lower and upper edge of each row of windows in metres, at most eight rows."""
    base = facade.ground_floor if facade.shop else 0.0
    step = max(facade.storey, (wall.height - base) / 8)
    count = int((wall.height - base) / step)
    sill = 0.55 * (1 - facade.window_height) * step
    return [(base + row * step + sill, base + row * step + sill + facade.window_height * step) for row in range(count)]


def _draw_column(
    scene: Scene, facade: Facade, wall: Wall, stands: list[tuple[float, float, float]], rows: list[tuple[float, float]]
) -> None:
    canvas, dice = scene.canvas, scene.dice
    _, ground, size = stands[0]
    detailed = facade.kind == "framed" and size > 10
    trim = canvas.ink(facade.trim, BUILDING, wall.shade)
    for low, high in rows:
        if ground - low * size < 0 or ground - high * size > scene.street.height:
            continue
        if detailed:
            canvas.polygon(_course(stands, low - 0.16, high + 0.16), trim)
        if facade.lit and dice.random() < facade.lit:
            ink = canvas.ink(LAMPLIGHT, BUILDING)
        else:
            ink = canvas.ink(facade.window, BUILDING, wall.shade * (0.8 + 0.45 * dice.random()))
        canvas.polygon(_course(stands, low, high), ink)


def _draw_shop(scene: Scene, facade: Facade, wall: Wall, stands: list[tuple[float, float, float]]) -> None:
    canvas, top = scene.canvas, min(facade.ground_floor, wall.height)
    glass = LAMPLIGHT if facade.lit else facade.window
    canvas.polygon(_course(stands, 0.4, top * 0.72), canvas.ink(glass, BUILDING, wall.shade))
    canvas.polygon(_course(stands, top * 0.72, top * 0.95), canvas.ink(facade.shop, BUILDING, wall.shade))
    posts = wall.uprights(scene, [0.02, 0.06, 0.3, 0.33, 0.58, 0.61, 0.9, 0.94])
    ink = canvas.ink(facade.wall, BUILDING, wall.shade * 0.9)
    for first, second in zip(posts[::2], posts[1::2], strict=True):
        canvas.polygon(_course([first, second], 0, top * 0.72), ink)


def draw_end(scene: Scene, depth: float, height: float) -> None:
    """A building across the end of the street, facing the camera."""
    scene.canvas.move_to(depth)
    middle = -scene.street.bend * depth * depth + scene.dice.uniform(-6, 6)
    half = scene.dice.uniform(6, 22)
    _draw_wall(scene, make_facade(scene), Wall(middle - half, depth, middle + half, depth, height, scene.light.front()))


def draw_skyline(scene: Scene) -> None:
    """Far blocks along the horizon."""
    street, canvas, dice = scene.street, scene.canvas, scene.dice
    canvas.move_to(140)
    unit, u = street.height / 100, -5.0
    tall = dice.uniform(2, 12)
    while u < street.width:
        width, height = unit * dice.uniform(4, 18), unit * tall * dice.uniform(0.3, 1.3)
        base = street.skyline(u + width / 2) + unit
        colour = scale(scene.paints.material("facade"), dice.uniform(0.8, 1.05))
        canvas.box(u, base - height, u + width, base, canvas.ink(colour, BUILDING))
        u += width * dice.uniform(0.8, 1.6)
