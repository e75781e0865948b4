"""Two pictures chosen one by one: of the run's lists, or the visitor's own files; each has its place in the address."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st
import torch

from pages.shared import store
from pages.shared.messages import say_problem
from pages.shared.words import plain_name
from scl_core.data.batch import Views
from scl_core.data.images import MAX_PIXELS, PICTURE_SUFFIXES, normalise, read_mask, read_picture, resize_picture
from scl_core.data.sources import DataSource
from scl_core.errors import UserError
from scl_core.runs.pictures import keep_picture, kept_picture, kept_pictures
from scl_core.storage.files import refusal

FILES = "my files"
LISTS = ("unlabeled", "labeled", "train", "val", "test")
ENDINGS = [ending.removeprefix(".") for ending in PICTURE_SUFFIXES]
Chosen = tuple[str, str]
"""Where a picture is from, `FILES` or a list of the data, and its name there."""


def pick(source: DataSource) -> tuple[Chosen, Chosen] | None:
    """Ask for two pictures; None while one is missing."""
    columns = st.columns(2)
    with columns[0]:
        first = pick_one(source, "a", None)
    with columns[1]:
        second = pick_one(source, "b", first)
    return (first, second) if first and second else None


def pick_one(source: DataSource, side: str, other: Chosen | None) -> Chosen | None:
    """One of the two, at first another one than `other`."""
    places = [*(name for name in LISTS if name in source.lists), FILES]
    where = _choice(f"Picture {side} from", places, f"from_{side}")
    if where == FILES:
        _take_upload(side)
    names = kept_pictures(store.runs_root()) if where == FILES else list(source.lists[where].names)
    wanted = st.query_params.get(f"picture_{side}")
    if wanted and wanted not in names:
        st.warning(f"{plain_name(wanted)} of this address is not there any more: choose another, or upload it again.")
    fresh = next((index for index, name in enumerate(names) if (where, name) != other), 0)
    # no file is the first choice: what is first would change with the next file, and a link leaves first choices out
    name = _choice(f"Picture {side}", names, f"picture_{side}", None if where == FILES else fresh)
    return (where, name) if name else None


def partner(source: DataSource, picture: Chosen) -> Chosen | None:
    """A picture to mix with this one: the first other one of the unlabeled list, or of the first list there is."""
    where = next((name for name in LISTS if name in source.lists), None)
    names = source.lists[where].names if where else ()
    return next(((where, name) for name in names if (where, name) != picture), None)


def address(source: DataSource, picture: Chosen) -> dict[str, str]:
    """The part of a Method page's address that shows this picture as picture a, beside another one."""
    sides = {"a": picture, "b": partner(source, picture)}
    found = {f"{key}_{side}": text for side, item in sides.items() if item
             for key, text in zip(("from", "picture"), item, strict=True)}  # fmt: skip
    return {"pictures": "chosen", **found}


def views(source: DataSource, picture: Chosen, size: tuple[int, int]) -> Views:
    """One picture resized whole to the training crop (height, width), the same for teacher and student.

    Raises `UserError` for one that is gone and for what is no picture.
    """
    where, name = picture
    if where == FILES:
        shown = decoded(kept_picture(store.runs_root(), name), name)
    else:
        pictures = source.pictures(where)
        if name not in pictures.names:
            raise UserError(f"{name} is not in the {where} list of this run: choose another picture")
        shown = pictures.input(pictures.names.index(name))
    view = normalise(resize_picture(shown, *size))[None]
    return Views(view, (view,), torch.ones(1, *size, dtype=torch.bool), (name,))


def decoded(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A picture file as uint8 [H, W, 3], upright. Raises `UserError` with one sentence for what is none."""
    return _read(content, name, lambda path: read_picture(path, max_pixels))


def decoded_mask(content: bytes, name: str, num_classes: int) -> np.ndarray:
    """A mask file as uint8 [H, W] of class indices. Raises `UserError` with one sentence for what is none."""
    return _read(content, name, lambda path: read_mask(path, num_classes))


def _read(content: bytes, name: str, reader: Callable[[str], np.ndarray]) -> np.ndarray:
    try:
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(content)
            file.flush()
            return reader(file.name)
    except UserError as error:
        reason = str(error).removeprefix(f"{file.name}: ").replace(file.name, name)
        raise UserError(f"{name} cannot be used: {reason}") from None
    except OSError as error:
        raise UserError(f"{name} cannot be laid aside in {tempfile.gettempdir()}: {refusal(error)}") from error


def _take_upload(side: str) -> None:
    """Keep a file that is given here, and choose it once."""
    given = st.file_uploader(f"A picture for {side}, at most 32 MB", ENDINGS, key=f"upload_{side}")
    if given is None or st.session_state.get(f"taken_{side}") == given.file_id:
        return
    try:
        decoded(given.getvalue(), plain_name(given.name))
        st.session_state[f"picture_{side}"] = keep_picture(store.runs_root(), given.name, given.getvalue())
        st.session_state[f"taken_{side}"] = given.file_id
    except UserError as error:
        say_problem("This picture cannot be used:", error)


def _choice(label: str, options: list[str], key: str, index: int | None = 0) -> str | None:
    """One of the options, kept in the address and from page to page; none is chosen at first where `index` is None."""
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]
    return st.selectbox(
        label, options, index, key=key, bind="query-params", format_func=plain_name, persist_state="session",
        placeholder="Upload one above",
    )  # fmt: skip
