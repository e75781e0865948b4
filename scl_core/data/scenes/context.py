"""What every drawing function is handed: the dice, the street, the light, the paints and the canvas of one scene."""

from dataclasses import dataclass
from random import Random

from scl_core.data.scenes.canvas import Canvas
from scl_core.data.scenes.dials import Dials
from scl_core.data.scenes.light import Light
from scl_core.data.scenes.paint import PaintBox
from scl_core.data.scenes.street import NEAR, Street


@dataclass(frozen=True)
class Scene:
    """One scene while it is being drawn."""

    dice: Random
    dials: Dials
    street: Street
    light: Light
    paints: PaintBox
    canvas: Canvas

    def out_of_view(self, x: float, z: float, reach: float) -> bool:
        """Whether a thing at (x, z) that reaches `reach` metres to each side is beside the picture."""
        u, _, size = self.street.upright(x, z)
        return u + reach * size < 0 or u - reach * size > self.street.width

    def is_tiny(self, z: float) -> bool:
        """Whether a metre at depth z is under 3 % of the picture's height: details there are left out."""
        return self.street.focal < 0.03 * z * self.street.height

    def cast_shadow(self, x: float, z: float, half_width: float, height: float, strength: float = 0.55) -> None:
        """The shadow of an upright thing of the given half width and height (metres) on the ground."""
        sun = self.light.mood.sun
        if sun < 0.2 or self.is_tiny(z):
            return
        tip_x, tip_z = x + height * self.light.sun_x, max(z + height * self.light.sun_z, NEAR)
        corners = ((x - half_width, z), (x + half_width, z), (tip_x + half_width, tip_z), (tip_x - half_width, tip_z))
        self.canvas.cast([self.street.point(u, 0, w) for u, w in corners], strength * sun)

    def ground_blot(self, x: float, z: float, radius_x: float, radius_z: float, strength: float) -> None:
        """A dark patch under a thing: where it touches the ground, or the shade of a crown."""
        street, reach = self.street, max(z - radius_z, NEAR)
        octagon = ((-1, -0.4), (-0.4, -1), (0.4, -1), (1, -0.4), (1, 0.4), (0.4, 1), (-0.4, 1), (-1, 0.4))
        points = [street.point(x + a * radius_x, 0, max(z + b * radius_z, reach)) for a, b in octagon]
        self.canvas.cast(points, strength)
