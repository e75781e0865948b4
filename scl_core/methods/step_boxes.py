"""How a method draws the boxes of one pair at one step, for whoever looks at a step from outside."""

from dataclasses import dataclass, replace
from typing import Any

from scl_core.methods.base import StepDraws
from scl_core.methods.parts import toggles
from scl_core.methods.weak_to_strong import WeakToStrongSettings, drawn_area


@dataclass(frozen=True)
class StepBoxes:
    """`settings` as `sample_boxes` and the losses take them; `mixed` False where training left the pair unmixed."""

    settings: Any
    mixed: bool = True


def mixes_pictures(config) -> bool:
    """Whether the method of these settings pastes boxes of one unlabeled picture into another, the later on top."""
    return getattr(config, "num_boxes", 0) > 0 and getattr(config, "cutmix", True) and not toggles(config)


def step_boxes(config, draws: StepDraws, position: int) -> StepBoxes:
    """The settings of the boxes of the pair at `position`: where their area is drawn at each step, with that area."""
    if not isinstance(config, WeakToStrongSettings):
        return StepBoxes(config)
    mixed, area = drawn_area(config, draws, position, view=0)
    return StepBoxes(replace(config, total_area=area, smallest_area=None), mixed)
