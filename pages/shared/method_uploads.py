"""Pictures of the visitor's own: kept in the session, decoded under the limits of the data, shown whole."""

import hashlib
import tempfile
from pathlib import Path

import streamlit as st
import torch

from pages.shared.words import plain_name
from scl_core.data.batch import Views
from scl_core.data.images import PICTURE_SUFFIXES, normalise, read_picture, resize_picture
from scl_core.errors import UserError

KEPT = "uploaded_pictures"
ENDINGS = [ending.removeprefix(".") for ending in PICTURE_SUFFIXES]


def pick() -> tuple[str, str] | None:
    """Ask for two pictures; their names in the session once both are there. They stay while the session lasts."""
    kept = st.session_state.setdefault(KEPT, {})
    for column, side in zip(st.columns(2), ("a", "b"), strict=True):
        given = column.file_uploader(
            f"Picture {side}", [ending[1:] for ending in PICTURE_SUFFIXES], key=f"upload_{side}"
        )
        if given is not None:
            kept[side] = (given.name, given.getvalue())
        elif side in kept:
            column.caption(f"Kept from before: {plain_name(kept[side][0])}")
    if len(kept) < 2:
        return None
    return tuple(f"{side}-{hashlib.sha256(kept[side][1]).hexdigest()[:12]}" for side in ("a", "b"))


def views(name: str, size: tuple[int, int]) -> Views:
    """One picture resized whole to the training crop (height, width), the same for teacher and student.

    Raises `UserError` for what is no picture.
    """
    file, content = st.session_state.get(KEPT, {}).get(name[0], ("", b""))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("picture" + Path(file).suffix)
        path.write_bytes(content)
        try:
            picture = resize_picture(read_picture(path), *size)
        except UserError as error:
            raise UserError(str(error).replace(str(path), file or "the uploaded picture")) from None
    view = normalise(picture)[None]
    return Views(view, (view,), torch.ones(1, *size, dtype=torch.bool), (file,))
