"""The supervised loss: cross entropy that accepts any class found in a window around the pixel."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad


def relaxed_cross_entropy(
    logits: Tensor, labels: Tensor, window: int = 3, ignore_index: int = 255, strict_classes: tuple[int, ...] = ()
) -> Tensor:
    """Eq. 2 of Kim et al. 2020, label relaxation at boundaries: the mean of -log sum of P(c) over the window's classes.

    `logits` [B, C, H, W], `labels` int64 [B, H, W]. The classes of a pixel are those within the `window` x `window`
    square around it, so that either side is right for a pixel next to a boundary; window 1 is plain cross entropy. A
    pixel that is itself ignored is not supervised; ignored neighbours and those outside the picture add no class. A
    pixel labeled with one of `strict_classes` keeps its own label alone: thin things would be given up for what is
    behind them. The mean is over the supervised pixels, 0 with a gradient of zeros when there are none; it is taken in
    float32 at least.
    Raises ValueError for shapes that do not fit or a window that is not odd and positive.
    """
    total, count = relaxed_cross_entropy_sum(logits, labels, window, ignore_index, strict_classes)
    return total / count.clamp(min=1)


def relaxed_cross_entropy_sum(
    logits: Tensor, labels: Tensor, window: int = 3, ignore_index: int = 255, strict_classes: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """`relaxed_cross_entropy` before its mean: the sum over the supervised pixels and their number (int64)."""
    _check_window(window)
    if logits.dim() != 4 or labels.shape != logits[:, 0].shape:
        raise ValueError(f"logits {list(logits.shape)} must be [B, C, H, W], labels {list(labels.shape)} [B, H, W]")
    logits, labels = logits.to(torch.promote_types(logits.dtype, torch.float32)), labels.long()
    supervised = labels != ignore_index
    neighbours = _neighbours(labels, window, ignore_index)
    boundary = torch.zeros_like(supervised)
    for neighbour in neighbours:
        boundary |= (neighbour != labels) & (neighbour != ignore_index)
    boundary &= supervised
    for strict in strict_classes:
        boundary &= labels != strict
    inside = labels.masked_fill(boundary, ignore_index)
    # reduction="sum" has no deterministic form on CUDA
    total = cross_entropy(logits, inside, ignore_index=ignore_index, reduction="none").sum()
    if window > 1:
        classes = torch.stack([neighbour[boundary] for neighbour in neighbours], 1)
        total = total + _any_of(logits.permute(0, 2, 3, 1)[boundary], classes, ignore_index).sum()
    return total, supervised.sum()


def allowed_classes(
    labels: Tensor, window: int, num_classes: int, ignore_index: int = 255, strict_classes: tuple[int, ...] = ()
) -> Tensor:
    """The classes that eq. 2 accepts at each pixel of `labels` int64 [B, H, W]: bool [B, C, H, W].

    None at a pixel that is itself ignored, its own alone at one of `strict_classes`. Raises ValueError for a window
    that is not odd and positive.
    """
    _check_window(window)
    labels = labels.long()
    allowed = torch.zeros(len(labels), num_classes + 1, *labels.shape[1:], dtype=torch.bool, device=labels.device)
    strict = torch.isin(labels, torch.tensor(strict_classes, dtype=torch.int64, device=labels.device))
    for neighbour in _neighbours(labels, window, ignore_index):
        neighbour = torch.where(strict, labels, neighbour)
        allowed.scatter_(1, neighbour.masked_fill(neighbour == ignore_index, num_classes)[:, None], True)
    return allowed[:, :num_classes] & (labels != ignore_index)[:, None]


def _check_window(window: int) -> None:
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window}; it must be odd and positive: 1, 3, 5, ...")


def _neighbours(labels: Tensor, window: int, ignore_index: int) -> list[Tensor]:
    """The label map shifted to every place of the window, `ignore_index` beyond the border; views of one padded map."""
    height, width = labels.shape[1:]
    padded = pad(labels, [window // 2] * 4, value=ignore_index)
    return [padded[:, y : y + height, x : x + width] for y in range(window) for x in range(window)]


def _any_of(logits: Tensor, classes: Tensor, ignore_index: int) -> Tensor:
    """-log of the summed probabilities of `classes` [K, n] under logits [K, C]: [K].

    In logarithms throughout, so that neither a vanishing nor a certain probability gives inf or NaN.
    """
    num_classes = logits.shape[1]
    slots = classes.masked_fill(classes == ignore_index, num_classes)
    accepted = torch.zeros(len(logits), num_classes + 1, dtype=torch.bool, device=logits.device)
    accepted = accepted.scatter_(1, slots, True)[:, :num_classes]
    return logits.logsumexp(1) - logits.masked_fill(~accepted, -torch.inf).logsumexp(1)
