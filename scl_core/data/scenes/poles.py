"""Thin things: street lamps, traffic lights, signs on posts, bollards and sign gantries."""

from math import cos, pi, sin

from scl_core.data.scenes.classes import POLE, SIGN
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.light import LAMPLIGHT
from scl_core.data.scenes.paint import Colour


def _draw_post(
    scene: Scene, x: float, z: float, height: float, width: float, colour: Colour
) -> tuple[float, float, float]:
    """An upright post; returns the column of its axis, the row of its top and the pixels per metre."""
    u, ground, size = scene.street.upright(x, z)
    half, top = max(1.0, 0.5 * width * size), ground - height * size
    if z < 25:
        scene.cast_shadow(x, z, 0.5 * width + 0.02, height, 0.5)
    scene.canvas.box(u - half, top, u + half - 1, ground, scene.canvas.ink(colour, POLE))
    if half > 2:
        scene.canvas.box(u + 0.3 * half, top, u + half - 1, ground, scene.canvas.ink(colour, POLE, 0.7))
    return u, top, size


def draw_lamp(scene: Scene, x: float, z: float, height: float, colour: Colour) -> None:
    """A street lamp whose arm reaches over the road."""
    canvas, reach = scene.canvas, 1.6 if x < 0 else -1.6
    canvas.move_to(z)
    u, top, size = _draw_post(scene, x, z, height, 0.17, colour)
    end = u + reach * size
    canvas.line([(u, top), (end, top - 0.15 * size)], 0.1 * size, canvas.ink(colour, POLE))
    glow = LAMPLIGHT if scene.light.lamps else colour
    canvas.box(end - 0.35 * size, top - 0.28 * size, end + 0.35 * size, top - 0.08 * size, canvas.ink(glow, POLE, 1.1))


def draw_traffic_light(scene: Scene, x: float, z: float, colour: Colour) -> None:
    """A post with a box of three lights; the box is a traffic sign."""
    canvas, dice = scene.canvas, scene.dice
    canvas.move_to(z)
    u, top, size = _draw_post(scene, x, z, dice.uniform(3.0, 4.0), 0.14, colour)
    half, high = max(1.6, 0.19 * size), max(5.0, 1.0 * size)
    shell = scene.paints.family(dice.choice(("dark", "dark", "deep_green", "yellow")))
    canvas.box(u - half, top - 0.3 * high, u + half, top + 0.7 * high, canvas.ink(shell, SIGN))
    lit = dice.randrange(3)
    for index, lamp in enumerate(((255, 60, 40), (255, 190, 50), (60, 240, 130))):
        v = top + (0.3 * index - 0.13) * high
        radius = max(0.8, 0.11 * high)
        canvas.ellipse(u, v, radius, radius, canvas.ink(lamp, SIGN, 1.0 if index == lit else 0.3))


def draw_sign(scene: Scene, x: float, z: float, colour: Colour) -> None:
    """A sign on a thin post: disc, triangle, octagon or board."""
    dice = scene.dice
    scene.canvas.move_to(z)
    u, top, size = _draw_post(scene, x, z, dice.uniform(2.2, 3.2), 0.09, colour)
    face = scene.paints.material("sign")
    radius = max(2.6, dice.uniform(0.3, 0.48) * size)
    shape = dice.choice(("disc", "disc", "triangle", "octagon", "board", "board"))
    if shape == "board":
        _draw_board(scene, u, top, radius * dice.uniform(0.7, 1.7), radius * dice.uniform(0.6, 1.1), face)
    else:
        _draw_plate(scene, u, top, radius, shape, face)


def _draw_board(scene: Scene, u: float, v: float, half_width: float, half_height: float, face: Colour) -> None:
    canvas = scene.canvas
    canvas.box(u - half_width, v - half_height, u + half_width, v + half_height, canvas.ink((232, 232, 228), SIGN))
    canvas.box(
        u - 0.86 * half_width,
        v - 0.82 * half_height,
        u + 0.86 * half_width,
        v + 0.82 * half_height,
        canvas.ink(face, SIGN),
    )
    if half_width > 6:
        text = canvas.ink((235, 235, 230), SIGN)
        for row in (-0.35, 0.15):
            left, right = u - 0.6 * half_width, u + scene.dice.uniform(0.1, 0.6) * half_width
            canvas.box(left, v + row * half_height, right, v + (row + 0.22) * half_height, text)


def _draw_plate(scene: Scene, u: float, v: float, radius: float, shape: str, face: Colour) -> None:
    canvas, dice = scene.canvas, scene.dice
    corners, turn = {"disc": (12, 0.0), "triangle": (3, -pi / 2), "octagon": (8, pi / 8)}[shape]
    if shape == "triangle" and dice.random() < 0.4:
        turn = pi / 2
    rim = (200, 30, 34) if shape == "triangle" or dice.random() < 0.5 else (236, 236, 232)
    inner = (200, 30, 34) if shape == "octagon" else (238, 238, 234) if rim[1] == 30 else face
    for share, colour in ((1.0, rim), (0.68, inner)):
        ring = [(turn + step * 2 * pi / corners) for step in range(corners)]
        points = [(u + share * radius * cos(angle), v + share * radius * sin(angle)) for angle in ring]
        canvas.polygon(points, canvas.ink(colour, SIGN))
    if radius > 5:
        mark = canvas.ink((30, 30, 34) if inner[1] > 200 else (240, 240, 236), SIGN)
        canvas.box(u - 0.35 * radius, v - 0.1 * radius, u + 0.35 * radius, v + 0.1 * radius, mark)


def draw_bollard(scene: Scene, x: float, z: float, colour: Colour) -> None:
    """A knee-high post at the kerb."""
    scene.canvas.move_to(z)
    _draw_post(scene, x, z, 0.95, 0.15, colour)


def draw_gantry(scene: Scene, z: float, colour: Colour) -> None:
    """A beam over the road on two posts, carrying large direction boards."""
    street, canvas, dice = scene.street, scene.canvas, scene.dice
    canvas.move_to(z)
    left, right = street.left.road - 0.8, street.right.road + 0.8
    ends = [_draw_post(scene, x, z, 6.2, 0.28, colour) for x in (left, right)]
    (u0, top, size), (u1, other, _) = ends
    canvas.line([(u0, top), (u1, other)], 0.25 * size, canvas.ink(colour, POLE))
    face = scene.paints.family(dice.choice(("blue", "green", "blue")))
    for share in dice.sample((0.25, 0.5, 0.75), dice.randint(1, 2)):
        u, v = u0 + share * (u1 - u0), top + share * (other - top)
        _draw_board(scene, u, v, 1.5 * size, 0.9 * size, face)
