"""A step that cannot fit is refused before the first one, with a setting that would."""

import os
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from scl_core.config import RunConfig
from scl_core.data.sources import DataSource
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.methods import Method
from scl_core.training.forecast import Forecast, forecast_method, size

GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def fitting_forecast(method: Method, config: RunConfig, source: DataSource, world: World) -> Forecast | None:
    """The forecast of one process's memory; None for a network that no small picture passes through.

    Raises `UserError` when it is more than this process may have, naming the first cut that fits.
    """
    try:
        found = forecast_method(method, config, source, world.size)
    except (RuntimeError, ValueError, UserError):
        return None  # a network of the user's own may want larger pictures; the step itself will tell
    limit = memory_limit(world.device)
    if found.peak <= limit:
        return found
    most = 1 if config.train.shard else config.train.batch_labeled // (2 * world.size)  # two pictures for batch norm
    for parts in range(2, most + 1):
        if divides(config, world.size * parts):
            cut = replace(config, train=replace(config.train, accumulate=parts))
            if forecast_method(method, cut, source, world.size).peak <= limit:
                raise UserError(f"{too_much(found, limit)}: --train.accumulate {parts} fits")
    raise UserError(
        f"{too_much(found, limit)}, and no cut of the batch fits: choose smaller augment.crop_height and "
        "augment.crop_width, or a smaller train.batch_labeled and train.batch_unlabeled"
    )


def divides(config: RunConfig, parts: int) -> bool:
    """Whether both batches can be cut so."""
    return config.train.batch_labeled % parts == 0 and config.train.batch_unlabeled % parts == 0


def too_much(found: Forecast, limit: int) -> str:
    """The refusal's first half."""
    return f"a training step needs {found}, and there are {size(limit)}"


def memory_limit(device: torch.device) -> int:
    """Bytes that this process may take: what is free on its GPU, or its share of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    total = psutil.virtual_memory().total
    limit = GROUP_LIMIT.read_text().strip() if GROUP_LIMIT.exists() else "max"
    allowed = min(total, int(limit)) if limit.isdigit() else total
    return allowed // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
