"""The parts of the similarity page: viewer, losses, matrices, maps of a pixel, and what carries the loss."""

from dataclasses import fields
from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st
from plotly.colors import sample_colorscale

from pages.shared import method_pixels, method_views
from pages.shared.method_networks import Seen
from pages.shared.method_views import short, show_chart
from pages.shared.similarity_panels import similarity_panels
from pages.shared.viewer import Layers, Outline, Regions, layers_of, send_layers, show_viewer
from scl_core.figures import similarity as figures
from scl_core.figures.boxes import paste_colors
from scl_core.figures.parts import class_pair_figure
from scl_core.figures.similarity import Block
from scl_core.microscope.dissect import Exact, hard_disagreement, pixel_gradients
from scl_core.probe import BoxReport, Probe, SimilarityMatrices, similarity_maps, similarity_matrices, similarity_rows
from scl_core.structured_form import StructuredForm

ROWS = 6
"""Rows of the table of boxes that are visible at once."""
MOST = 96
"""Pixels in a matrix: each of its cells can be clicked."""
MAP_PIXELS = 40_000
ORDERS = {"by class": "class", "by likeness": "cluster", "row by row": "raster"}
Place = tuple[int, int]


def show_losses(seen: Seen) -> None:
    """The two losses of this pair and what they were computed from."""
    probe, parts = seen.probe, seen.parts
    boxes = [box for box in probe.report if box.in_loss]
    columns = st.columns(4)
    columns[0].metric(loss_name(probe), f"{probe.structured:.5f}", help=f"{form_in_words(probe)} Unweighted.")
    columns[1].metric("Pixel-wise consistency (eq. 4)", f"{probe.consistency:.5f}", help="Unweighted.")
    columns[2].metric("Loss boxes", f"{len(boxes)} of {len(probe.report)}")
    drawn = "every pair" if probe.max_pairs is None else f"at most {probe.max_pairs:,} a box"
    help = f"Ordered pairs, {drawn}. Over every pair the loss is {parts.loss:.5f}."
    columns[3].metric("Pixel pairs compared", f"{sum(box.pairs for box in boxes):,}", help=help)


def loss_name(probe: Probe) -> str:
    """The loss with its equation, where it has the paper's form: over every pair, or over drawn ones."""
    if probe.form != StructuredForm():
        return "Structured loss"
    return f"Structured loss (eq. {8 if probe.max_pairs is None else 10})"


def form_in_words(probe: Probe) -> str:
    """What the loss compares, in the words of the run's settings."""
    plain = StructuredForm()
    differing = [f.name for f in fields(plain) if getattr(probe.form, f.name) != getattr(plain, f.name)]
    said = "".join(f"method.structured_{name} is {getattr(probe.form, name)}. " for name in differing)
    return f"{said}{probe.box_reduction.capitalize()} over the boxes."


def show_table(seen: Seen, ranked: list[BoxReport]) -> None:
    """The boxes of the loss, the heaviest first, and their sum beside the loss."""
    probe = seen.probe
    hard = _disagreements(seen.key, probe)
    rows = [
        {
            "box": box.number,
            "size": f"{box.height} × {box.width}",
            "shows": 100 * box.share,
            "loss": box.loss,
            "hard": None if hard[box.number] is None else 100 * hard[box.number],
            "share": 100 * box.loss_share,
        }
        for box in ranked
    ]
    largest = max((box.loss_share for box in ranked), default=0) or 1
    words = "Hard labels: share of pixel pairs that the two maps see differently, as same or as different class."
    formats = {
        "box": st.column_config.NumberColumn(width=38, help="Its place in the paste order, from 0."),
        "size": st.column_config.TextColumn(width=62, help="Height × width in pixels."),
        "shows": st.column_config.NumberColumn(format="%.0f %%", width=50, help="Share of its pixels that it shows."),
        "loss": st.column_config.NumberColumn(format="%.5f", width=60, help="Mean over its pairs of (aˢ − aᵗ)²."),
        "hard": st.column_config.NumberColumn(format="%.1f %%", width=54, help=words),
        "share": st.column_config.ProgressColumn(
            "share, %",
            format="%.0f",
            min_value=0,
            max_value=100 * largest,
            width=115,
            help="What it adds to the structured loss.",
        ),
    }
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, column_config=formats, key="table_losses", height=ROWS * 35 + 38,
        alt="Losses of the boxes, the heaviest first",
    )  # fmt: skip
    scale = rf"\tfrac{{1}}{{{len(ranked)}}}" if probe.box_reduction == "mean" else ""
    total = sum(box.term for box in ranked)
    st.latex(rf"{scale}\textstyle\sum_n \ell_n = {total:.6f} \qquad \mathcal{{L}}_{{sc}} = {probe.structured:.6f}")


@st.cache_data(max_entries=16, show_spinner=False)
def _disagreements(key: tuple, _probe: Probe) -> dict[int, float | None]:
    """`hard_disagreement` of each box of the loss."""
    return {box.number: hard_disagreement(_probe, box.number) for box in _probe.report if box.in_loss}


