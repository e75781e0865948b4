"""The teacher: a frozen copy of the student whose weights follow it as an exponential moving average."""

from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn


class EmaTeacher(nn.Module):
    """A mean teacher (Tarvainen and Valpola 2017; Kim et al. 2020, section 3.1).

    `model` starts as a copy of the student, in eval mode for good, and never receives a gradient. `update` moves each
    floating entry, running statistics of batch norm included, by teacher = d * teacher + (1 - d) * student, and copies
    integer entries. d is `decay`, or with `warmup` min(1 - 1 / (k + 1), decay) at the k-th update, k = 0 first: the
    first update copies the student. k is the buffer `updates`, so a saved state dict continues where it stopped.
    Raises ValueError for a decay outside 0 to 1.
    """

    updates: Tensor

    def __init__(self, student: nn.Module, decay: float = 0.999, warmup: bool = False):
        super().__init__()
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"the teacher's decay is {decay}; it must lie between 0 and 1")
        self.model = deepcopy(student).requires_grad_(False).eval()
        self.decay = decay
        self.warmup = warmup
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "EmaTeacher":
        """Nothing changes: the teacher stays in eval mode, also when a method that holds it is switched to training."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the teacher towards `student`; call it once after every optimizer step.

        Raises ValueError when the two have entries of different names.
        """
        ours, theirs = _entries(self.model), _entries(student)
        if ours.keys() != theirs.keys():
            differing = ", ".join(sorted(ours.keys() ^ theirs.keys())[:3])
            raise ValueError(f"teacher and student are different networks; only one of them has {differing}")
        averaged = [name for name, tensor in ours.items() if tensor.is_floating_point()]
        copied = [name for name in ours if not ours[name].is_floating_point()]
        if averaged:
            share = 1 - self._current_decay()
            torch._foreach_lerp_([ours[name] for name in averaged], [theirs[name] for name in averaged], share)
        if copied:
            torch._foreach_copy_([ours[name] for name in copied], [theirs[name] for name in copied])
        self.updates += 1

    def _current_decay(self) -> float:
        if not self.warmup:
            return self.decay
        return min(1 - 1 / (int(self.updates) + 1), self.decay)


def _entries(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each shared tensor once."""
    return dict(chain(module.named_parameters(), module.named_buffers()))
