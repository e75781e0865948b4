"""The picture viewer: a canvas in the page that answers a click or a key with the exact pixel.

Its pictures are coded once (`layers_of`) and sent once (`send_layers`), apart from what a click changes
(`show_viewer`).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from scl_core.figures.pictures import png_uri

FOLDER = Path(__file__).parent
NO_REGION = 255
COMPONENT = st.components.v2.component(
    "scl_viewer",
    html=(FOLDER / "viewer.html").read_text(encoding="utf-8"),
    css=(FOLDER / "viewer.css").read_text(encoding="utf-8"),
    js=(FOLDER / "viewer.js").read_text(encoding="utf-8"),
)
SENDER = st.components.v2.component(
    "scl_viewer_layers", html="<span></span>", js=(FOLDER / "viewer_layers.js").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Pick:
    """A pixel that the user clicked, or reached with the arrow keys and took with Enter; `second` with Shift held."""

    row: int
    column: int
    second: bool


@dataclass(frozen=True)
class Outline:
    """A rectangle to draw over the picture; dashed unless it is solid."""

    number: int
    top: int
    left: int
    height: int
    width: int
    color: str
    solid: bool = True


@dataclass(frozen=True)
class Regions:
    """Which region each pixel belongs to (-1 = none), a name for each region and one for the rest of the picture."""

    owner: np.ndarray
    names: Sequence[str]
    outside: str = ""


@dataclass(frozen=True)
class Layers:
    """A picture of (height, width) pixels with its overlays and regions, coded as a browser takes them.

    `version` is that of all of them together; `names` are of the regions, None for a picture without.
    """

    size: tuple[int, int]
    picture: str
    overlays: tuple[tuple[str, str], ...]
    regions: str | None
    names: tuple[str, ...]
    outside: str
    version: str


def layers_of(
    picture: np.ndarray, overlays: Mapping[str, np.ndarray] | None = None, regions: Regions | None = None
) -> Layers:
    """A uint8 picture [H, W, 3] and what can be laid over it, uint8 [H, W, 4] by name."""
    coded = tuple((name, png_uri(pixels)) for name, pixels in (overlays or {}).items())
    owner = png_uri(np.where(regions.owner < 0, NO_REGION, regions.owner).astype(np.uint8)) if regions else None
    uri = png_uri(picture)
    version = hashlib.sha256("".join([uri, owner or "", *(text for _, text in coded)]).encode()).hexdigest()[:16]
    names, outside = (tuple(regions.names), regions.outside) if regions else ((), "")
    return Layers(picture.shape[:2], uri, coded, owner, names, outside, version)


def send_layers(layers: Layers, key: str) -> None:
    """Give the browser the pictures; a viewer waits for those of its version, wherever it stands on the page."""
    data = {"version": layers.version, "picture": layers.picture, "regions": layers.regions,
            "overlays": [uri for _, uri in layers.overlays]}  # fmt: skip
    SENDER(data=data, key=f"{key}_layers", height=1)


def show_viewer(
    layers: Layers,
    *,
    key: str,
    title: str,
    label: str,
    outlines: Sequence[Outline] = (),
    chosen: int | None = None,
    first: tuple[int, int] | None = None,
    second: tuple[int, int] | None = None,
    hint: str = "",
    on_pick: Callable[[Pick], None],
) -> None:
    """Show the layers; `on_pick` is called, before the page runs again, with the pixel that was taken.

    `title` names the bare picture beside its overlays, `label` is what a screen reader says. The chosen region stays
    bright, the others are dimmed. `first` and `second` are the marked pixels as (row, column).
    """
    data = {
        "title": title,
        "label": label,
        "hint": hint,
        "height": layers.size[0],
        "width": layers.size[1],
        "version": layers.version,
        "overlays": [name for name, _ in layers.overlays],
        "boxes": [vars(outline) for outline in outlines],
        "names": list(layers.names),
        "outside": layers.outside,
        "chosen": chosen,
        "first": list(first) if first else None,
        "second": list(second) if second else None,
    }

    def picked() -> None:
        answer = st.session_state[key]["pick"]
        on_pick(Pick(int(answer["row"]), int(answer["column"]), bool(answer["second"])))

    COMPONENT(data=data, key=key, on_pick_change=picked)
