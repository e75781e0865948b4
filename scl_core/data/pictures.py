"""Lists of pictures and masks, decoded on demand and kept at input size in bounded memory; the opened data set."""

import hashlib
import posixpath
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scl_core.data.images import picture_size, read_mask, read_picture, resize_mask, resize_picture
from scl_core.data.lists import Entry
from scl_core.errors import UserError

LIST_ORDER = ("labeled", "coarse", "unlabeled", "train", "val", "test")


class PictureCache:
    """Keeps decoded arrays until `limit_bytes` are used; what comes later is decoded anew each time."""

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._arrays: dict[tuple, np.ndarray] = {}

    def get(self, key: tuple, make) -> np.ndarray:
        """Return the read-only array under `key`, made by `make()` when it is not kept."""
        array = self._arrays.get(key)
        if array is None:
            array = make()
            array.flags.writeable = False
            if self.used_bytes + array.nbytes <= self.limit_bytes:
                self.used_bytes += array.nbytes
                self._arrays[key] = array
        return array


class PictureList:
    """Pictures in a fixed order; a subclass says where `image` and `mask` come from.

    `names` are unique within the list; `lines` are the pictures as written in resolved.txt; `size` is the (height,
    width) of `input` and `label`, None for each picture's own size.
    """

    def __init__(self, names: list[str], lines: list[str], size: tuple[int, int] | None, cache: PictureCache):
        self.names = tuple(names)
        self.lines = lines
        self.size = size
        self.cache = cache

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_masks(self) -> bool:
        raise NotImplementedError

    def place(self, i: int) -> str:
        """Where picture `i` is, for messages."""
        raise NotImplementedError

    def image(self, i: int) -> np.ndarray:
        """Decode picture `i` at its own size: uint8 [H, W, 3]."""
        raise NotImplementedError

    def mask(self, i: int) -> np.ndarray:
        """Decode the mask of picture `i` at its own size: uint8 [H, W], 255 = ignore. UserError where there is none."""
        raise NotImplementedError

    def input(self, i: int) -> np.ndarray:
        """Return picture `i` at input size: uint8 [h, w, 3], read-only, kept in memory."""
        return self.cache.get(("input", self.place(i)), lambda: self._sized(self.image(i), resize_picture))

    def label(self, i: int) -> np.ndarray:
        """Return the mask of picture `i` at input size: uint8 [h, w], read-only, kept in memory."""
        if not self.has_masks:
            raise UserError(f"{self.place(i)}: this list has no masks")
        return self.cache.get(("label", self.place(i), self.lines[i]), lambda: self._sized(self.mask(i), resize_mask))

    def check_label(self, i: int) -> None:
        """Raise UserError for a mask that cannot be learned from."""
        self.label(i)

    def label_stamp(self, i: int) -> str:
        """Changes when the mask of picture `i` does; a list whose lines say everything has none."""
        return ""

    def _sized(self, array: np.ndarray, resize) -> np.ndarray:
        return array if self.size is None else resize(array, *self.size)


class FileList(PictureList):
    """Pictures in files under a root, as entries of a list."""

    def __init__(self, root: Path, entries: list[Entry], num_classes: int, size, cache: PictureCache, max_pixels: int):
        super().__init__(_short_names(entries), [entry.line for entry in entries], size, cache)
        self.root = Path(root)
        self.entries = entries
        self.num_classes = num_classes
        self.max_pixels = max_pixels

    @property
    def has_masks(self) -> bool:
        return all(entry.mask is not None for entry in self.entries)

    def place(self, i: int) -> str:
        return str(self.root / self.entries[i].image)

    def image(self, i: int) -> np.ndarray:
        return read_picture(self.place(i), self.max_pixels)

    def mask(self, i: int) -> np.ndarray:
        entry = self.entries[i]
        if entry.mask is None:
            raise UserError(f"{self.place(i)}: this picture has no mask")
        mask = self.read_classes(self.root / entry.mask)
        size = picture_size(self.place(i), self.max_pixels)
        if mask.shape != size:
            raise UserError(
                f"{self.root / entry.mask}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels but its picture "
                f"{entry.image} is {size[1]} x {size[0]} (width x height, upright); they must be the same"
            )
        return mask

    def label_stamp(self, i: int) -> str:
        """Place, size and time of the mask's file. Raises UserError when it is gone."""
        path = self.root / str(self.entries[i].mask)
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{path}: the mask cannot be read ({error.strerror})") from None
        return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"

    def read_classes(self, path: Path) -> np.ndarray:
        """Decode a mask file to uint8 [H, W] of class indices, 255 = ignore; a data set may store something else."""
        return read_mask(path, self.num_classes, self.max_pixels)


@dataclass
class DataSource:
    """An opened data set: C classes and the lists "labeled", "unlabeled", "train", "val", "test" that it has.

    "train" holds all training pictures whose masks are known, for evaluation; training itself takes no mask from it.
    `palette` is uint8 [C, 3]; `cache` is shared by the lists.
    """

    name: str
    class_names: tuple[str, ...]
    palette: np.ndarray
    lists: dict[str, PictureList]
    cache: PictureCache = field(repr=False, default_factory=lambda: PictureCache(0))

    def pictures(self, split: str) -> PictureList:
        """Return one list; UserError naming the lists there are when it is missing."""
        if split not in self.lists:
            raise UserError(f"{self.name} data has no '{split}' list; it has {', '.join(self.lists)}")
        return self.lists[split]

    def check_labels(self, limit: int | None = None) -> None:
        """Decode the labeled and validation masks (the first `limit` of each), so that training meets no wrong one.

        Raises UserError naming the first file whose values, mode or size are wrong.
        """
        for pictures in (self.lists[name] for name in ("labeled", "val") if name in self.lists):
            for i in range(len(pictures) if limit is None else min(limit, len(pictures))):
                pictures.check_label(i)

    def resolved_text(self) -> str:
        """Return the classes and all lists as used, the same text wherever the root lies."""
        lines = [f"data {self.name}", f"classes {', '.join(self.class_names)}"]
        for name in LIST_ORDER:
            if name in self.lists:
                lines += [f"[{name}] {len(self.lists[name])}", *self.lists[name].lines]
        return "\n".join(lines) + "\n"

    @property
    def list_hash(self) -> str:
        """The first 12 digits of the sha256 of `resolved_text`: results are comparable only under one hash."""
        return hashlib.sha256(self.resolved_text().encode()).hexdigest()[:12]


def _short_names(entries: list[Entry]) -> list[str]:
    """The file's stem where it is unique in the list, the path without suffix otherwise, the path when that repeats."""
    long_names = [posixpath.splitext(entry.image)[0] for entry in entries]
    stems = [name.rpartition("/")[2] for name in long_names]
    count_of_stem, count_of_name = Counter(stems), Counter(long_names)
    return [
        stem if count_of_stem[stem] == 1 else name if count_of_name[name] == 1 else entry.image
        for stem, name, entry in zip(stems, long_names, entries, strict=True)
    ]
