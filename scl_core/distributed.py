"""Several processes as one: process group and device, sums and means over ranks, the wrapped method."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scl_core.batch_norm import AllReduceBatchNorm2d, convert_batch_norm
from scl_core.errors import UserError
from scl_core.sharding import shard
from scl_core.watchdog import Watchdog

__all__ = [
    "AllReduceBatchNorm2d",
    "Watchdog",
    "World",
    "any_rank",
    "barrier",
    "convert_batch_norm",
    "from_main",
    "global_mean",
    "mean_over_ranks",
    "rank",
    "require_same",
    "start",
    "stop",
    "sum_over_ranks",
    "world_size",
    "wrap",
]

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """The one process that writes and speaks."""
        return self.rank == 0


def start(device: str = "auto", timeout_seconds: float = 600) -> World:
    """Join the processes that torchrun started (gloo on the CPU, NCCL on CUDA); alone without torchrun.

    `timeout_seconds` is how long a collective waits. `auto` takes CUDA, then Apple's GPU, then the CPU.
    Raises `UserError` for a device that this machine has not, or has too few of.
    """
    size, own_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, size)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1:
        keep_to_this_machine(size)
        backend, device_id = ("nccl", chosen) if chosen.type == "cuda" else ("gloo", None)
        timeout = timedelta(seconds=timeout_seconds)
        if (store := store_of_this_start(size)) is None:
            dist.init_process_group(backend, timeout=timeout, device_id=device_id)
        else:
            dist.init_process_group(
                backend, store=store, rank=own_rank, world_size=size, timeout=timeout, device_id=device_id
            )
    return World(own_rank, size, chosen)


def store_of_this_start(size: int) -> dist.Store | None:
    """Where the processes of a new start after a lost one meet; None where torch's own place will do.

    torchrun keeps one store for all its starts, and in it the addresses of the processes that are gone. On one machine
    the start's number keeps them apart. Several machines count theirs differently: raises `UserError` where torchrun
    may start anew and was not told to make a store for each.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not shared or int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) == 0:
        return None
    if os.environ.get("LOCAL_WORLD_SIZE") != str(size):
        raise UserError(
            "torchrun --max-restarts on several machines needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment "
            "of every torchrun, or a new start meets the addresses of the last one"
        )
    server = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return dist.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", server)


def stop() -> None:
    """Leave the process group; nothing to do alone."""
    if dist.is_initialized():
        dist.destroy_process_group()


def choose_device(device: str, size: int) -> torch.device:
    """The device of this process. Raises `UserError` when it is not there."""
    if device not in DEVICES:
        raise UserError(f"device {device!r} does not exist: choose one of {', '.join(DEVICES)}")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if has_cuda else "mps" if has_mps and size == 1 else "cpu"
    if (device == "cuda" and not has_cuda) or (device == "mps" and not has_mps):
        raise UserError(f"device {device}: torch {torch.__version__} finds none on this machine: use cpu or auto")
    if device == "mps" and size > 1:
        raise UserError(f"device mps: {size} processes cannot share it: use one process, or device cpu")
    if device != "cuda":
        return torch.device(device)
    ranks_here, found = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if ranks_here > found:
        raise UserError(
            f"device cuda: {ranks_here} processes on this machine, but {found} GPUs: start fewer, or use cpu"
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def keep_to_this_machine(size: int) -> None:
    """Let gloo listen on the loopback interface alone when all ranks are on this machine."""
    if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")


def world_size() -> int:
    """The number of processes in the run, 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes, detached, of the same shape and type."""
    return reduced(tensor.detach(), dist.ReduceOp.SUM)


def reduced(tensor: Tensor, operation: dist.ReduceOp) -> Tensor:
    """`tensor` reduced over all ranks, as a copy; itself when there is one."""
    if world_size() == 1:
        return tensor
    result = tensor.to(collective_device(), copy=True)
    dist.all_reduce(result, operation)
    return result.to(tensor.device)


def collective_device() -> torch.device:
    """Where the backend wants its tensors."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def global_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """The mean over all processes as the term to differentiate here: `total` * size / sum of `count` over ranks.

    total, count: sum and number of this process's values. The wrapper averages gradients over ranks, so this term's
    gradient becomes that of the mean over everyone's values; so does its value under `mean_over_ranks`. A mean of each
    process's own mean would not: the processes have unequal counts. 0, still connected, when nobody has a value.
    """
    count = torch.as_tensor(count, device=total.device)
    return total * world_size() / sum_over_ranks(count).clamp(min=1)


def mean_over_ranks(values: dict[str, Tensor | float]) -> dict[str, float]:
    """The mean over all processes of each named scalar; every process gives the same names.

    One exchange and one copy to the host for all of them. A value that is not finite in one process makes the mean so.
    """
    if not values:
        return {}
    scalars = [torch.as_tensor(value).detach() for value in values.values()]
    device = next((scalar.device for scalar in scalars if scalar.device.type != "cpu"), torch.device("cpu"))
    dtype = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPU has no float64
    stacked = torch.stack([scalar.to(device, dtype, non_blocking=True) for scalar in scalars])
    means = reduced(stacked, dist.ReduceOp.SUM) / world_size()
    return dict(zip(values, means.tolist(), strict=True))


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true in any process; the same answer in all of them."""
    return bool(reduced(torch.tensor(int(flag)), dist.ReduceOp.MAX))


def from_main(value: Any) -> Any:
    """Rank 0's `value` in every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=collective_device())
    return box[0]


def require_same(name: str, value: Any) -> None:
    """Raise `UserError` in every process when `value` (plain data) is not the same in all; rank and entry are named."""
    if world_size() == 1:
        return
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, value)
    for other, theirs in enumerate(everyone):
        if theirs != everyone[0]:
            where, first, second = first_difference(name, everyone[0], theirs)
            raise UserError(
                f"{where} differs between processes: {first!r} on rank 0, {second!r} on rank {other}: "
                "start all ranks with the same command and files"
            )


def first_difference(name: str, first: Any, second: Any) -> tuple[str, Any, Any]:
    """Follow two nested dicts to the first entry in which they differ: its dotted name and both values."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [*first, *second]:
            if first.get(key) != second.get(key):
                return first_difference(f"{name}.{key}", first.get(key), second.get(key))
    return name, first, second


def wrap(method: nn.Module, device: torch.device, split: bool = False) -> nn.Module:
    """`method` with its gradients averaged over the processes; `method` itself when alone.

    Weights start as rank 0's, and its buffers are sent before each step: no change where `convert_batch_norm` keeps
    them equal, and rank 0's rule for any other. Every trainable parameter must take part in every step.
    With `split` each process holds a part of each weight: see `scl_core.sharding.shard`.
    """
    if world_size() == 1:
        return method.to(device)
    if split:
        return shard(method.to(device), device)
    return DistributedDataParallel(method.to(device), gradient_as_bucket_view=True)
