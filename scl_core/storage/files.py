"""Small files, whole or absent: durable replacing writes, and reads that a broken folder cannot hang or flood."""

import contextlib
import errno
import json
import math
import os
import stat
import threading
from pathlib import Path
from typing import Any

SMALL_FILE = 1 << 20
FILE_MODE = 0o644
INTEGER_DIGITS = 20
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TEMPORARY_SUFFIX = ".tmp"


class DamagedFile(ValueError):
    """A file that cannot be used: a link or a device, too large, or not what its name promises."""


def refusal(error: Exception) -> str:
    """Why the disk refused, in words that say what to do: without the number of the error or a temporary name."""
    codes = (getattr(error, "errno", None), *(code for code in FULL_DISK if os.strerror(code) in str(error)))
    if any(code in FULL_DISK for code in codes):
        return "the disk is full: make room, then try again"
    return getattr(error, "strerror", None) or str(error)


def open_regular(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file without following a link at its end and without waiting at a pipe; returns the descriptor.

    Raises `DamagedFile` for links, devices, pipes and folders, and `FileNotFoundError` where there is nothing.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise DamagedFile(f"{path} is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedFile(f"{path} is not a regular file")
    return descriptor


def read_bytes(path: str | Path, limit: int = SMALL_FILE) -> bytes:
    """A regular file's content. Raises `DamagedFile` above `limit` bytes, and what `open_regular` raises."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DamagedFile(f"{path} has {size} bytes, more than the {limit} that it may have")
        return file.read(limit)


def read_tail(path: str | Path, limit: int) -> bytes:
    """The last `limit` bytes of a regular file."""
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)


def parse_json(text: bytes | str) -> Any:
    """Parse JSON; numbers that are not finite (NaN, Infinity, 1e999) become None. Raises `DamagedFile`."""
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=finite_or_none, parse_int=bounded_int)
    except (ValueError, RecursionError, MemoryError) as error:
        raise DamagedFile(f"not JSON: {error}") from error


def finite_or_none(text: str) -> float | None:
    """A JSON number, None when it is not finite."""
    value = float(text)
    return value if math.isfinite(value) else None


def bounded_int(text: str) -> int:
    """A JSON integer. Raises ValueError for one of too many digits."""
    if len(text) > INTEGER_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def read_json(path: str | Path, limit: int = SMALL_FILE) -> dict[str, Any]:
    """A JSON object from a file of at most `limit` bytes. Raises `DamagedFile` or `FileNotFoundError`."""
    content = read_bytes(path, limit)
    try:
        value = parse_json(content)
    except DamagedFile as error:
        raise DamagedFile(f"{path} is {error}") from error
    if not isinstance(value, dict):
        raise DamagedFile(f"{path} holds no JSON object")
    return value


def read_json_or_none(path: str | Path) -> dict[str, Any] | None:
    """`read_json`, or None where the file is absent or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: numpy numbers as plain ones, numbers that are not finite as null, any text as ASCII."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """The same value in JSON's own types."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, however few the system takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: str | Path, data: bytes, durable: bool = True) -> None:
    """Write a file that must not exist yet, readable by all (0644); `durable` waits for the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_special(path: str | Path) -> None:
    """Raise `DamagedFile` where `path` is something other than a regular file or nothing."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise DamagedFile(f"{path} is not a regular file and is not replaced")


def replace_file(path: str | Path, data: bytes, durable: bool = True) -> None:
    """Write through a temporary name in the same folder, so that a reader sees the old or the new content, whole.

    Raises `DamagedFile` where a link, device or pipe has the name, `OSError` where the disk refuses; then the old
    content stays.
    """
    path = Path(path)
    refuse_special(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{TEMPORARY_SUFFIX}")
    try:
        write_new(temporary, data, durable)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_folder(path.parent)


def write_json_atomic(path: str | Path, value: dict[str, Any], durable: bool = True) -> None:
    """`replace_file` with a JSON object."""
    replace_file(path, (to_json(value, indent=1) + "\n").encode(), durable)


def remove_temporary(folder: str | Path) -> None:
    """Remove what interrupted `replace_file` calls left; only while no other process writes there."""
    for entry in os.scandir(folder):
        if (
            entry.name.startswith(".")
            and entry.name.endswith(TEMPORARY_SUFFIX)
            and entry.is_file(follow_symlinks=False)
        ):
            os.unlink(entry.path)