def show_picture(seen: Seen, palette: np.ndarray, number: int, first: Place, second: Place | None) -> None:
    """The mix with its boxes; over it what the networks predict, which pixels carry the loss, and its gradient."""
    report, colors = seen.probe.report, paste_colors(len(seen.probe.report))
    show_viewer(
        _layers(seen.key, seen.probe, seen.parts, palette),
        key="viewer",
        title="Mix",
        label="The mixed picture. Arrow keys move a cursor, Enter takes pixel 1, Shift-Enter pixel 2.",
        outlines=[
            Outline(box.number, box.top, box.left, box.height, box.width, colors[box.number], box.in_loss)
            for box in report
        ],
        chosen=number,
        first=first,
        second=second,
        hint="click: pixel 1 · Shift-click: pixel 2",
        on_pick=lambda pick: method_pixels.take(seen.probe, pick),
    )


def send_picture(seen: Seen, palette: np.ndarray) -> None:
    """Give the browser what `show_picture` shows, once for a pair."""
    send_layers(_layers(seen.key, seen.probe, seen.parts, palette), "viewer")


@st.cache_resource(max_entries=6, show_spinner=False)
def _layers(key: tuple, _probe: Probe, _parts: Exact, _palette: np.ndarray) -> Layers:
    overlays = {
        "Teacher": class_overlay(_probe.teacher, _palette),
        "Student": class_overlay(_probe.student, _palette),
        "Loss per pixel": heat_overlay(_parts.shares),
        "Gradient": heat_overlay(pixel_gradients(_probe)),
    }
    names = [f"box {box.number}, {box.visible:,} px shown" for box in _probe.report]
    return layers_of(_probe.mixed, overlays, Regions(_probe.owner.numpy(), names, "no box"))


def show_matrices(seen: Seen, number: int, names: tuple[str, ...], first: Place, second: Place | None) -> None:
    """Every pixel of the box with every pixel, at a stride that is said."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader(f"Box {number}: every pixel with every pixel")
        order = ORDERS[_word("Order of the pixels", list(ORDERS), "order")]
        third = _word("Third matrix", ["squared", "signed"], "third")
    found = _matrices(seen.key, seen.probe, number, order)
    box, mean = seen.probe.report[number], np.square(found.student - found.teacher).mean()
    st.caption(
        f"{len(found.places)} of {box.visible:,} pixels, every {method_views.ordinal(found.stride)} row and column "
        f"(stride {found.stride}). Mean of the squared difference over the pairs shown {short(float(mean))}, "
        f"over the {box.pairs:,} pairs of the loss {short(box.loss)}. Click a cell: the picture marks its two pixels."
    )
    blocks = class_blocks(found, names) if order == "class" else ()
    cell = _cell(found, first, second)
    figure = figures.matrix_figure(found.teacher, found.student, blocks, cell, third == "squared")
    similarity_panels(
        figure,
        key="matrices",
        label=f"Similarity matrices of box {number}",
        on_cell=lambda row, column: method_pixels.take_pair(found.places[row], found.places[column]),
    )


@st.cache_resource(max_entries=24, show_spinner=False)
def _matrices(key: tuple, _probe: Probe, number: int, order: str) -> SimilarityMatrices:
    """The matrices of a box; they are shared."""
    return similarity_matrices(_probe, number, MOST, order)


def show_pair(probe: Probe, number: int, first: Place, second: Place | None) -> None:
    """The numbers of the two marked pixels."""
    box = probe.report[number]
    st.subheader(f"Pixel 1, row {first[0]}, column {first[1]}: how alike is the rest of box {number}?")
    if second is None:
        st.caption(
            "Shift-click another pixel of this box, or Shift-Enter on the keyboard, for the numbers of one pair."
        )
        return
    teacher, student = similarity_rows(probe, number, *first)
    a_t, a_s = (float(values[second[0] - box.top, second[1] - box.left]) for values in (teacher, student))
    squared = (a_s - a_t) ** 2
    columns = st.columns(4)
    columns[0].metric("Teacher aᵗ", f"{a_t:.4f}", help=f"With pixel 2, row {second[0]}, column {second[1]}.")
    columns[1].metric("Student aˢ", f"{a_s:.4f}")
    columns[2].metric("(aˢ − aᵗ)²", f"{squared:.6f}")
    whole = box.loss * box.visible**2 if probe.max_pairs is None else None
    share = f"{squared / whole:.1e} of the box's loss" if whole else "of the mean pair"
    columns[3].metric(
        "Beside the box's mean", f"{squared / box.loss:.2f} ×" if box.loss else "–", share, delta_color="off",
        delta_arrow="off", help="A pair as heavy as the mean one is 1 ×; its share is that over all pairs.",
    )  # fmt: skip


def show_maps(probe: Probe, number: int, first: Place, second: Place | None) -> None:
    """One line of the matrices laid over the box or the whole picture, pixel for pixel; pinned pixels below it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        where = _word("Similarity over", ["box", "picture"], "over")
        st.button(
            "Pin pixel 1",
            key="pin",
            icon=":material/keep:",
            on_click=method_pixels.pin,
            args=(first, probe.owner.shape),
        )
        pins = method_pixels.pinned(probe.owner.shape)
        if pins:
            st.button("Unpin all", key="unpin", on_click=method_pixels.put, args=("pins", ""))
    if where == "box":
        box = probe.report[number]
        figure = figures.row_figure(*similarity_rows(probe, number, *first), box.top, box.left, first, second)
        similarity_panels(figure, key="row", label=f"Similarity of one pixel to the pixels of box {number}")
    else:
        show_whole_map(probe, first, second, "row")
    for index, place in enumerate(pins):
        st.markdown(f"**Pinned: row {place[0]}, column {place[1]}**, over the whole picture")
        show_whole_map(probe, place, None, f"pin{index}")


