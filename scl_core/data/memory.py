"""How much memory the decoded training pictures take, and how much of it they are given."""

import sys

import psutil
import torch

from scl_core.data.images import MAX_PIXELS, picture_size
from scl_core.data.pictures import DataSource, FileList, PictureCache, PictureList
from scl_core.errors import UserError
from scl_core.settings import setting

MEBIBYTE = 2**20
TRAINING_LISTS = ("labeled", "coarse", "unlabeled")
CACHE_HELP = "Decoded pictures kept in memory: auto keeps cache_mb of them, all keeps every one, none decodes anew."

RESIDENT_HELP = (
    "Training pictures stay on the device and are varied there: auto where a GPU has room, true always, false never."
)
RESIDENT_SHARE = 0.25  # of the GPU's free memory; networks and their activations want the rest


def cache_setting():
    """The setting `data.cache` of every data set."""
    return setting("auto", CACHE_HELP, choices=("auto", "all", "none"))


def resident_setting():
    """The setting `data.resident` of every data set."""
    return setting("auto", RESIDENT_HELP, choices=("auto", "true", "false"))


def open_cache(config) -> PictureCache:
    """The memory that `data.cache` and `data.cache_mb` give to decoded pictures, in each process."""
    limits = {"auto": config.cache_mb * MEBIBYTE, "all": sys.maxsize, "none": 0}
    return PictureCache(limits[config.cache])


def memory_words(source: DataSource) -> str:
    """What a training says about it. Raises UserError where all pictures are to be kept and there is no room."""
    needed, limit = training_bytes(source), source.cache.limit_bytes
    size = f"decoded training pictures take about {megabytes(needed)}"
    if limit == 0:
        return f"{size}; none is kept in memory (data.cache none)"
    if limit == sys.maxsize and needed > (free := psutil.virtual_memory().available):
        raise UserError(f"data.cache all: the {size}, but {megabytes(free)} are free; set data.cache to auto")
    if needed <= limit:
        return f"{size} and are kept in memory"
    return f"{size}; {megabytes(limit)} are kept in memory, the others are decoded anew (data.cache_mb, data.cache all)"


def is_resident(source: DataSource, data_config, device: torch.device) -> bool:
    """Whether the training pictures are to stay on `device`, by `data.resident`."""
    if data_config.resident == "auto":
        return device.type == "cuda" and training_bytes(source) <= resident_limit(device)
    return data_config.resident == "true"


def resident_limit(device: torch.device) -> int:
    """Bytes of a GPU's memory that pictures may take without being told to."""
    return int(RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0])


def resident_words(source: DataSource, data_config, device: torch.device) -> str | None:
    """What a training says about `data.resident`; None where no GPU is there and nobody asked."""
    size = f"training pictures of about {megabytes(training_bytes(source))}"
    if is_resident(source, data_config, device):
        return f"{size} stay on {device} and are varied there (data.resident {data_config.resident})"
    if device.type != "cuda":
        return None
    if data_config.resident == "false":
        return f"{size} are varied on the CPU (data.resident false)"
    return (
        f"{size} are varied on the CPU: more than the {megabytes(resident_limit(device))} of the GPU that "
        "data.resident auto takes"
    )


def training_bytes(source: DataSource) -> int:
    """Bytes of all training pictures and masks at input size; of their own sizes, that of the first counts for all."""
    pixels, classes = training_pixels(source)
    return 3 * pixels + classes


def training_pixels(source: DataSource) -> tuple[int, int]:
    """Pixels of all training pictures, and of their masks, counted in the same way."""
    lists = [source.lists[name] for name in TRAINING_LISTS if name in source.lists]
    pixels = [list_pixels(pictures) for pictures in lists]
    return sum(pixels), sum(count for count, pictures in zip(pixels, lists, strict=True) if pictures.has_masks)


def list_pixels(pictures: PictureList) -> int:
    """Pixels of a list's pictures."""
    if pictures.size is not None:
        height, width = pictures.size
    elif isinstance(pictures, FileList):
        height, width = picture_size(pictures.place(0), MAX_PIXELS)
    else:
        height, width = pictures.image(0).shape[:2]
    return len(pictures) * height * width


def megabytes(count: int) -> str:
    """A number of bytes as `512 MiB`."""
    return f"{max(1, round(count / MEBIBYTE)):,} MiB"
