"""One writer at a time for a run: a lock that ends with the process that holds it, and with nothing else."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from scl_core.errors import UserError
from scl_core.storage.files import DamagedFile, open_regular, read_json_or_none, to_json, write_all

_held: set[int] = set()


@contextlib.contextmanager
def hold_lock(path: Path, owner: str) -> Iterator[None]:
    """Hold the lock file while inside. Raises `UserError` that names the holder when another process has it."""
    try:
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    except DamagedFile as error:
        raise UserError(f"{error}: remove it, it cannot be a lock") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(f"{owner} is active ({describe_holder(path)}): wait for it or stop it first") from error
    _held.add(descriptor)
    try:
        with contextlib.suppress(OSError):  # who holds it is only for people; a full disk must not prevent the lock
            os.ftruncate(descriptor, 0)
            write_all(descriptor, to_json({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        if descriptor in _held:
            _held.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also from children forked this very moment
            os.close(descriptor)


def describe_holder(path: Path) -> str:
    """Who holds a lock, as its file says."""
    holder = read_json_or_none(path) or {}
    return f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'an unknown host')}"


def forget_locks() -> None:
    """A forked child, such as a loader's worker, shares the lock and would keep it after its parent's death."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=forget_locks)
