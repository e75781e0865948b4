"""Similarities on a canvas in the page: what each cell holds under the pointer, and Python told of a chosen cell."""

import base64
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from scl_core.figures.similarity import Figure, scale_colors

FOLDER = Path(__file__).parent
COMPONENT = st.components.v2.component(
    "scl_panels",
    html=(FOLDER / "similarity_panels.html").read_text(encoding="utf-8"),
    css=(FOLDER / "similarity_panels.css").read_text(encoding="utf-8"),
    js=(FOLDER / "similarity_panels.js").read_text(encoding="utf-8"),
)


def similarity_panels(
    figure: Figure, *, key: str, label: str, highest: int = 380, on_cell: Callable[[int, int], None] | None = None
) -> None:
    """Draw a figure, no panel higher than `highest` pixels; `label` is what a screen reader says.

    `on_cell` is called, before the page runs again, with row and column of a cell that was clicked, or reached with
    the arrow keys and taken with Enter.
    """

    def taken() -> None:
        answer = st.session_state[key]["cell"]
        on_cell(int(answer["row"]), int(answer["column"]))

    answers = {"on_cell_change": taken} if on_cell else {}
    COMPONENT(data=drawn(figure) | {"label": label, "highest": highest, "clickable": bool(on_cell)}, key=key, **answers)


def drawn(figure: Figure) -> dict:
    """A figure as the browser takes it: float32 values and colours in base64."""
    height, width = figure.panels[0].values.shape
    kinds = dict.fromkeys(panel.is_difference for panel in figure.panels)
    limits = {False: (figure.low, 1.0), True: (-figure.reach, figure.reach)}
    scales = {
        "difference" if kind else "similarity": {"low": limits[kind][0], "high": limits[kind][1],
                                                 "colors": _base64(scale_colors(kind)), "signed": kind}
        for kind in kinds
    }  # fmt: skip
    panels = [
        {"title": panel.title, "symbol": panel.symbol, "values": _base64(panel.values.astype("<f4").tobytes()),
         "scale": "difference" if panel.is_difference else "similarity"}
        for panel in figure.panels
    ]  # fmt: skip
    return {
        "height": height, "width": width, "top": figure.top, "left": figure.left, "stride": figure.stride,
        "panels": panels, "scales": scales, "marks": [vars(mark) for mark in figure.marks],
        "blocks": [vars(block) for block in figure.blocks], "of_matrix": figure.of_matrix,
    }  # fmt: skip


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
