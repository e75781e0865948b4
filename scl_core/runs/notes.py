"""What a person writes about a run: tags and a note, in a small file beside the records."""

import os
from dataclasses import dataclass
from pathlib import Path

from scl_core.errors import UserError
from scl_core.storage.files import DamagedFile, read_json_or_none, refusal, write_json_atomic

FILE = "notes.json"
TAG_LENGTH, TAG_COUNT, NOTE_LENGTH = 40, 20, 4000


@dataclass(frozen=True)
class Notes:
    """Tags, short words to find a run by, and a free text."""

    tags: tuple[str, ...] = ()
    note: str = ""


def read_notes(run_dir: str | Path) -> Notes:
    """The notes of a run; empty where there are none, or where the file is damaged."""
    found = read_json_or_none(Path(run_dir) / FILE) or {}
    tags, note = found.get("tags"), found.get("note")
    words = [str(tag)[:TAG_LENGTH] for tag in tags[:TAG_COUNT]] if isinstance(tags, list) else []
    return Notes(tuple(words), note[:NOTE_LENGTH] if isinstance(note, str) else "")


def write_notes(run_dir: str | Path, notes: Notes) -> None:
    """Replace the notes of a run. Raises `UserError` for too many or too long ones, and where nothing can be written.

    Of tags that are given twice one is kept; training never reads or writes the file, so a run may be at work.
    """
    tags = tuple(dict.fromkeys(filter(None, (tag.strip() for tag in notes.tags))))
    long = next((tag for tag in tags if len(tag) > TAG_LENGTH), None)
    if long is not None:
        raise UserError(f"tag {long[:TAG_LENGTH]}… has {len(long)} characters, {TAG_LENGTH} are allowed")
    if len(tags) > TAG_COUNT or len(notes.note) > NOTE_LENGTH:
        raise UserError(f"at most {TAG_COUNT} tags and a note of {NOTE_LENGTH} characters can be kept")
    if not os.path.isdir(run_dir):
        raise UserError(f"{run_dir} has no folder yet that could keep notes")
    try:
        write_json_atomic(Path(run_dir) / FILE, {"tags": list(tags), "note": notes.note.strip()})
    except (OSError, DamagedFile) as error:
        raise UserError(f"the notes of {run_dir} cannot be written, the old ones stay: {refusal(error)}") from error
