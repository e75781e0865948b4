"""One pair of a batch, and networks that only answer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from scl_core.data.batch import Batch, Views
from scl_core.errors import UserError
from scl_core.methods.parts import eval_mode


def one_pair(batch: Batch, index: int) -> Batch:
    """The batch with its pair `index` alone, whose draws stay those of its place. Raises `UserError` without it."""
    if index >= len(batch.positions):
        raise UserError(
            f"pair {index} does not exist: this batch has {len(batch.positions)} pairs, counted from 0: choose another"
        )
    first, second = (only(views, index) for views in (batch.unlabeled_a, batch.unlabeled_b))
    return replace(batch, unlabeled_a=first, unlabeled_b=second, positions=(batch.positions[index],))


def only(views: Views, index: int) -> Views:
    """The views of one picture."""
    keep = slice(index, index + 1)
    return Views(views.weak[keep], tuple(view[keep] for view in views.strong), views.valid[keep], views.names[keep])


@contextmanager
def answering(*networks: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; each network goes back to the mode it was in."""
    with ExitStack() as stack, torch.no_grad():
        for network in networks:
            stack.enter_context(eval_mode(network))
        yield


def at_pixels(cells: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The values of a map [h, w] at the cells nearest to the pixels of pictures of `size` (H, W)."""
    rows, columns = (
        torch.linspace(0, count - 1, extent, dtype=torch.float64).round().long()
        for count, extent in zip(cells.shape, size, strict=True)
    )
    return cells.cpu()[rows][:, columns].numpy()
