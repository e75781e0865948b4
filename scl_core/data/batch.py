"""What a loader hands to a method: one batch of labeled pictures and, where asked for, pairs of unlabeled ones."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


class Movable:
    """Moves every tensor of a dataclass, also inside tuples and nested parts."""

    def to(self, device: torch.device | str, non_blocking: bool = True):
        """Return a copy with all tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self):
        """Return a copy in page-locked memory (torch's loader calls this)."""
        return self._each(Tensor.pin_memory)

    def _each(self, change):
        def apply(value):
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, tuple):
                return tuple(apply(item) for item in value)
            return value._each(change) if isinstance(value, Movable) else value

        return type(self)(**{field.name: apply(getattr(self, field.name)) for field in fields(self)})


@dataclass
class Views(Movable):
    """The views of B unlabeled pictures; all views of a picture share one geometry.

    `weak` [B, 3, H, W] float32, ImageNet-normalised, is the teacher's; `strong` holds the student's views of the same
    shape; `valid` bool [B, H, W] is False on padding; `names` are the pictures' names.
    """

    weak: Tensor
    strong: tuple[Tensor, ...]
    valid: Tensor
    names: tuple[str, ...]


@dataclass
class Batch(Movable):
    """One rank's part of one step's batch.

    `images` [L, 3, H, W] float32, ImageNet-normalised; `labels` int64 [L, H, W], 255 = ignore. `unlabeled_a` and
    `unlabeled_b` are the two pictures of each CutMix pair, or None for a method without unlabeled pictures.
    `label_positions` and `positions` are the places of the labeled pictures and of the pairs in the effective batch.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    unlabeled_a: Views | None
    unlabeled_b: Views | None
    positions: tuple[int, ...]
    label_positions: tuple[int, ...]
