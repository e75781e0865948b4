"""What lines the street: blocks of buildings, fences, hedges and gardens on both sides, from near to far."""

from collections.abc import Callable
from functools import partial

from scl_core.data.scenes.buildings import draw_building, draw_end, draw_skyline
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.fences import draw_fence
from scl_core.data.scenes.paint import vary
from scl_core.data.scenes.plants import draw_hedge, draw_tree, draw_woods
from scl_core.data.scenes.street import NEAR, Side

Thing = tuple[float, Callable[[Scene], None]]

_BLOCKS: dict[str, dict[str, float]] = {
    "city": {"building": 8, "fence": 1.0, "gap": 0.5, "garden": 0.5},
    "suburb": {"house": 4.5, "fence": 1.5, "hedge": 1.3, "garden": 2},
    "park": {"garden": 4, "fence": 1.6, "hedge": 1.4, "building": 1.2},
    "works": {"building": 3.5, "fence": 3.5, "gap": 1, "garden": 0.7},
    "open": {"garden": 2, "fence": 1.4, "gap": 2.5, "house": 1},
}
_LAST = 110.0


def plan_backdrop(scene: Scene) -> list[Thing]:
    """Far skyline, woods, and sometimes a building across the end of the street."""
    dice, kind = scene.dice, scene.street.kind
    things: list[Thing] = []
    if dice.random() < (0.8 if kind in ("city", "works") else 0.35):
        things.append((200.0, draw_skyline))
    if dice.random() < (0.3 if kind == "city" else 0.85):
        things.append((190.0, partial(draw_woods, leaf=scene.paints.material("leaf"))))
    if dice.random() < (0.35 if kind == "city" else 0.12):
        depth = dice.uniform(45, 110)
        things.append((depth, partial(draw_end, depth=depth, height=dice.uniform(6, 26))))
    return things


def plan_side(scene: Scene, side: Side) -> list[Thing]:
    """The blocks along one side; each thing is (depth, function that draws it)."""
    dice, crossing = scene.dice, scene.street.crossing
    blocks = _BLOCKS[scene.street.kind]
    things: list[Thing] = []
    tall = dice.uniform(5, 11) if dice.random() < 0.5 else dice.uniform(10, 26)
    near = dice.uniform(-9, 2)
    while near < _LAST:
        kind = dice.choices(tuple(blocks), tuple(blocks.values()))[0]
        far = near + (dice.uniform(7, 12) if kind == "house" else dice.uniform(7, 22))
        if crossing and near < crossing[1] and far > crossing[0]:
            far = crossing[0] - 1
        if far > NEAR + 1 and far - near > 2:
            things += _BUILDERS[kind](scene, side, near, far, tall)
        near = (
            crossing[1] + 1 if crossing and far == crossing[0] - 1 else far + dice.choice((0, 0, dice.uniform(0.5, 5)))
        )
    return things


def _building(scene: Scene, side: Side, near: float, far: float, tall: float) -> list[Thing]:
    dice = scene.dice
    x = side.line + side.sign * dice.choice((0.0, 0.0, dice.uniform(0, 1.5)))
    height = tall * dice.uniform(0.6, 1.4)
    gable = height < 9 and dice.random() < 0.4
    draw = partial(draw_building, side=side, x=x, near=near, far=far, height=height, gable=gable)
    return [(far, draw)]


def _house(scene: Scene, side: Side, near: float, far: float, tall: float) -> list[Thing]:
    dice = scene.dice
    x, height, gable = side.line + side.sign * dice.uniform(0, 3), dice.uniform(3.2, 7), dice.random() < 0.8
    things = _trees(scene, side, near, far, dice.randint(0, 2), 8.0)
    house = partial(draw_building, side=side, x=x, near=near + 1, far=far - 1, height=height, gable=gable)
    things.append((far, house))
    if dice.random() < 0.6:
        things += dice.choice((_plain_fence, _plain_hedge))(scene, side, near, far)
    return things


def _fence(scene: Scene, side: Side, near: float, far: float, tall: float) -> list[Thing]:
    """A fence with something behind it."""
    dice, behind = scene.dice, scene.dice.random()
    things: list[Thing] = []
    if behind < 0.35:
        x = side.line + side.sign * dice.uniform(3, 9)
        height = tall * dice.uniform(0.5, 1.2)
        things.append((far, partial(draw_building, side=side, x=x, near=near, far=far, height=height, gable=False)))
    elif behind < 0.8:
        things += _trees(scene, side, near, far, dice.randint(1, 4), 1.0)
    return things + _plain_fence(scene, side, near, far)


def _hedge(scene: Scene, side: Side, near: float, far: float, tall: float) -> list[Thing]:
    return _trees(scene, side, near, far, scene.dice.randint(0, 3), 1.5) + _plain_hedge(scene, side, near, far)


def _garden(scene: Scene, side: Side, near: float, far: float, tall: float) -> list[Thing]:
    return _trees(scene, side, near, far, scene.dice.randint(1, 5), 0.8)


def _gap(scene: Scene, side: Side, near: float, far: float, tall: float) -> list[Thing]:
    return []


def _plain_fence(scene: Scene, side: Side, near: float, far: float) -> list[Thing]:
    x = scene.dice.choice((side.walk, 0.5 * (side.walk + side.line))) + 0.2 * side.sign
    return [(far, partial(draw_fence, side=side, x=x, near=near, far=far))]


def _plain_hedge(scene: Scene, side: Side, near: float, far: float) -> list[Thing]:
    dice = scene.dice
    x, leaf = side.walk + 0.3 * side.sign, scene.paints.material("leaf")
    return [(far, partial(draw_hedge, x=x, near=near, far=far, height=dice.uniform(0.7, 2.4), leaf=leaf))]


def _trees(scene: Scene, side: Side, near: float, far: float, count: int, back: float) -> list[Thing]:
    """Trees behind the line, far ones first; they all stand behind the block's own fence or house."""
    dice, things = scene.dice, []
    leaf = scene.paints.material("leaf")
    for z in sorted((dice.uniform(max(near, 3.5), max(far, 4.0)) for _ in range(count)), reverse=True):
        x = side.line + side.sign * (back + dice.uniform(0, 9))
        things.append((far, partial(draw_tree, x=x, z=z, leaf=vary(dice, leaf, 0.2))))
    return things


_BUILDERS = {"building": _building, "house": _house, "fence": _fence, "hedge": _hedge, "garden": _garden, "gap": _gap}
