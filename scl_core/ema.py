"""The teacher: a frozen copy of the student whose weights follow it as an exponential moving average."""

from collections.abc import Iterable
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn


class EmaTeacher(nn.Module):
    """A mean teacher (Tarvainen and Valpola 2017; Kim et al. 2020, section 3.1).

    `model` starts as a copy of the student, in eval mode for good, and never receives a gradient. `update` moves each
    floating entry, running statistics of batch norm included, by teacher = d * teacher + (1 - d) * student, and copies
    integer entries. With `buffers` "copy" the student's buffers are copied, whatever their type; with "own" they are
    left alone, for passes of the teacher itself. d is `decay`, or with `warmup` min(1 - 1 / (k + 1), decay) at the k-th
    update, k = 0 first: the first update copies the student. k is the buffer `updates`, so a saved state dict
    continues where it stopped. Raises ValueError for a decay outside 0 to 1.
    """

    updates: Tensor

    def __init__(self, student: nn.Module, decay: float = 0.999, warmup: bool = False, buffers: str = "ema"):
        super().__init__()
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"the teacher's decay is {decay}; it must lie between 0 and 1")
        self.model = deepcopy(student).requires_grad_(False).eval()
        self.decay = decay
        self.warmup = warmup
        self.buffers_from = buffers
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "EmaTeacher":
        """Nothing changes: the teacher stays in eval mode, also when a method that holds it is switched to training."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the teacher towards `student`; call it once after every optimizer step.

        Raises ValueError when the two have entries of different names.
        """
        ours, theirs = _pairs(self.model, student)
        buffers = dict(self.model.named_buffers()) if self.buffers_from != "ema" else {}
        averaged = [name for name in ours if ours[name].is_floating_point() and name not in buffers]
        if averaged:
            share = 1 - self._current_decay()
            torch._foreach_lerp_([ours[name] for name in averaged], [theirs[name] for name in averaged], share)
        kept = buffers if self.buffers_from == "own" else {}
        _copy(ours, theirs, ours.keys() - averaged - kept.keys())
        self.updates += 1

    @torch.no_grad()
    def restart(self, student: nn.Module) -> None:
        """Become a copy of `student` and average from here on, as after a first warm update."""
        ours, theirs = _pairs(self.model, student)
        _copy(ours, theirs, ours.keys())
        self.updates.fill_(1)

    @torch.no_grad()
    def take_buffers(self, student: nn.Module) -> None:
        """Copy the student's buffers, running statistics of batch norm among them, and no weight."""
        ours, theirs = _pairs(self.model, student)
        _copy(ours, theirs, dict(self.model.named_buffers()).keys() & ours.keys())

    def _current_decay(self) -> float:
        if not self.warmup:
            return self.decay
        return min(1 - 1 / (int(self.updates) + 1), self.decay)


def _pairs(teacher: nn.Module, student: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The entries of both, which have the same names. Raises ValueError where they have not."""
    ours, theirs = _entries(teacher), _entries(student)
    if ours.keys() != theirs.keys():
        differing = ", ".join(sorted(ours.keys() ^ theirs.keys())[:3])
        raise ValueError(f"teacher and student are different networks; only one of them has {differing}")
    return ours, theirs


def _copy(ours: dict[str, Tensor], theirs: dict[str, Tensor], names: Iterable[str]) -> None:
    """Give entries of these names the student's values."""
    wanted = sorted(names)
    if wanted:
        torch._foreach_copy_([ours[name] for name in wanted], [theirs[name] for name in wanted])


def _entries(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each shared tensor once; of a split one this process's part."""
    entries = chain(module.named_parameters(), module.named_buffers())
    return {name: own_part(tensor) for name, tensor in entries}


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is split among the processes (a `DTensor`); any other as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
