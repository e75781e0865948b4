"""Generated street scenes as a data set: no download, exact labels, and as many unlabeled pictures as one likes."""

from dataclasses import dataclass

import numpy as np

from scl_core.data.memory import cache_setting, open_cache, resident_setting
from scl_core.data.pictures import DataSource, PictureCache, PictureList
from scl_core.data.scenes import CLASS_NAMES, PALETTE, Dials, draw_scene
from scl_core.errors import UserError
from scl_core.settings import setting

FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}


@dataclass
class ScenesConfig:
    """Street scenes drawn from a seed; the first training scenes are the labeled: fewer are a subset of more."""

    name: str = setting("scenes", "Which data set.")
    height: int = setting(128, "Height of the scenes in pixels.", low=16)
    width: int = setting(256, "Width of the scenes in pixels.", low=16)
    labeled: int = setting(12, "Number of labeled scenes.", low=1, high=500_000)
    unlabeled: int = setting(388, "Number of unlabeled scenes.", low=0, high=500_000)
    val: int = setting(100, "Number of validation scenes.", low=1, high=1_000_000)
    test: int = setting(400, "Number of test scenes.", low=1, high=1_000_000)
    scene_seed: int = setting(0, "Seed of the scenes: another seed, another town.", low=0)
    clutter: float = setting(0.5, "How many things stand in the way, 0 to 1.", low=0.0, high=1.0)
    light: float = setting(0.5, "How much the light varies, 0 to 1.", low=0.0, high=1.0)
    noise: float = setting(0.5, "How noisy the camera is, 0 to 1.", low=0.0, high=1.0)
    occlusion: float = setting(0.5, "How much things cover each other, 0 to 1.", low=0.0, high=1.0)
    color_overlap: float = setting(0.5, "How alike the colors of different classes are, 0 to 1.", low=0.0, high=1.0)
    cache: str = cache_setting()
    cache_mb: int = setting(512, "Memory for drawn scenes, in MiB per process.", low=0)
    resident: str = resident_setting()

    def open(self, seed_for_lists: int = 0) -> DataSource:
        """Open the lists; nothing is drawn before it is asked for."""
        cache = open_cache(self)
        train = FIRST_INDEX["train"]
        first_unlabeled, end = train + self.labeled, train + self.labeled + self.unlabeled
        ranges = {
            "labeled": range(train, first_unlabeled),
            "unlabeled": range(first_unlabeled, end),
            "train": range(train, end),
            "val": range(FIRST_INDEX["val"], FIRST_INDEX["val"] + self.val),
            "test": range(FIRST_INDEX["test"], FIRST_INDEX["test"] + self.test),
        }
        lists = {
            name: SceneList(self, indices, cache, has_masks=name != "unlabeled")
            for name, indices in ranges.items()
            if indices
        }
        return DataSource(self.name, CLASS_NAMES, PALETTE, lists, cache)

    def dials(self) -> Dials:
        """The difficulty of the scenes."""
        return Dials(self.clutter, self.light, self.noise, self.occlusion, self.color_overlap)


class SceneList(PictureList):
    """Scenes of a range of indices; picture and mask of a scene are drawn together and kept while there is room."""

    def __init__(self, config: ScenesConfig, indices: range, cache: PictureCache, has_masks: bool):
        self._look = f"seed {config.scene_seed} {config.height}x{config.width} {config.dials()}"
        names = [f"scene_{index:07d}" for index in indices]
        super().__init__(names, [f"scene {index} {self._look}" for index in indices], None, cache)
        self._config = config
        self._indices = indices
        self._has_masks = has_masks

    @property
    def has_masks(self) -> bool:
        return self._has_masks

    def place(self, i: int) -> str:
        return self.lines[i]

    def image(self, i: int) -> np.ndarray:
        return self._drawn(i)[..., :3]

    def mask(self, i: int) -> np.ndarray:
        if not self._has_masks:
            raise UserError(f"{self.names[i]}: an unlabeled scene shows no mask")
        return self._drawn(i)[..., 3]

    def input(self, i: int) -> np.ndarray:
        return self.image(i)

    def label(self, i: int) -> np.ndarray:
        return self.mask(i)

    def check_label(self, i: int) -> None:
        """Nothing to check: what is drawn is right."""

    def _drawn(self, i: int) -> np.ndarray:
        """Picture and mask as uint8 [H, W, 4], read-only."""
        return self.cache.get(("scene", self.place(i)), lambda: self._draw(self._indices[i]))

    def _draw(self, index: int) -> np.ndarray:
        config = self._config
        image, label = draw_scene(config.scene_seed, index, config.height, config.width, config.dials())
        return np.dstack((image, label))
