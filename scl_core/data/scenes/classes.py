"""The eleven classes of the drawn scenes: their indices, names and mask colours (after Cityscapes)."""

import numpy as np

ROAD, SIDEWALK, BUILDING, FENCE, POLE, SIGN, VEGETATION, TERRAIN, SKY, PERSON, CAR = range(11)
GROUND = (ROAD, SIDEWALK, TERRAIN)

CLASS_NAMES: tuple[str, ...] = (
    "road",
    "sidewalk",
    "building",
    "fence",
    "pole",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "car",
)
PALETTE: np.ndarray = np.array(
    [
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (190, 153, 153),
        (250, 150, 40),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (0, 0, 142),
    ],
    dtype=np.uint8,
)
PALETTE.setflags(write=False)
