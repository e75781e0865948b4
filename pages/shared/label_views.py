"""Label relaxation on a labeled picture of the step: which classes eq. 2 accepts at each pixel."""

import numpy as np
import streamlit as st

from pages.shared import method_pickers, method_pixels
from pages.shared.viewer import Pick, layers_of, send_layers, show_viewer
from scl_core.config import RunConfig
from scl_core.data.batch import Batch
from scl_core.data.classes import class_numbers
from scl_core.data.images import denormalise
from scl_core.losses.supervised import allowed_classes

STRICT_CLASSES = "method.relaxation_strict_classes"
WINDOWS = [1, 3, 5, 7, 9, 15, 21]


def show_relaxation(batch: Batch, config: RunConfig, names: tuple[str, ...], palette: np.ndarray) -> None:
    """A labeled picture with its boundaries widened by a window; a click names the classes of a pixel."""
    st.subheader("Label relaxation: which classes are right here?")
    own = getattr(config.method, "relaxation_window", 1)
    windows = sorted({*WINDOWS, own})
    left, right = st.columns([3, 2], gap="large")
    with right:
        if len(batch.images) > 1:
            last = len(batch.images) - 1
            index = method_pickers.number(
                "Labeled picture", "labeled", 0, last, 0, f"Of the step's batch, 0 to {last}."
            )
        else:
            index = 0
        window = st.select_slider(
            "Window w", windows, own if own > 1 else 3, key="window", bind="query-params", help=f"The run has {own}."
        )
        st.write(
            "Near a boundary a label may be a pixel off. Eq. 2 takes the sum of the probabilities of all classes "
            "within the window around a pixel, so any of them is right there; far from a boundary nothing changes."
        )
    labels = batch.labels[index]
    strict = class_numbers(STRICT_CLASSES, getattr(config.method, "relaxation_strict_classes", None))
    allowed = allowed_classes(labels[None], window, len(names), strict_classes=strict)[0].numpy()
    counts = allowed.sum(0)
    with left:
        overlays = {"Labels": labels_overlay(labels.numpy(), palette), "Allowed classes": counts_overlay(counts)}
        layers = layers_of(denormalise(batch.images[index]), overlays)
        show_viewer(
            layers,
            key="labels_viewer",
            title="Picture",
            label="A labeled picture. Arrow keys move a cursor, Enter takes a pixel.",
            first=method_pixels.chosen("label_pixel", np.ones(counts.shape, dtype=bool)),
            hint="click a pixel to read its classes",
            on_pick=take,
        )
        send_layers(layers, "labels_viewer")
    with right:
        say_counts(counts, allowed, names, method_pixels.chosen("label_pixel", np.ones(counts.shape, dtype=bool)))


def say_counts(counts: np.ndarray, allowed: np.ndarray, names: tuple[str, ...], place) -> None:
    """How much of the picture is relaxed, and the classes of the chosen pixel."""
    supervised = max(int((counts > 0).sum()), 1)
    st.metric("Pixels with more than one class", f"{(counts > 1).sum() / supervised:.1%}", help="Of those supervised.")
    if place:
        found = [names[index] for index in np.flatnonzero(allowed[:, place[0], place[1]])]
        st.markdown(f"**Row {place[0]}, column {place[1]}**: " + (", ".join(found) or "not supervised"))


def take(pick: Pick) -> None:
    """Keep the clicked pixel in the address."""
    st.query_params["label_pixel"] = f"{pick.row}-{pick.column}"


def labels_overlay(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels in their colours, uint8 [H, W, 4]; transparent where ignored."""
    known = labels < len(palette)
    return np.dstack([palette[np.where(known, labels, 0)], np.where(known, 255, 0).astype(np.uint8)])


def counts_overlay(counts: np.ndarray) -> np.ndarray:
    """One class transparent, two orange, three and more brighter; none dark: uint8 [H, W, 4]."""
    colors = np.array([[20, 20, 20, 160], [0, 0, 0, 0], [230, 159, 0, 255], [240, 228, 66, 255]], dtype=np.uint8)
    return colors[np.minimum(counts, 3)]
