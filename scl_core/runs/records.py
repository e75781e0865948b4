"""JSON lines that one process appends and any number read at any moment."""

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scl_core.storage.files import (
    FULL_DISK,
    DamagedFile,
    open_regular,
    parse_json,
    read_bytes,
    replace_file,
    to_json,
    write_all,
)

RECORDS_LIMIT = 1 << 29
TAIL_BLOCK = 1 << 16
BOM = b"\xef\xbb\xbf"
PADDING = b"\0\r\n\t "


class Position(NamedTuple):
    """How far a file has been read; a file that was replaced since has another `inode` and is read from its start."""

    inode: int
    offset: int


START = Position(0, 0)


class Records(list):
    """The rows of a file, a list of dicts ordered by step. `skipped` counts lines that are no row.

    Given back to `read_records`, only what was appended since is read.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = (), skipped: int = 0, position: Position = START):
        super().__init__(rows)
        self.skipped, self.position = skipped, position


def step_of(row: dict[str, Any]) -> int:
    """What makes a metrics row the same as another."""
    return row["step"]


def read_records(
    path: str | Path,
    key: Callable[[dict], Hashable] = step_of,
    valid: Callable[[dict], bool] = lambda row: True,
    known: Records | None = None,
) -> Records:
    """All rows of a file that are `valid`; of rows with one `key` the last. What `known` holds is not read again.

    A line without its end is left for the next time. Raises `DamagedFile` for what is no regular file.
    """
    known = Records() if known is None else known
    content, start, position = read_lines(path, known.position)
    fresh: dict[Hashable, dict[str, Any]] = {}
    skipped = 0
    for line in content.split(b"\n")[:-1]:
        text = line.removeprefix(BOM).strip(PADDING)
        row = parse_row(text) if text else None
        if row is not None and valid(row):
            fresh[key(row)] = row
        elif text:
            skipped += 1
    if start == known.position.offset > 0:
        fresh, skipped = {key(row): row for row in known} | fresh, known.skipped + skipped
    return Records(sorted(fresh.values(), key=step_of), skipped, position)


def read_lines(path: str | Path, after: Position) -> tuple[bytes, int, Position]:
    """The complete lines after a position, as bytes; where they begin (0 in another file); where they end."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return b"", 0, START
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        fits = after.inode == status.st_ino and after.offset <= status.st_size
        start = after.offset if fits else 0
        file.seek(start)
        content = file.read(RECORDS_LIMIT + 1)
    if len(content) > RECORDS_LIMIT:
        raise DamagedFile(f"{path} has more than {RECORDS_LIMIT} bytes")
    complete = content[: content.rfind(b"\n") + 1]
    return complete, start, Position(status.st_ino, start + len(complete))


def parse_row(line: bytes) -> dict[str, Any] | None:
    """The row of one line, or None: not JSON, no object, or no whole `step`."""
    try:
        row = parse_json(line)
    except DamagedFile:
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def append_records(path: str | Path, rows: list[dict[str, Any]]) -> bool:
    """Append rows, each a whole line, in one write; a line that was torn before is cut off first.

    On a full disk nothing is appended, a warning says so, and False comes back.
    """
    data = "".join(to_json(row) + "\n" for row in rows).encode()
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = cut_torn_line(descriptor)
        try:
            write_all(descriptor, data)
        except OSError as error:
            os.ftruncate(descriptor, size)
            if error.errno not in FULL_DISK:
                raise
            warnings.warn(f"{path}: {error.strerror}; {len(rows)} rows wait for room", RuntimeWarning, stacklevel=2)
            return False
    finally:
        os.close(descriptor)
    return True


def cut_torn_line(descriptor: int) -> int:
    """Cut what follows the last line end; returns the size that is left."""
    size = end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - (1 if end == size else TAIL_BLOCK))
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def drop_after(path: str | Path, step: int) -> None:
    """Keep the rows up to `step` alone, so that a run that goes on from there has one history.

    The file is replaced, not cut, so that a reader in the middle of it notices.
    """
    try:
        content = read_bytes(path, RECORDS_LIMIT)
    except FileNotFoundError:
        return
    kept = b"".join(lines_up_to(content, step))
    if kept != content:
        replace_file(path, kept)


def lines_up_to(content: bytes, step: int) -> Iterator[bytes]:
    """The whole lines whose step is not after `step`."""
    for line in content.split(b"\n")[:-1]:
        row = parse_row(line.removeprefix(BOM).strip(PADDING))
        if row is not None and row["step"] <= step:
            yield line + b"\n"
