"""Weights, gradients and optimizer state split among the processes, by torch's `fully_shard`, for large networks."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scl_core.ema import own_part


def shard(method: nn.Module, device: torch.device) -> nn.Module:
    """Split every parameter of `method` among the processes, in place; weights and buffers start as rank 0's.

    A part that says `gathered_alone` (an encoder's block) is whole while it is computed, forward or backward; what is
    in no such part is whole from the beginning of `method`'s forward pass to the end of the backward pass. Gradients
    are averaged over the processes. Parameters are torch's `DTensor`s between the steps.
    """
    from torch.distributed.device_mesh import init_device_mesh  # here, because a training without it need not wait
    from torch.distributed.fsdp import fully_shard

    for tensor in chain(method.parameters(), method.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for part in gathered_parts(method):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    fully_shard(method, mesh=mesh)
    for part in sharded_parts(method):
        part.set_force_sum_reduction_for_comms(True)  # gloo has no mean
    return method


def is_split(tensor: Tensor) -> bool:
    """Whether each process holds a part of it."""
    return own_part(tensor) is not tensor


def gathered_parts(method: nn.Module) -> list[nn.Module]:
    """The parts that are gathered one at a time."""
    return [part for part in method.modules() if getattr(part, "gathered_alone", False)]


def sharded_parts(module: nn.Module) -> list:
    """What `shard` has split within `module`, itself included; empty where it has not."""
    return [part for part in module.modules() if hasattr(part, "set_reshard_after_forward")]


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Every weight of `module` in every process while inside, so that one may run a network without the others.

    Every process enters and leaves. Nothing happens to a module that is not split. No state dict is taken inside,
    and no copy.
    """
    parts = sharded_parts(module)
    hooks = [(part._forward_pre_hooks, part._forward_hooks) for part in parts]
    for part in parts:
        part.unshard()
        part._forward_pre_hooks, part._forward_hooks = OrderedDict(), OrderedDict()  # those that gather and count calls
    try:
        yield
    finally:
        for part, kept in zip(parts, hooks, strict=True):
            part._forward_pre_hooks, part._forward_hooks = kept
            part.reshard()


def whole_tensors(files: Mapping[str, Mapping[str, Tensor]], keep: bool) -> dict[str, dict[str, Tensor]]:
    """The tensors of each file as one process alone would have them; every process calls this.

    What was split is gathered in the host's memory, and given to processes that `keep` it. It is gathered in the order
    of the names: the state of a resumed optimizer has another order in each process.
    """
    return {file: {name: gathered(tensors[name], keep) for name in sorted(tensors)} for file, tensors in files.items()}


def gathered(tensor: Tensor, keep: bool) -> Tensor:
    """One tensor, whole."""
    if not is_split(tensor):
        return tensor
    found = tensor.full_tensor()
    return found.cpu() if keep else found.new_empty(0)


def split_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole `tensor` split as `parameter` is; itself where that is not split, or has another shape."""
    if not is_split(parameter) or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(
        tensor.to(own_part(parameter).device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def gathered_bytes(method: nn.Module) -> int:
    """The most bytes of weights that are whole at once: what no part holds, and the two largest parts."""
    sizes = sorted(sum(weight.nbytes for weight in part.parameters()) for part in gathered_parts(method))
    return sum(weight.nbytes for weight in method.parameters()) - sum(sizes) + sum(sizes[-2:])


def gradient_norm(module: nn.Module) -> Tensor:
    """The Euclidean norm over all gradients of `module`, those of split parameters over all processes."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([own_part(gradient) for gradient in gradients])
    if any(map(is_split, gradients)):
        squared = norm.square()
        dist.all_reduce(squared)
        norm = squared.sqrt()
    return norm
