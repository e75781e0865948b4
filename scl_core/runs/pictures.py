"""The visitor's own pictures, kept beside the runs so that a link shows them again: few, and the oldest leave."""

import contextlib
import hashlib
import os
import re
from pathlib import Path

from scl_core.errors import UserError
from scl_core.storage.files import DamagedFile, read_bytes, refusal, replace_file

PICTURE_FOLDER = ".pictures"
MOST_PICTURES = 16
MOST_BYTES = 40_000_000
LONGEST_STEM = 40
SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def keep_picture(root: str | Path, name: str, content: bytes) -> str:
    """Keep an uploaded file as it is; returns its name there: a hash of its content, and its own name made harmless.

    Beyond `MOST_PICTURES` the one that was kept longest ago leaves. Raises `UserError` where nothing can be written.
    """
    suffix = Path(name).suffix.lower()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem)[:LONGEST_STEM].strip("_") or "picture"
    kept = f"{hashlib.sha256(content).hexdigest()[:12]}-{stem}{suffix if SUFFIX.fullmatch(suffix) else ''}"
    folder = Path(root) / PICTURE_FOLDER
    if kept in kept_pictures(root):
        return kept
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(folder / kept, content, durable=False)
    except (OSError, DamagedFile) as error:
        raise UserError(f"the picture cannot be kept in {folder}: {refusal(error)}") from error
    for old in kept_pictures(root)[MOST_PICTURES:]:
        with contextlib.suppress(OSError):
            os.unlink(folder / old)
    return kept


def kept_pictures(root: str | Path) -> list[str]:
    """The names of the kept pictures, the newest first."""
    try:
        found = [(entry.stat(follow_symlinks=False).st_mtime_ns, entry.name) for entry in _files(root)]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]


def kept_picture(root: str | Path, name: str) -> bytes:
    """The content of a kept picture. Raises `UserError` where it is not kept any more."""
    if name not in kept_pictures(root):
        raise UserError(f"the picture {name} is not kept any more: upload it again")
    try:
        return read_bytes(Path(root) / PICTURE_FOLDER / name, MOST_BYTES)
    except (OSError, DamagedFile) as error:
        raise UserError(f"the picture {name} cannot be read: {error}") from error


def forget_pictures(root: str | Path) -> None:
    """Remove all kept pictures."""
    for name in kept_pictures(root):
        with contextlib.suppress(OSError):
            os.unlink(Path(root) / PICTURE_FOLDER / name)


def _files(root: str | Path) -> list[os.DirEntry]:
    with os.scandir(Path(root) / PICTURE_FOLDER) as entries:
        return [entry for entry in entries if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")]