def show_whole_map(probe: Probe, first: Place, second: Place | None, name: str) -> None:
    """How alike one pixel is to every pixel of the mix."""
    stride = int(np.ceil((probe.owner.numel() / MAP_PIXELS) ** 0.5))
    maps = [values[::stride, ::stride] for values in similarity_maps(probe, *first)]
    figure = figures.row_figure(*maps, 0, 0, first, second, stride=stride)
    similarity_panels(figure, key=name, label="Similarity of one pixel to the whole picture")
    if stride > 1:
        st.caption(f"Every {method_views.ordinal(stride)} row and column is drawn.")


def show_parts(seen: Seen, number: int, names: tuple[str, ...]) -> None:
    """The loss by pairs of classes and by pixels, and that both add up to it."""
    parts = seen.parts
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader("Which classes carry the loss?")
        which = _word("Of", ["all boxes", "this box"], "classes_of")
    left, right = st.columns([3, 2], gap="large")
    matrix = parts.class_pairs if which == "all boxes" else parts.boxes[number]
    with left:
        if matrix.sum() > 0:
            show_chart(class_pair_figure(matrix, names), "classes", "Share of the loss by pairs of classes", 380)
        else:
            st.info("There is no loss to share: student and teacher agree on every pair.")
    with right:
        st.markdown("Exact, over every pair, in the reduction of the run:")
        sums = {
            r"\sum_i r_i": (parts.shares.sum(), "the pixels of the heat map “Loss per pixel”"),
            r"\sum_{cd} E_{cd}": (parts.class_pairs.sum(), "the pairs of the teacher's classes"),
            r"\mathcal{L}_{sc}": (parts.loss, "the loss itself, by the function of training"),
        }
        for symbol, (value, words) in sums.items():
            st.latex(rf"{symbol} = {value:.8f}")
            st.caption(words)
        own = np.trace(parts.class_pairs) / parts.loss if parts.loss else 0.0
        st.caption(f"{own:.0%} of the loss is between pixels of one class, {1 - own:.0%} across classes.")


def heaviest_pixel(parts: Exact, shown: np.ndarray) -> Place:
    """Of the pixels where `shown` [H, W] is True, the one that carries most of the structured loss."""
    row, column = np.unravel_index(np.argmax(np.where(shown, parts.shares, -1.0)), shown.shape)
    return int(row), int(column)


def class_blocks(found: SimilarityMatrices, class_names: tuple[str, ...]) -> list[Block]:
    """The runs of one class in matrices that are sorted by class."""
    starts = [0, *(np.flatnonzero(np.diff(found.classes)) + 1).tolist()]
    stops = [*starts[1:], len(found.classes)]
    return [Block(class_names[found.classes[start]], start, stop) for start, stop in zip(starts, stops, strict=True)]


def class_overlay(probs, palette: np.ndarray) -> np.ndarray:
    """The most probable classes in their colours, uint8 [H, W, 4]."""
    colors = palette[probs.argmax(0).numpy()]
    return np.dstack([colors, np.full(colors.shape[:2], 255, dtype=np.uint8)])


def brightest(values: np.ndarray) -> float:
    """The value from which on a heat map is at its brightest: the 99.5th percentile of those above 0."""
    return float(np.percentile(values[values > 0], 99.5)) if (values > 0).any() else 1.0


def heat_overlay(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """Values from 0 to `top`, at first `brightest`, from dark to bright, uint8 [H, W, 4]."""
    level = (255 * np.clip(values / (top or brightest(values)), 0, 1)).astype(np.uint8)
    return np.dstack([_heat_colors()[level], np.full(level.shape, 255, dtype=np.uint8)])


@lru_cache(maxsize=1)
def _heat_colors() -> np.ndarray:
    return (255 * np.array(sample_colorscale("Inferno", list(np.linspace(0, 1, 256)), colortype="tuple"))).astype(
        np.uint8
    )


def _cell(found: SimilarityMatrices, first: Place, second: Place | None) -> Place | None:
    """Where the two marked pixels meet in the matrices, if both are among the pixels taken."""
    at = {tuple(place): index for index, place in enumerate(found.places.tolist())}
    return (at[first], at[second]) if second and first in at and second in at else None


def _word(label: str, words: list[str], key: str) -> str:
    """One of a few words, the first at first. They stand in the address as they are, so they have no other label."""
    return st.segmented_control(
        label, words, default=words[0], required=True, key=key, bind="query-params", label_visibility="collapsed"
    )
