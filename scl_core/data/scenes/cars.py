"""Cars as little solids: a side profile pulled to the car's width, turned on the ground and projected."""

from dataclasses import dataclass
from math import cos, pi, sin

from scl_core.data.scenes.canvas import Point
from scl_core.data.scenes.classes import CAR
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.paint import Colour
from scl_core.data.scenes.street import NEAR


@dataclass(frozen=True)
class Body:
    """A kind of car. `profile`: (share of the length from the tail, height in metres), tail to nose over the roof;
    `glass`: the profile's edges that are windows; `windows`: shares of the length between the side windows' posts."""

    length: float
    width: float
    belt: float
    roof: float
    taper: float
    profile: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    windows: tuple[tuple[float, float, float, float], ...]


_SEDAN = ((0, 0.32), (0, 0.9), (0.16, 1.0), (0.30, 1.42), (0.58, 1.44), (0.74, 1.0), (0.97, 0.82), (1, 0.6), (1, 0.3))
_HATCH = ((0, 0.32), (0, 0.95), (0.02, 1.0), (0.12, 1.46), (0.55, 1.5), (0.74, 1.02), (0.96, 0.85), (1, 0.6), (1, 0.3))
_SUV = ((0, 0.4), (0, 1.05), (0.01, 1.12), (0.08, 1.72), (0.58, 1.76), (0.73, 1.18), (0.97, 1.05), (1, 0.7), (1, 0.4))
_VAN = ((0, 0.4), (0, 1.0), (0, 1.2), (0.01, 2.05), (0.8, 2.1), (0.92, 1.25), (0.99, 1.0), (1, 0.6), (1, 0.4))
_BUS = ((0, 0.4), (0, 1.0), (0, 1.3), (0.0, 2.9), (0.99, 2.95), (1, 1.1), (1, 0.9), (1, 0.7), (1, 0.4))
BODIES: tuple[tuple[Body, float], ...] = (
    (Body(4.5, 1.8, 1.0, 1.42, 0.8, _SEDAN, (2, 4), ((0.2, 0.45, 0.31, 0.45), (0.48, 0.7, 0.48, 0.57))), 4),
    (Body(3.9, 1.7, 1.02, 1.48, 0.82, _HATCH, (2, 4), ((0.08, 0.38, 0.15, 0.38), (0.41, 0.7, 0.41, 0.54))), 4),
    (Body(4.6, 1.9, 1.15, 1.72, 0.86, _SUV, (2, 4), ((0.06, 0.36, 0.11, 0.36), (0.39, 0.7, 0.39, 0.57))), 3),
    (Body(5.2, 2.0, 1.25, 2.0, 0.92, _VAN, (2, 4), ((0.62, 0.88, 0.62, 0.8),)), 1.5),
    (
        Body(
            10.5,
            2.5,
            1.2,
            2.75,
            0.97,
            _BUS,
            (2, 4),
            tuple((s, s + 0.13, s, s + 0.13) for s in (0.04, 0.2, 0.36, 0.52, 0.68, 0.83)),
        ),
        0.5,
    ),
)


@dataclass(frozen=True)
class Pose:
    """A body standing on the ground: its centre (x, z) and yaw (0 = driving away, pi = coming)."""

    body: Body
    x: float
    z: float
    yaw: float

    def place(self, along: float, height: float, across: float) -> tuple[float, float, float]:
        """From the body's share of length, height and metres across to the world's x, y, z."""
        ahead = (along - 0.5) * self.body.length
        s, c = sin(self.yaw), cos(self.yaw)
        return self.x + ahead * s + across * c, height, self.z + ahead * c - across * s

    def half(self, height: float) -> float:
        """Half the body's width at a height: full to the belt, then tapering to the roof."""
        body = self.body
        share = min(max((height - body.belt) / (body.roof - body.belt), 0.0), 1.0)
        return 0.5 * body.width * (1 - (1 - body.taper) * share)


def draw_car(scene: Scene, x: float, z: float, yaw: float, body: Body | None = None) -> None:
    """A car with its centre over (x, z); nothing is drawn where it would touch the camera."""
    if body is None:
        kinds, weights = zip(*BODIES, strict=True)
        body = scene.dice.choices(kinds, weights)[0]
    pose = Pose(body, x, z, yaw)
    corners = [pose.place(along, 0, across) for along in (0, 1) for across in (-0.55 * body.width, 0.55 * body.width)]
    if min(corner[2] for corner in corners) < 1.6 * NEAR or scene.out_of_view(x, z, 0.6 * body.length):
        return
    canvas = scene.canvas
    canvas.move_to(z)
    _draw_shadow(scene, corners, body.roof)
    colour = scene.paints.material("car")
    glass = scene.paints.material("glass")
    camera = _camera_in_body(scene, pose)
    _draw_underside(scene, pose, tail=camera[0] < 0)
    _draw_strips(scene, pose, colour, glass, camera)
    if abs(camera[2]) > 0.5 * body.width:
        _draw_flank(scene, pose, colour, glass, 1 if camera[2] > 0 else -1)
    if not scene.is_tiny(z):
        _draw_lamps(scene, pose, tail=camera[0] < 0)


def _draw_shadow(scene: Scene, corners: list[tuple[float, float, float]], roof: float) -> None:
    light, street = scene.light, scene.street
    ring = [corners[0], corners[1], corners[3], corners[2]]
    if light.mood.sun > 0.25:
        shift_x, shift_z = 0.8 * roof * light.sun_x, 0.8 * roof * light.sun_z
        cast = [street.point(x + shift_x, 0, max(z + shift_z, NEAR)) for x, _, z in ring]
        scene.canvas.cast(cast, 0.5 * light.mood.sun)
    scene.canvas.cast([street.point(x, 0, z) for x, _, z in ring], 0.72)


