"""What stands and moves in the street: cars, people, lamps, signs, street trees, and what blocks the view."""

from functools import partial
from math import pi

from scl_core.data.scenes.cars import draw_car
from scl_core.data.scenes.context import Scene
from scl_core.data.scenes.paint import vary
from scl_core.data.scenes.people import draw_person
from scl_core.data.scenes.plants import draw_tree
from scl_core.data.scenes.poles import draw_bollard, draw_gantry, draw_lamp, draw_sign, draw_traffic_light
from scl_core.data.scenes.roadside import Thing
from scl_core.data.scenes.street import Side


def plan_traffic(scene: Scene) -> list[Thing]:
    """Everything between the two building lines; each thing is (depth, function that draws it)."""
    dice, crowd = scene.dice, 0.35 + 1.3 * scene.dials.clutter
    things = _crossing(scene, crowd) + _moving_cars(scene, crowd)
    metal = scene.paints.material("pole")
    for side in scene.street.sides:
        things += _parked_cars(scene, side, crowd) + _walkers(scene, side, crowd)
        things += _lamps(scene, side, crowd, metal) + _street_trees(scene, side)
        things += _signs(scene, side, crowd, metal)
    if dice.random() < 0.08 * crowd:
        z = dice.uniform(18, 40)
        things.append((z, partial(draw_gantry, z=z, colour=metal)))
    return _without_collisions(_blockers(scene, metal) + things)


def _without_collisions(things: list[Thing]) -> list[Thing]:
    """Leave out each car that would stand inside one before it in the list."""
    taken: list[tuple[float, float]] = []
    kept = []
    for depth, draw in things:
        if draw.func is draw_car:
            x, z = draw.keywords["x"], draw.keywords["z"]
            if any(abs(x - other_x) < 2.1 and abs(z - other_z) < 5.0 for other_x, other_z in taken):
                continue
            taken.append((x, z))
        kept.append((depth, draw))
    return kept


def _kerb(side: Side, inward: float) -> float:
    """A place `inward` metres off the roadway on this side."""
    return side.verge + side.sign * inward


def _moving_cars(scene: Scene, crowd: float) -> list[Thing]:
    dice, street, things = scene.dice, scene.street, []
    start, end = street.left.road, street.right.road
    lanes = max(2, round((end - start) / 3.6))
    keep_right = dice.random() < 0.7
    for _ in range(round(dice.uniform(0, 5) * crowd)):
        lane = dice.randrange(lanes)
        x = start + (lane + 0.5) * (end - start) / lanes + dice.uniform(-0.3, 0.3)
        away = (lane >= lanes / 2) == keep_right
        z = dice.uniform(6, 20) if dice.random() < 0.45 else dice.uniform(18, 60)
        things.append((z, partial(draw_car, x=x, z=z, yaw=(0 if away else pi) + dice.gauss(0, 0.04))))
    return things


def _parked_cars(scene: Scene, side: Side, crowd: float) -> list[Thing]:
    dice, things = scene.dice, []
    if dice.random() > 0.45 * crowd:
        return things
    share, z = dice.uniform(0.3, 0.95), dice.uniform(4, 10)
    angled = dice.random() < 0.12
    while z < 60:
        if dice.random() < share and not _in_crossing(scene, z):
            yaw = dice.choice((0, pi)) + dice.gauss(0, 0.03) + (0.9 * side.sign if angled else 0)
            x = side.road - side.sign * (1.9 if angled else dice.uniform(0.95, 1.2))
            things.append((z, partial(draw_car, x=x, z=z, yaw=yaw)))
        z += 3.4 if angled else dice.uniform(5.4, 7.0)
    return things


def _in_crossing(scene: Scene, z: float) -> bool:
    crossing = scene.street.crossing
    return crossing is not None and crossing[0] - 3 < z < crossing[1] + 3


