"""Fences and walls along the street: boards, rails, mesh, brick and plaster."""

from scl_core.data.scenes.classes import FENCE
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.paint import scale
from scl_core.data.scenes.street import NEAR, Side

_KINDS = {"boards": 2.5, "rails": 1.5, "wall": 3.0, "panels": 2.0}


def draw_fence(scene: Scene, side: Side, x: float, near: float, far: float) -> None:
    """A fence along x from `near` to `far` (metres ahead), of a random kind."""
    near, dice, canvas = max(near, NEAR), scene.dice, scene.canvas
    canvas.move_to(0.5 * (near + far))
    kind = dice.choices(tuple(_KINDS), tuple(_KINDS.values()))[0]
    height = dice.uniform(0.8, 1.3) if kind == "rails" else dice.uniform(1.0, 2.6)
    colour, shade = scene.paints.material("fence"), scene.light.side(side.sign)
    steps = [near * (far / near) ** (step / 5) for step in range(6)]
    stands = [scene.street.upright(x, z) for z in steps]
    body, dim = canvas.ink(colour, FENCE, shade), canvas.ink(scale(colour, 0.68), FENCE, shade)
    open_work = kind == "rails"
    _draw_course(scene, stands, 0.0, height, dim if open_work else body)
    if open_work:
        for level in (0.2, 0.5, 0.8):
            _draw_course(scene, stands, level * height, (level + 0.14) * height, body)
    elif kind == "wall":
        _draw_course(scene, stands, 0.9 * height, height, canvas.ink(scale(colour, 1.25), FENCE, shade))
        _draw_course(scene, stands, 0.0, 0.15 * height, dim)
    _draw_posts(scene, x, near, far, height, kind, dim)


def _draw_course(scene: Scene, stands: list, low: float, high: float, ink: tuple) -> None:
    top = [(u, ground - high * size) for u, ground, size in stands]
    scene.canvas.polygon(top + [(u, ground - low * size) for u, ground, size in reversed(stands)], ink)


def _draw_posts(scene: Scene, x: float, near: float, far: float, height: float, kind: str, ink: tuple) -> None:
    """Posts, or the gaps between boards: dense for boards, wide apart for walls."""
    gap = {"boards": 0.4, "rails": 2.0, "wall": 5.0, "panels": 2.2}[kind]
    half = 0.05 if kind == "boards" else 0.08
    z, drawn = near + gap * scene.dice.random(), 0
    while z < far and drawn < 26:
        u, ground, size = scene.street.upright(x, z)
        if -2 < u < scene.street.width + 2:
            scene.canvas.box(u - half * size, ground - 1.04 * height * size, u + half * size, ground, ink)
            drawn += 1
        z = max(z + gap, z * 1.035)
