"""How much memory the decoded training pictures take, and how much of it they are given."""

import sys

import psutil

from scl_core.data.images import MAX_PIXELS, picture_size
from scl_core.data.pictures import DataSource, FileList, PictureCache, PictureList
from scl_core.errors import UserError
from scl_core.settings import setting

MEBIBYTE = 2**20
TRAINING_LISTS = ("labeled", "coarse", "unlabeled")
CACHE_HELP = "Decoded pictures kept in memory: auto keeps cache_mb of them, all keeps every one, none decodes anew."


def cache_setting():
    """The setting `data.cache` of every data set."""
    return setting("auto", CACHE_HELP, choices=("auto", "all", "none"))


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


def training_bytes(source: DataSource) -> int:
    """Bytes of all training pictures and masks at input size; of their own sizes, that of the first counts for all."""
    return sum(list_bytes(source.lists[name]) for name in TRAINING_LISTS if name in source.lists)


def list_bytes(pictures: PictureList) -> int:
    """Bytes of a list's pictures, three a pixel, and masks, one a pixel."""
    if pictures.size is not None:
        height, width = pictures.size
    elif isinstance(pictures, FileList):
        height, width = picture_size(pictures.place(0), MAX_PIXELS)
    else:
        height, width = pictures.image(0).shape[:2]
    return len(pictures) * height * width * (3 + pictures.has_masks)


def megabytes(count: int) -> str:
    """A number of bytes as `512 MiB`."""
    return f"{max(1, round(count / MEBIBYTE)):,} MiB"
