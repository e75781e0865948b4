"""The viewer of predictions: picture, truth, A, B and their errors under one cursor, drawn in the page."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from scl_core.figures.pictures import png_uri

FOLDER = Path(__file__).parent
COMPONENT = st.components.v2.component(
    "scl_segmentation_viewer",
    html=(FOLDER / "segmentation_viewer.html").read_text(encoding="utf-8"),
    css=(FOLDER / "segmentation_viewer.css").read_text(encoding="utf-8"),
    js=(FOLDER / "segmentation_viewer.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Layer:
    """One class map, uint8 [H, W] with 255 = ignored, under its title; for a prediction with two maps of 0..255.

    `confidence` is the probability of the predicted class, `entropy` that of all, as a share of its highest value.
    """

    title: str
    classes: np.ndarray
    confidence: np.ndarray | None = None
    entropy: np.ndarray | None = None


def segmentation_viewer(
    picture: np.ndarray,
    layers: Mapping[str, Layer],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    key: str,
    label: str,
    pixel: tuple[int, int] | None = None,
    on_pick: Callable[[int, int], None],
) -> None:
    """Show a uint8 picture [H, W, 3] and `layers` of its size, of "truth", "a" and "b" those that there are.

    `palette` is uint8 [C, 3]. `on_pick` is called with row and column before the page runs again.
    """
    data = {
        "label": label,
        "hint": "arrow keys move the cursor, with Shift by eight; click or Enter marks the pixel",
        "height": picture.shape[0],
        "width": picture.shape[1],
        "picture": png_uri(picture),
        "maps": {side: png_uri(layer.classes) for side, layer in layers.items()},
        "titles": {side: layer.title for side, layer in layers.items()},
        "confidence": uris(layers, "confidence"),
        "entropy": uris(layers, "entropy"),
        "palette": palette.tolist(),
        "names": list(class_names),
        "pixel": list(pixel) if pixel else None,
    }
    shown = {name: value for name, value in data.items() if name != "pixel"}
    data["version"] = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]

    def picked() -> None:
        answer = st.session_state[key]["pick"]
        on_pick(int(answer["row"]), int(answer["column"]))

    COMPONENT(data=data, key=key, on_pick_change=picked)


def uris(layers: Mapping[str, Layer], name: str) -> dict[str, str]:
    """One of the maps of the layers that have it."""
    return {side: png_uri(pixels) for side, layer in layers.items() if (pixels := getattr(layer, name)) is not None}
