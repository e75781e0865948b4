"""The parts of the similarity page that draw a probe: the viewer with its overlays, the losses, the words."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from plotly.colors import sample_colorscale

from pages.shared import method_data, method_pickers
from pages.shared.method_data import Place
from pages.shared.viewer import Outline, Regions, picture_viewer
from scl_core.config import RunConfig
from scl_core.figures.boxes import paste_colors
from scl_core.figures.similarity import Block
from scl_core.probe import BoxReport, Probe, SimilarityMatrices, pixel_losses

STATIC = {"displayModeBar": False, "scrollZoom": False}
ROWS = 6
"""Rows of the table of boxes that are visible at once."""


def show_chart(figure: go.Figure, name: str, alt: str, height: int) -> None:
    """A figure without tool bar; `alt` is what a screen reader says."""
    st.plotly_chart(figure.update_layout(height=height), key=f"chart_{name}", alt=alt, config=STATIC)


def show_picture(image: np.ndarray, alt: str) -> None:
    """A uint8 picture [H, W, 3] as wide as its column, each pixel a sharp square."""
    zoom = max(1, 900 // image.shape[1])
    st.image(np.kron(image, np.ones((zoom, zoom, 1), dtype=np.uint8)), width="stretch", alt=alt, output_format="PNG")


def say_which_networks(place: Place, config: RunConfig) -> None:
    """Whose predictions these are, where it is not the plain case."""
    if place.run is None:
        st.info(
            "These networks are untrained: nearly all pixels look alike to them. Pick a run to see what it learned.",
            icon=":material/egg:",
        )
    elif not method_data.has_teacher(config):
        st.info("This method keeps no teacher: its student takes the teacher's place here.", icon=":material/info:")


def show_losses(probe: Probe) -> None:
    """The two losses of this pair and what they were computed from."""
    boxes = [box for box in probe.report if box.in_loss]
    columns = st.columns(4)
    columns[0].metric(
        "Structured loss (eq. 10)", f"{probe.structured:.5f}", help=f"Boxes: {probe.box_reduction}. Unweighted."
    )
    columns[1].metric("Pixel-wise consistency (eq. 4)", f"{probe.consistency:.5f}", help="Unweighted.")
    columns[2].metric("Loss boxes", f"{len(boxes)} of {len(probe.report)}")
    drawn = "every pair" if probe.max_pairs is None else f"at most {probe.max_pairs:,} a box"
    columns[3].metric("Pixel pairs compared", f"{sum(box.pairs for box in boxes):,}", help=f"Ordered pairs, {drawn}.")


def ranked_boxes(probe: Probe) -> list[BoxReport]:
    """The boxes of the loss, the one that adds most first; those that show nothing last."""
    return sorted((box for box in probe.report if box.in_loss), key=lambda box: (-box.term, -box.visible))


def show_table(probe: Probe, ranked: list[BoxReport]) -> None:
    """The boxes of the loss, the heaviest first, and their sum beside the loss."""
    rows = [
        {
            "box": box.number,
            "size": f"{box.height} × {box.width}",
            "shows": 100 * box.share,
            "loss": box.loss,
            "share": box.loss_share,
        }
        for box in ranked
    ]
    largest = max((box.loss_share for box in ranked), default=0) or 1
    formats = {
        "box": st.column_config.NumberColumn(width=40, help="Its place in the paste order, from 0."),
        "size": st.column_config.TextColumn(width=66, help="Height × width in pixels."),
        "shows": st.column_config.NumberColumn(format="%.0f %%", width=54, help="Share of its pixels that it shows."),
        "loss": st.column_config.NumberColumn(format="%.5f", width=64, help="Mean over its pairs of (aˢ − aᵗ)²."),
        "share": st.column_config.ProgressColumn(
            format="percent", min_value=0, max_value=largest, help="What it adds, as a share of the structured loss."
        ),
    }
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=formats, key="table_losses", height=ROWS * 35 + 38)
    scale = rf"\tfrac{{1}}{{{len(ranked)}}}" if probe.box_reduction == "mean" else ""
    total = sum(box.term for box in ranked)
    st.latex(rf"{scale}\textstyle\sum_n \ell_n = {total:.6f} \qquad \mathcal{{L}}_{{sc}} = {probe.structured:.6f}")


def show_pair_numbers(a_t: float, a_s: float, box: BoxReport, second: tuple[int, int]) -> None:
    """What one pair of pixels says, and what it is beside the mean of its box."""
    squared = (a_s - a_t) ** 2
    columns = st.columns(4)
    columns[0].metric("Teacher aᵗ", f"{a_t:.4f}", help=f"With pixel 2, row {second[0]}, column {second[1]}.")
    columns[1].metric("Student aˢ", f"{a_s:.4f}")
    columns[2].metric("(aˢ − aᵗ)²", f"{squared:.6f}")
    columns[3].metric("Beside the box's mean", f"{squared / box.loss:.2f} ×" if box.loss else "–")


def ordinal(number: int) -> str:
    """`single`, `2nd`, `3rd`, `4th` …, for "every … row"."""
    if number == 1:
        return "single"
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def show_viewer(
    probe: Probe, number: int, palette: np.ndarray, first: tuple[int, int], second: tuple[int, int] | None
) -> None:
    """The mix with its boxes; what the networks predict and which pixels carry the loss lie over it."""
    colors = paste_colors(len(probe.report))
    picture_viewer(
        probe.mixed,
        key="viewer",
        title="Mix",
        label="The mixed picture. Arrow keys move a cursor, Enter takes pixel 1, Shift-Enter pixel 2.",
        overlays={
            "Teacher": _class_overlay(probe.teacher, palette),
            "Student": _class_overlay(probe.student, palette),
            "Loss per pixel": _heat_overlay(pixel_losses(probe)),
        },
        outlines=[
            Outline(box.number, box.top, box.left, box.height, box.width, colors[box.number], box.in_loss)
            for box in probe.report
        ],
        regions=Regions(
            probe.owner.numpy(), [f"box {box.number}, {box.visible:,} px shown" for box in probe.report], "no box"
        ),
        chosen=number,
        first=first,
        second=second,
        hint="click: pixel 1 · Shift-click: pixel 2",
        on_pick=lambda pick: method_pickers.take_pixel(probe, pick),
    )


def heaviest_pixel(probe: Probe, shown: np.ndarray) -> tuple[int, int]:
    """Of the pixels where `shown` [H, W] is True, the one that carries most of the structured loss."""
    row, column = np.unravel_index(np.argmax(np.where(shown, pixel_losses(probe), -1.0)), shown.shape)
    return int(row), int(column)


def class_blocks(found: SimilarityMatrices, class_names: tuple[str, ...]) -> list[Block]:
    """The runs of one class in matrices that are sorted by class."""
    starts = [0, *(np.flatnonzero(np.diff(found.classes)) + 1).tolist()]
    stops = [*starts[1:], len(found.classes)]
    return [Block(class_names[found.classes[start]], start, stop) for start, stop in zip(starts, stops, strict=True)]


def _class_overlay(probs, palette: np.ndarray) -> np.ndarray:
    """The most probable classes in their colours, uint8 [H, W, 4]."""
    colors = palette[probs.argmax(0).numpy()]
    return np.dstack([colors, np.full(colors.shape[:2], 255, dtype=np.uint8)])


def _heat_overlay(values: np.ndarray) -> np.ndarray:
    """Values from 0 to their 99.5th percentile from transparent dark to bright, uint8 [H, W, 4]."""
    top = np.percentile(values[values > 0], 99.5) if (values > 0).any() else 1.0
    level = (255 * np.clip(values / top, 0, 1)).astype(np.uint8)
    scale = sample_colorscale("Inferno", list(np.linspace(0, 1, 256)), colortype="tuple")
    colors = (255 * np.array(scale)).astype(np.uint8)[level]
    return np.dstack([colors, np.full(level.shape, 255, dtype=np.uint8)])
