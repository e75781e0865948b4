"""Online hard example mining (Shrivastava et al. 2016): cross entropy of the pixels that the network finds hard."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

ONE_AS_BITS = 0x3F800000  # float32 1.0; the bits of non-negative floats are ordered as the floats are


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, threshold: float, min_kept: int, ignore_index: int = 255
) -> Tensor:
    """The mean of -log q over the hard pixels, q being the probability of a pixel's own class.

    `logits` [B, C, H, W], `labels` int64 [B, H, W]. Hard are the pixels of q <= t, where t is the larger of `threshold`
    and the `min_kept`-th smallest q, so that at least `min_kept` pixels count; every labeled pixel counts where there
    are fewer than that. 0 with a gradient of zeros when nothing is labeled; in float32 at least.
    Raises ValueError for a threshold outside 0 to 1, a negative `min_kept`, or shapes that do not fit.
    """
    total, count = ohem_cross_entropy_sum(logits, labels, threshold, min_kept, ignore_index)
    return total / count.clamp(min=1)


def ohem_cross_entropy_sum(
    logits: Tensor,
    labels: Tensor,
    threshold: float,
    min_kept: int,
    ignore_index: int = 255,
    add: Callable[[Tensor], Tensor] = lambda count: count,
) -> tuple[Tensor, Tensor]:
    """`ohem_cross_entropy` before its mean: the sum over the hard pixels and their number (int64).

    With `add`, the sum of a count over all processes, `min_kept` and t are those of everyone's pixels together.
    """
    if not 0.0 <= threshold <= 1.0 or min_kept < 0:
        raise ValueError(
            f"threshold {threshold} must lie between 0 and 1, and min_kept {min_kept} must not be negative"
        )
    if logits.dim() < 2 or labels.shape != logits[:, 0].shape:
        raise ValueError(f"logits {list(logits.shape)} must be [B, C, H, W], labels {list(labels.shape)} [B, H, W]")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # reduction="sum" has no deterministic form on CUDA
    losses = cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")
    labeled = labels != ignore_index
    probs = losses.detach().float().neg().exp().clamp(max=1.0)
    hardest = smallest_with_rank(probs[labeled], min_kept, add).clamp(min=threshold)
    too_few = add(labeled.sum()) < min_kept
    kept = labeled & ((probs <= hardest) | too_few)
    return torch.where(kept, losses, 0.0).sum(), kept.sum()


def smallest_with_rank(
    values: Tensor, rank: int | Tensor, add: Callable[[Tensor], Tensor] = lambda count: count
) -> Tensor:
    """The `rank`-th smallest (1-based) of the float32 `values` [N], each in 0 .. 1, of all processes: a scalar.

    By halving an interval of bit patterns, so that processes exchange 30 counts and no values. 1 where there are fewer
    values than `rank`, 0 for rank 0.
    """
    bits = values.view(torch.int32)
    low = torch.zeros((), dtype=torch.int32, device=values.device)
    high = torch.full_like(low, ONE_AS_BITS)
    for _ in range(ONE_AS_BITS.bit_length()):
        middle = (low + high) // 2  # below 2^31, since neither exceeds the bits of 1
        enough = add((bits <= middle).sum()) >= rank
        low, high = torch.where(enough, low, middle + 1), torch.where(enough, middle, high)
    return high.view(torch.float32)
