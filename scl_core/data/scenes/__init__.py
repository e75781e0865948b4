"""Street scenes drawn by procedure from (seed, index): pictures and exact labels without a download or a file."""

from scl_core.data.scenes.classes import CLASS_NAMES, PALETTE
from scl_core.data.scenes.dials import Dials
from scl_core.data.scenes.scene import draw_scene

__all__ = ["CLASS_NAMES", "PALETTE", "Dials", "draw_scene"]
