"""Pixels in the address: the one that is looked at, a second one, and those that are pinned."""

import re

import numpy as np
import streamlit as st

from pages.shared.viewer import Pick
from scl_core.probe import Probe

PIXEL = re.compile(r"(\d{1,5})-(\d{1,5})")
MOST_PINS = 4
NAMES = ("pixel", "second", "pins")
OF_PIXEL = ["maps", "viewer"]
"""The parts of the page Similarity that follow the chosen pixel: what a click runs again, in this order."""
OF_PAIR = [*OF_PIXEL, "matrices"]
OF_BOX = [*OF_PAIR, "box", "classes"]
"""Those that follow a pair of pixels, and those that follow the chosen box."""


def keep_in_session() -> None:
    """Bring back the pixels that another Method page had: a step from page to page drops what no widget holds."""
    for name in NAMES:
        if name in st.query_params:
            st.session_state[f"kept_{name}"] = st.query_params[name]
        elif st.session_state.get(f"kept_{name}"):
            st.query_params[name] = st.session_state[f"kept_{name}"]


def put(name: str, text: str) -> None:
    """Write one of `NAMES` into the address; an empty text removes it."""
    st.session_state[f"kept_{name}"] = text
    if text:
        st.query_params[name] = text
    else:
        st.query_params.pop(name, None)


def take(probe: Probe, pick: Pick) -> None:
    """A pixel taken in the viewer: the box that shows it becomes the box, its place goes into the address."""
    number = int(probe.owner[pick.row, pick.column]) if probe.valid[pick.row, pick.column] else -1
    if number < 0 or not probe.report[number].in_loss:
        st.toast("No loss box shows this pixel. Click inside a box with a solid line.", icon=":material/touch_app:")
        return
    same_box = number == st.session_state.get("box")
    st.session_state["box"] = number
    put("second" if pick.second and same_box else "pixel", f"{pick.row}-{pick.column}")
    both_marked = "second" in st.query_params
    st.rerun(OF_BOX if not same_box else OF_PAIR if both_marked else OF_PIXEL)


def take_pair(first: np.ndarray, second: np.ndarray) -> None:
    """A cell taken in the matrices: the pixel of its row becomes the first, that of its column the second."""
    for name, place in (("pixel", first), ("second", second)):
        put(name, "{}-{}".format(*place))
    st.rerun(OF_PAIR)


def chosen(name: str, shown: np.ndarray) -> tuple[int, int] | None:
    """The pixel "row-column" under this name in the address, where `shown` bool [H, W] has it; else None."""
    return _place(st.query_params.get(name, ""), shown)


def in_picture(name: str, height: int, width: int) -> tuple[int, int] | None:
    """The pixel under this name in the address, where a picture of this size has it; else None."""
    return _place(st.query_params.get(name, ""), np.ones((height, width), dtype=bool))


def pinned(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """The pinned pixels that lie in a picture of this shape."""
    inside = np.ones(shape, dtype=bool)
    found = [_place(text, inside) for text in st.query_params.get("pins", "").split(".")]
    return [place for place in found if place][:MOST_PINS]


def pin(place: tuple[int, int], shape: tuple[int, int]) -> None:
    """Keep a pixel to be compared with others, the oldest giving way to a fifth."""
    places = [other for other in pinned(shape) if other != place] + [place]
    put("pins", ".".join("{}-{}".format(*other) for other in places[-MOST_PINS:]))


def _place(text: str, shown: np.ndarray) -> tuple[int, int] | None:
    found = PIXEL.fullmatch(text)
    if not found:
        return None
    row, column = int(found[1]), int(found[2])
    inside = row < shown.shape[0] and column < shown.shape[1]
    return (row, column) if inside and shown[row, column] else None
