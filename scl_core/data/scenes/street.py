"""The street's geometry: a pinhole camera over flat ground, a road that may bend, and what lines each side of it."""

from dataclasses import dataclass
from random import Random

NEAR, FAR = 1.0, 150.0

SCENE_KINDS = {"city": 3.0, "suburb": 2.5, "park": 1.5, "works": 1.0, "open": 1.0}


@dataclass(frozen=True)
class Side:
    """One side of the road: distances from the camera's axis in metres, `sign` -1 left and +1 right."""

    sign: int
    road: float
    verge: float
    walk: float
    line: float


@dataclass(frozen=True)
class Street:
    """Projects metres (x right, y up, z ahead) onto the canvas in pixels."""

    kind: str
    width: int
    height: int
    camera: float
    focal: float
    vanish: float
    horizon: float
    bend: float
    roll: float
    left: Side
    right: Side
    crossing: tuple[float, float] | None

    def upright(self, x: float, z: float) -> tuple[float, float, float]:
        """Column u, row of the ground and pixels per metre at (x, z): height y stands at row `ground - y * scale`."""
        scale = self.focal / z
        u = self.vanish + (x + self.bend * z * z) * scale
        return u, self.horizon + self.roll * (u - self.vanish) + self.camera * scale, scale

    def point(self, x: float, y: float, z: float) -> tuple[float, float]:
        """The canvas position (u, v) of a point in space."""
        u, ground, scale = self.upright(x, z)
        return u, ground - y * scale

    def skyline(self, u: float) -> float:
        """The row of the horizon at column u."""
        return self.horizon + self.roll * (u - self.vanish)

    @property
    def sides(self) -> tuple[Side, Side]:
        """The left and the right side."""
        return self.left, self.right


def make_street(dice: Random, width: int, height: int) -> Street:
    """Draw the camera and the cross section of the road for a canvas of width x height pixels."""
    kind = dice.choices(tuple(SCENE_KINDS), tuple(SCENE_KINDS.values()))[0]
    camera = dice.uniform(1.3, 2.1) if dice.random() < 0.88 else dice.uniform(2.4, 4.0)
    road = dice.uniform(5.5, 9.0) if dice.random() < 0.6 else dice.uniform(9.0, 16.0)
    left = -road * dice.uniform(0.3, 0.7)
    if dice.random() < 0.14:
        left += dice.choice((-1, 1)) * (road * 0.4 + dice.uniform(0.5, 2.0))
    crossing = None
    if dice.random() < 0.35:
        start = dice.uniform(12, 40)
        crossing = (start, start + dice.uniform(6, 11))
    return Street(
        kind=kind,
        width=width,
        height=height,
        camera=camera,
        focal=height * dice.uniform(0.8, 1.35),
        vanish=width * min(max(dice.gauss(0.5, 0.11), 0.2), 0.8),
        horizon=height * dice.uniform(0.35, 0.56),
        bend=dice.gauss(0, 0.0006) if dice.random() < 0.6 else dice.gauss(0, 0.0025),
        roll=dice.gauss(0, 0.012),
        left=_make_side(dice, kind, -1, left),
        right=_make_side(dice, kind, 1, left + road),
        crossing=crossing,
    )


def _make_side(dice: Random, kind: str, sign: int, road: float) -> Side:
    leafy = kind in ("suburb", "park", "open")
    verge = dice.uniform(0.6, 2.5) if dice.random() < (0.5 if leafy else 0.12) else 0.0
    walk = dice.uniform(1.4, 3.0) if leafy else dice.uniform(2.0, 5.5)
    if kind == "open" and dice.random() < 0.5:
        walk = 0.0
    setback = {"city": 0.0, "works": dice.uniform(0, 6), "suburb": dice.uniform(2, 7)}.get(kind, dice.uniform(0, 4))
    edges = [road]
    for part in (verge, walk, setback):
        edges.append(edges[-1] + sign * part)
    return Side(sign, *edges)
