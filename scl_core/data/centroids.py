"""Where each class lies in labeled pictures, tile by tile: what class-uniform sampling aims its crops at."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from scl_core.data.images import IGNORE_INDEX
from scl_core.data.pictures import PictureList
from scl_core.storage.files import DamagedFile, read_bytes, replace_file

CACHE_LIMIT = 1 << 30
VERSION = 1


def find_centroids(label: np.ndarray, tile: int) -> np.ndarray:
    """The places of the classes in uint8 [H, W]: int32 [n, 3], each row a class, a row and a column of the picture.

    The picture is divided into tiles of `tile` pixels, those at the border as large as they are, so that a picture
    smaller than a tile is one. For each class in a tile, the place is its pixel nearest to its centre of mass.
    """
    found = []
    for top in range(0, label.shape[0], tile):
        for left in range(0, label.shape[1], tile):
            part = label[top : top + tile, left : left + tile]
            for number in np.flatnonzero(np.bincount(part.reshape(-1), minlength=256)):
                if number != IGNORE_INDEX:
                    y, x = nearest_to_centre(part == number)
                    found.append((number, top + y, left + x))
    return np.array(found, dtype=np.int32).reshape(-1, 3)


def nearest_to_centre(mask: np.ndarray) -> tuple[int, int]:
    """The True pixel of bool [H, W] that is nearest to the mean of all of them."""
    rows, columns = np.nonzero(mask)
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return int(rows[nearest]), int(columns[nearest])


def centroids_of(pictures: PictureList, tile: int) -> np.ndarray:
    """The places of the classes in a whole list: int32 [n, 4], a picture's index and a row of `find_centroids`.

    Finding them decodes every mask, so they are kept in the user's cache folder, under a name that changes with the
    list, the input size, the tile and the files' sizes and times.
    """
    file = cache_folder() / f"centroids-{fingerprint(pictures, tile)}.npy"
    try:
        return np.load(io.BytesIO(read_bytes(file, CACHE_LIMIT)), allow_pickle=False).astype(np.int32).reshape(-1, 4)
    except (OSError, DamagedFile, ValueError, EOFError):
        pass
    per_picture = [find_centroids(pictures.label(i), tile) for i in range(len(pictures))]
    index = np.repeat(np.arange(len(pictures), dtype=np.int32), [len(rows) for rows in per_picture])
    found = np.column_stack([index, np.concatenate(per_picture)]).astype(np.int32)
    keep(file, found)
    return found


def keep(file: Path, found: np.ndarray) -> None:
    """Write the places to the cache; a cache that cannot be written only costs time."""
    content = io.BytesIO()
    np.save(content, found, allow_pickle=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content.getvalue())
    except OSError:
        pass


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/structured_consistency_lab`, by default below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "structured_consistency_lab"


def fingerprint(pictures: PictureList, tile: int) -> str:
    """Changes with everything that the places depend on."""
    parts = [f"version {VERSION}, tile {tile}, size {pictures.size}"]
    parts += [f"{line} {pictures.label_stamp(i)}" for i, line in enumerate(pictures.lines)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:24]
