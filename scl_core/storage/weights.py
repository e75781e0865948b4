"""Tensors as safetensors bytes and back, with every check that a weight file from elsewhere needs."""

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from scl_core.errors import UserError
from scl_core.storage.files import DamagedFile, read_bytes

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
WEIGHTS_LIMIT = 8 << 30


class CheckpointError(UserError):
    """A checkpoint or weight file that cannot be written or must not be used; the message says why and what to do."""


def tensors_to_bytes(tensors: dict[str, Tensor], what: str) -> bytes:
    """One safetensors file of `tensors`, each stored whole even where two share memory.

    Raises `CheckpointError` with the tensor's name for what is not plain, or not finite.
    """
    check_tensors(tensors, what)
    return safetensors.torch.save({name: own_copy(tensor) for name, tensor in tensors.items()})


def own_copy(tensor: Tensor) -> Tensor:
    """A contiguous CPU copy that shares no storage."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def tensors_from_bytes(content: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises `CheckpointError` for anything that is not one."""
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
        raise CheckpointError(f"{what} is no safetensors file that can be read: {error}") from error
    check_tensors(tensors, what)
    return tensors


def check_tensors(tensors: dict[str, Tensor], what: str) -> None:
    """Refuse what no network may be filled with: sparse, quantised or absent storage, odd types, NaN, infinity."""
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            raise CheckpointError(f"{what}: tensor {name} is not plain (strided, dense, in memory)")
        if tensor.dtype not in DTYPES:
            raise CheckpointError(f"{what}: tensor {name} has type {tensor.dtype}, which weights never have")
        if tensor.numel() * tensor.element_size() > WEIGHTS_LIMIT:
            raise CheckpointError(
                f"{what}: tensor {name} of shape {list(tensor.shape)} is larger than {WEIGHTS_LIMIT} bytes"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{what}: tensor {name} has values that are not finite")


def read_weights(file: str | Path, limit: int = WEIGHTS_LIMIT) -> dict[str, Tensor]:
    """The tensors of a safetensors file from anywhere, at most `limit` bytes, checked.

    Raises `CheckpointError` for links, devices, damaged files, odd types and values that are not finite.
    """
    try:
        content = read_bytes(file, limit)
    except DamagedFile as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:
        raise CheckpointError(f"cannot read the weights {file}: {error.strerror}") from error
    return tensors_from_bytes(content, str(file))
