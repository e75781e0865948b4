"""What a checkpoint folder must hold, to the bit: names, sizes and SHA-256 of its files, and the same for itself."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from scl_core.storage.files import SMALL_FILE, DamagedFile, parse_json, read_bytes, to_json

MANIFEST = "manifest.json"
FILE_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}\.(safetensors|json)")
FILE_LIMIT = 16 << 30


def digest(content: bytes) -> str:
    """The SHA-256 of the content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def make_manifest(step: int, files: dict[str, dict[str, Any]], info: dict[str, Any]) -> bytes:
    """The manifest's bytes; `files` is `{name: {"sha256", "bytes"}}`, `info` what else is worth keeping."""
    value = {**info, "step": step, "files": files}
    return seal({key: value[key] for key in sorted(value) if key != "sha256"})


def seal(value: dict[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of itself without it."""
    body = to_json(value, indent=1)
    return (json.dumps(json.loads(body) | {"sha256": digest(body.encode())}, indent=1) + "\n").encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest, whole. Raises `DamagedFile` for any change to it, `FileNotFoundError` without one."""
    content = read_bytes(folder / MANIFEST, SMALL_FILE)
    value = parse_json(content)
    if not isinstance(value, dict):
        raise DamagedFile(f"{folder / MANIFEST} holds no JSON object")
    if seal({key: item for key, item in value.items() if key != "sha256"}) != content:
        raise DamagedFile(f"{folder / MANIFEST} was changed: its SHA-256 does not match")
    files = value.get("files")
    if type(value.get("step")) is not int or not isinstance(files, dict) or not files:
        raise DamagedFile(f"{folder / MANIFEST} names no step or no files")
    for name, entry in files.items():
        if not FILE_NAME.fullmatch(name) or not isinstance(entry, dict) or type(entry.get("bytes")) is not int:
            raise DamagedFile(f"{folder / MANIFEST} names {name!r}, which no checkpoint holds")
    return value


def read_verified(folder: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """One file of a checkpoint. Raises `DamagedFile` where size or SHA-256 differ, `FileNotFoundError` without it."""
    entry = manifest["files"][name]
    content = read_bytes(folder / name, min(entry["bytes"], FILE_LIMIT))
    if len(content) != entry["bytes"]:
        raise DamagedFile(f"{folder / name} has {len(content)} of its {entry['bytes']} bytes")
    if digest(content) != entry.get("sha256"):
        raise DamagedFile(f"{folder / name} was changed: its SHA-256 does not match the manifest")
    return content


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of a checkpoint against the manifest, which is returned."""
    manifest = read_manifest(folder)
    for name in manifest["files"]:
        read_verified(folder, name, manifest)
    return manifest
