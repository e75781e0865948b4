"""Batch norm over the pictures of all processes, where torch's SyncBatchNorm has no GPU; and frozen batch norm."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


class AllReduceBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of the pictures of all processes together.

    Same parameters, buffers and names; the same as `nn.BatchNorm2d` in eval mode and in a single process.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, H, W]; raises ValueError when all processes together have one value a channel."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        mean, deviation, count = global_statistics(x.detach())
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
        if self.track_running_stats:
            self.update_running(mean, deviation / (count - 1))
        return NormalizeByAll.apply(x, self.weight, self.bias, mean, deviation / count, count, self.eps)

    @torch.no_grad()
    def update_running(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(unbiased_variance, share)


def global_statistics(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean [C], summed squared deviation [C] and number of values a channel, over all processes.

    Each process adds its mean and deviation from its own mean, not a sum of squares, which would cancel in float32.
    `torch.batch_norm_update_stats` is what batch norm itself takes them by: a quarter of the time of `torch.var_mean`.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    count = x.numel() // x.shape[1]
    mine = torch.cat([mean, variance * count, mean.new_tensor([count])])
    everyone = from_all(mine)
    means, deviations, counts = everyone.split([len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    deviation = (deviations + counts * (means - mean).square()).sum(0)
    return mean, deviation, int(total)


def from_all(mine: Tensor) -> Tensor:
    """A tensor of every process, stacked in the order of the ranks: [...] -> [processes, ...].

    Summed here where a sum is wanted: for a few hundred numbers gloo's `all_reduce` takes twice as long.
    """
    everyone = mine.new_empty(dist.get_world_size(), *mine.shape)
    dist.all_gather(list(everyone.unbind()), mine)
    return everyone


class NormalizeByAll(torch.autograd.Function):
    """Normalise with given statistics, differentiated as though they were computed here from everyone's pictures."""

    @staticmethod
    def forward(ctx, x, weight, bias, mean, variance, count, eps):
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx, grad):
        """The gradients of weight and bias stay those of this process's pictures: the wrapper averages them later."""
        x, weight, mean, variance = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, mean, scale, False, ctx.eps, [True, True, True]
        )
        along, shift = from_all(torch.stack([grad_weight, grad_bias])).sum(0) / ctx.count
        gain = scale if weight is None else scale * weight
        slope = gain * scale * along
        offset = gain * shift - slope * mean
        grad_x = grad_x.to(slope.dtype).addcmul_(x, per_channel(slope), value=-1).sub_(per_channel(offset))
        affine = (None, None) if weight is None else (grad_weight, grad_bias)
        return grad_x.to(x.dtype), *affine, None, None, None, None


@contextmanager
def taking_statistics(network: nn.Module) -> Iterator[list[nn.Module]]:
    """The batch norms of a network in eval mode, in training mode while inside; every other part stays as it is."""
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.training = True
    try:
        yield norms
    finally:
        for norm in norms:
            norm.training = False


class FrozenBatchNorm2d(nn.Module):
    """A batch norm that takes its running statistics in training too, and never moves them.

    A batch norm of torch's becomes one by `freeze_batch_norm`, with its parameters, buffers and their names. Scale and
    shift are trained as before.
    """

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, H, W]."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def freeze_batch_norm(module: nn.Module) -> int:
    """Freeze the statistics of every batch norm of `module`, in place; returns how many there are."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.__class__ = FrozenBatchNorm2d  # the same attributes, so the module can change its class in place
    return len(norms)


def per_channel(values: Tensor) -> Tensor:
    """Values [C] as [C, 1, 1], to meet pictures [B, C, H, W]."""
    return values[:, None, None]


def convert_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """`module` with every batch norm taking its statistics over all processes; untouched when there is one process.

    Parameters, buffers and their names stay. CUDA takes torch's SyncBatchNorm; elsewhere `nn.BatchNorm2d` becomes
    `AllReduceBatchNorm2d`, and a batch norm of another kind stays as it is, with a warning.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = AllReduceBatchNorm2d  # it adds no state, so the module can change its class in place
        elif isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, AllReduceBatchNorm2d):
            warnings.warn(
                f"{type(part).__name__} keeps the statistics of each process apart", UserWarning, stacklevel=2
            )
    return module
