"""The dials of the drawn scenes: how crowded, how changing and how confusing they are."""

from dataclasses import dataclass, fields

from scl_core.errors import UserError


@dataclass(frozen=True)
class Dials:
    """Difficulty of the drawn scenes, each from 0 (easy) to 1 (hard).

    `clutter`: how many cars, people, poles and trees; `light`: how far the light moves from a mild clear day;
    `noise`: texture, blur and sensor noise; `occlusion`: how often something close stands in the way;
    `color_overlap`: how often different classes take their paint from the same few pots.
    Raises UserError where a value is outside [0, 1].
    """

    clutter: float = 0.5
    light: float = 0.5
    noise: float = 0.5
    occlusion: float = 0.5
    color_overlap: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 <= value <= 1.0:
                raise UserError(f"scenes: {field.name} is {value}; choose a number from 0 to 1")
