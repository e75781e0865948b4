"""Random draws that depend on (seed, step, position) alone: rank, worker and world size never change a sample."""

from functools import lru_cache
from zlib import crc32

import numpy as np
import torch


def generator_for(seed: int, step: int, position: int, stream: str = "sample") -> torch.Generator:
    """Return a fresh CPU generator for one picture of one step.

    `position` is the picture's place in the effective batch (over all ranks). `stream` keeps draws of different kinds
    apart: two streams of the same step and position are independent. Each call starts the sequence anew.
    Raises ValueError when a number is negative.
    """
    state = np.random.SeedSequence([seed, step, position, crc32(stream.encode())]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def sent(drawn: torch.Tensor, device: torch.device) -> torch.Tensor:
    """What was drawn on the CPU, on `device`; the CPU does not wait until a GPU has it."""
    return (drawn.pin_memory() if device.type == "cuda" else drawn).to(device, non_blocking=True)


@lru_cache(maxsize=128)
def permutation(seed: int, epoch: int, size: int, stream: str) -> np.ndarray:
    """Return the order of `size` pictures in one epoch: int64 [size], each of 0 .. size - 1 once, read-only."""
    order = np.random.default_rng(np.random.SeedSequence([seed, epoch, crc32(stream.encode())])).permutation(size)
    order.flags.writeable = False
    return order