def _draw_underside(scene: Scene, pose: Pose, tail: bool) -> None:
    """The dark floor and the two tyres seen below the end that faces the camera."""
    street, body, along = scene.street, pose.body, 0.05 if tail else 0.95
    half, dark = 0.5 * body.width, scene.canvas.ink((20, 20, 23), CAR)
    for left, right, low in ((-0.86, 0.86, 0.2), (-0.94, -0.68, 0.0), (0.68, 0.94, 0.0)):
        corners = ((left, low), (right, low), (right, 0.42), (left, 0.42))
        scene.canvas.polygon([street.point(*pose.place(along, y, a * half)) for a, y in corners], dark)


def _camera_in_body(scene: Scene, pose: Pose) -> tuple[float, float, float]:
    """The camera's position in the body's own metres: along from the centre, up, across."""
    street = scene.street
    dx, dz = -pose.x - street.bend * pose.z * pose.z, -pose.z
    s, c = sin(pose.yaw), cos(pose.yaw)
    return dx * s + dz * c, street.camera, dx * c - dz * s


def _draw_strips(scene: Scene, pose: Pose, colour: Colour, glass: Colour, camera: tuple[float, float, float]) -> None:
    """The faces across the body (tail, rear window, roof, windscreen, hood, nose) that look towards the camera."""
    canvas, body = scene.canvas, pose.body
    for index, ((along, low), (next_along, high)) in enumerate(zip(body.profile, body.profile[1:], strict=False)):
        run, rise = (next_along - along) * body.length, high - low
        if -rise * (camera[0] - (along - 0.5) * body.length) + run * (camera[1] - low) <= 0:
            continue
        slope = abs(run) / (abs(run) + abs(rise) + 1e-6)
        shade = 0.78 + 0.36 * slope * (0.5 + 0.5 * scene.light.mood.sun)
        canvas.polygon(_strip(scene, pose, index, 1.0), canvas.ink(colour, CAR, shade))
        if index in body.glass:
            canvas.polygon(_strip(scene, pose, index, 0.86), canvas.ink(glass, CAR, 0.7 + 0.5 * slope))


def _strip(scene: Scene, pose: Pose, index: int, share: float) -> list[Point]:
    """The strip between two profile points, shrunk to a share of its size (for the glass in its frame)."""
    (along, low), (next_along, high) = pose.body.profile[index : index + 2]
    trim = 0.5 * (1 - share)
    first = (along + trim * (next_along - along), low + trim * (high - low))
    second = (next_along - trim * (next_along - along), high - trim * (high - low))
    points = []
    for (a, y), sign in ((first, -1), (first, 1), (second, 1), (second, -1)):
        points.append(scene.street.point(*pose.place(a, y, sign * share * pose.half(y))))
    return points


def _draw_flank(scene: Scene, pose: Pose, colour: Colour, glass: Colour, sign: int) -> None:
    """The side towards the camera: body, windows, sill and wheels."""
    canvas, body, street = scene.canvas, pose.body, scene.street
    outline = [street.point(*pose.place(a, y, sign * pose.half(y))) for a, y in body.profile]
    canvas.polygon(outline, canvas.ink(colour, CAR, 0.92))
    pane = canvas.ink(glass, CAR, 0.85)
    low, high = body.belt + 0.03, body.belt + 0.86 * (body.roof - body.belt)
    for rear_low, front_low, rear_high, front_high in body.windows:
        corners = ((rear_low, low), (front_low, low), (front_high, high), (rear_high, high))
        canvas.polygon([street.point(*pose.place(a, y, sign * pose.half(y))) for a, y in corners], pane)
    for along in (0.19, 0.8):
        _draw_wheel(scene, pose, along, sign)


def _draw_wheel(scene: Scene, pose: Pose, along: float, sign: int) -> None:
    canvas, radius = scene.canvas, 0.34 if pose.body.length < 8 else 0.5
    tiny = scene.is_tiny(0.7 * pose.z)
    corners = 5 if tiny else 10
    for share, shade in ((1.0, 24), (0.55, 130)):
        if share < 1 and tiny:
            return
        ring = []
        for step in range(corners):
            angle = (step + 0.5) * 2 * pi / corners + pi / 2
            offset = share * radius * cos(angle) / pose.body.length
            place = pose.place(along + offset, radius + share * radius * sin(angle), sign * 0.51 * pose.body.width)
            ring.append(scene.street.point(*place))
        canvas.polygon(ring, canvas.ink((shade, shade, shade + 4), CAR))


def _draw_lamps(scene: Scene, pose: Pose, tail: bool) -> None:
    """Two lamps and a plate on the end that faces the camera."""
    canvas, street, body = scene.canvas, scene.street, pose.body
    along, height = (0.0, 0.78) if tail else (1.0, 0.66)
    lit = 1.7 if scene.light.lamps else 1.0
    colour = (190, 24, 24) if tail else (225, 222, 205)
    half = 0.5 * body.width
    for left, right in ((-0.95, -0.68), (0.68, 0.95)):
        corners = ((left, height - 0.1), (right, height - 0.1), (right, height + 0.1), (left, height + 0.1))
        points = [street.point(*pose.place(along, y, a * half)) for a, y in corners]
        canvas.polygon(points, canvas.ink(colour, CAR, lit))
    plate = ((-0.26, 0.5), (0.26, 0.5), (0.26, 0.62), (-0.26, 0.62))
    points = [street.point(*pose.place(along, y, a)) for a, y in plate]
    canvas.polygon(points, canvas.ink((228, 226, 210), CAR))
