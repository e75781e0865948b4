"""Pictures that are trained on and evaluated on under two names: equal files, found without reading most of them."""

import os
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

from scl_core.data.pictures import DataSource, FileList

TRAINED, EVALUATED = ("labeled", "coarse", "unlabeled"), ("val", "test")
MOST_READ = 2000


def leak_words(source: DataSource) -> str | None:
    """A warning that names the first picture of a training list whose file equals one of val or test; None without.

    Only files of equal size are read, and no more than `MOST_READ` of them, so that a large pool costs little.
    """
    by_size = defaultdict(list)
    for name, place in files_of(source, EVALUATED):
        by_size[size_of(place)].append((name, place))
    suspects = [(name, place) for name, place in files_of(source, TRAINED) if size_of(place) in by_size]
    suspects = suspects[:MOST_READ]
    read = {size_of(place) for _, place in suspects}
    contents = {content(place): (name, place) for size in read for name, place in by_size[size]}
    found = [(name, place, *contents[key]) for name, place in suspects if (key := content(place)) in contents]
    if not found:
        return None
    name, place, evaluated, other = found[0]
    return (
        f"warning: {len(found)} training pictures are copies of evaluated ones, so scores flatter; first {place} "
        f"({name}), which equals {other} ({evaluated}): take one of them out of its list"
    )


def files_of(source: DataSource, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The lists' names and the files of their pictures; drawn pictures have no files."""
    lists = {name: source.lists[name] for name in names if name in source.lists}
    return [
        (name, pictures.place(index))
        for name, pictures in lists.items()
        if isinstance(pictures, FileList)
        for index in range(len(pictures))
    ]


def size_of(place: str) -> int:
    """A file's bytes; -1 for one that is gone, which reading it will tell."""
    try:
        return os.stat(place).st_size
    except OSError:
        return -1


def content(place: str) -> bytes:
    """What tells a file's content from others; its name where it cannot be read."""
    try:
        return sha256(Path(place).read_bytes()).digest()
    except OSError:
        return os.fsencode(place)
