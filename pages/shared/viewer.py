"""The picture viewer: a canvas in the page that answers a click or a key with the exact pixel."""

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


def picture_viewer(
    picture: np.ndarray,
    *,
    key: str,
    title: str,
    label: str,
    overlays: Mapping[str, np.ndarray] | None = None,
    outlines: Sequence[Outline] = (),
    regions: Regions | None = None,
    chosen: int | None = None,
    first: tuple[int, int] | None = None,
    second: tuple[int, int] | None = None,
    hint: str = "",
    on_pick: Callable[[Pick], None],
) -> None:
    """Show a uint8 picture [H, W, 3]; `on_pick` is called, before the page runs again, with the pixel that was taken.

    `title` names the bare picture beside its overlays, `label` is what a screen reader says. The chosen region stays
    bright, the others are dimmed. `first` and `second` are the marked pixels as (row, column).
    """
    data = {
        "title": title,
        "label": label,
        "hint": hint,
        "height": picture.shape[0],
        "width": picture.shape[1],
        "picture": png_uri(picture),
        "overlays": [{"name": name, "uri": png_uri(pixels)} for name, pixels in (overlays or {}).items()],
        "boxes": [vars(outline) for outline in outlines],
        "regions": png_uri(np.where(regions.owner < 0, NO_REGION, regions.owner).astype(np.uint8)) if regions else None,
        "names": list(regions.names) if regions else [],
        "outside": regions.outside if regions else "",
        "chosen": chosen,
        "first": list(first) if first else None,
        "second": list(second) if second else None,
    }
    images = [data["picture"], data["regions"] or "", *(overlay["uri"] for overlay in data["overlays"])]
    data["version"] = hashlib.sha256("".join(images).encode()).hexdigest()[:16]

    def picked() -> None:
        answer = st.session_state[key]["pick"]
        on_pick(Pick(int(answer["row"]), int(answer["column"]), bool(answer["second"])))

    COMPONENT(data=data, key=key, on_pick_change=picked)