def _crossing(scene: Scene, crowd: float) -> list[Thing]:
    """Cars and people on the crossing street, traffic lights at its corners."""
    dice, street, things = scene.dice, scene.street, []
    if street.crossing is None:
        return things
    start, end = street.crossing
    for _ in range(round(dice.uniform(0, 3) * crowd)):
        z, x = dice.uniform(start + 1.2, end - 1.2), dice.uniform(-1.3, 1.3) * end
        things.append((z, partial(draw_car, x=x, z=z, yaw=dice.choice((-1, 1)) * pi / 2)))
    for _ in range(round(dice.uniform(0, 4) * crowd)):
        z, x = start - dice.uniform(1.5, 4), dice.uniform(street.left.road, street.right.road)
        things.append((z, partial(draw_person, x=x, z=z)))
    if dice.random() < 0.7:
        metal = scene.paints.material("pole")
        for side in street.sides:
            things.append((start - 1, partial(draw_traffic_light, x=_kerb(side, 0.5), z=start - 1, colour=metal)))
    return things


def _walkers(scene: Scene, side: Side, crowd: float) -> list[Thing]:
    dice, things = scene.dice, []
    room = max(abs(side.walk - side.verge), 1.0)
    busy = 6.5 if scene.street.kind == "city" else 4.0
    for _ in range(round(dice.uniform(0, busy) * crowd)):
        z = 4.0 * 9.0 ** dice.random()
        x = _kerb(side, dice.uniform(0.3, room))
        for companion in range(dice.choice((1, 1, 1, 2, 2, 3))):
            away = z + 0.25 * companion
            things.append((away, partial(draw_person, x=x + 0.55 * companion * side.sign, z=away)))
    return things


def _lamps(scene: Scene, side: Side, crowd: float, metal: tuple) -> list[Thing]:
    dice, things = scene.dice, []
    if dice.random() > 0.75:
        return things
    gap, z, height = dice.uniform(12, 28), dice.uniform(5, 16), dice.uniform(4.5, 8)
    while z < 80:
        things.append((z, partial(draw_lamp, x=_kerb(side, 0.45), z=z, height=height, colour=metal)))
        z += gap
    if dice.random() < 0.15 * crowd:
        near = dice.uniform(3.5, 9)
        row = [near + 1.8 * step for step in range(5)]
        things += [(z, partial(draw_bollard, x=_kerb(side, 0.3), z=z, colour=metal)) for z in row]
    return things


def _signs(scene: Scene, side: Side, crowd: float, metal: tuple) -> list[Thing]:
    dice, things = scene.dice, []
    for _ in range(round(dice.uniform(0.2, 3.2) * crowd)):
        z = 4.5 * 6.5 ** dice.random()
        things.append((z, partial(draw_sign, x=_kerb(side, dice.uniform(0.3, 0.9)), z=z, colour=metal)))
    return things


def _street_trees(scene: Scene, side: Side) -> list[Thing]:
    dice, things = scene.dice, []
    odds = {"city": 0.35, "works": 0.15, "open": 0.25}.get(scene.street.kind, 0.45)
    if dice.random() > odds:
        return things
    leaf, kind = scene.paints.material("leaf"), dice.choice(("round", "round", "tall", "bare", "conifer"))
    z, gap = dice.uniform(5, 14), dice.uniform(7, 15)
    while z < 75:
        tree = partial(draw_tree, x=_kerb(side, 0.8), z=z, leaf=vary(dice, leaf, 0.15), kind=kind)
        things.append((z, tree))
        z += gap
    return things


def _blockers(scene: Scene, metal: tuple) -> list[Thing]:
    """Something close that hides part of the view."""
    dice, street, things = scene.dice, scene.street, []
    for side in street.sides:
        if dice.random() > 0.7 * scene.dials.occlusion:
            continue
        kind, z = dice.choice(("car", "car", "person", "tree", "post", "people")), dice.uniform(3.6, 5.5)
        x = _kerb(side, dice.uniform(0.2, 1.0))
        if kind == "car":
            x, z = side.road - side.sign * dice.uniform(1.0, 1.4), dice.uniform(5.0, 7.5)
            things.append((z, partial(draw_car, x=x, z=z, yaw=dice.choice((0, pi)))))
        elif kind == "tree":
            things.append((z, partial(draw_tree, x=x, z=z, leaf=scene.paints.material("leaf"))))
        elif kind == "post":
            things.append((z, partial(draw_lamp, x=x, z=z, height=6.0, colour=metal)))
        else:
            for step in range(1 if kind == "person" else 4):
                near = z + 0.4 * step
                things.append((near, partial(draw_person, x=x + 0.5 * step * side.sign, z=near)))
    return things
