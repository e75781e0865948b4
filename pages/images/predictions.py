"""Predictions beside the truth: one network, or two against each other, the worst pictures first."""

import numpy as np
import streamlit as st

from pages.shared import both_boxes, method_pixels, store
from pages.shared import image_pickers as pickers
from pages.shared import prediction_data as data
from pages.shared.messages import stop_with
from pages.shared.prediction_data import Side
from pages.shared.segmentation_viewer import Layer, segmentation_viewer
from pages.shared.words import plain_name
from scl_core.errors import UserError
from scl_core.figures.pictures import png_bytes
from scl_core.inference import overlay


def layers_of(sides: list[Side], split: str, index: int) -> dict[str, Layer]:
    """Truth, where the list has it, and what each network says."""
    truth = data.truth_of(data.source_of(sides[0].run).pictures(split), index)
    layers = {} if truth is None else {"truth": Layer("Truth", truth)}
    for letter, side in zip("ab", sides, strict=False):
        found = data.predict_listed(side, split, index)
        missed = "" if truth is None else f", {data.wrong_share(truth, found.classes):.1%} of pixels wrong"
        title = f"{letter.upper()}: {plain_name(side.label)}{missed}"
        layers[letter] = Layer(title, found.classes, found.confidence, found.entropy)
    return layers


def show_viewer(sides: list[Side], split: str, index: int) -> None:
    """All of it under one cursor."""
    source = data.source_of(sides[0].run)
    layers = layers_of(sides, split, index)
    height, width = layers["a"].classes.shape
    segmentation_viewer(
        data.resize_picture(source.pictures(split).image(index), height, width),
        layers,
        class_names=[plain_name(name) for name in source.class_names],
        palette=source.palette,
        key="segmentation",
        label="Picture, truth and predictions. Arrow keys move one cursor in all of them, Enter marks the pixel.",
        pixel=method_pixels.in_picture("pixel", height, width),
        on_pick=lambda row, column: st.query_params.update(pixel=f"{row}-{column}"),
    )


def show_training(side: Side, split: str, index: int) -> None:
    """How the prediction of this picture came about, where training stored it."""
    source = data.source_of(side.run)
    pictures = source.pictures(split)
    steps = data.stored_steps(store.run_folder(side.run), pictures.names[index]) if split == "val" else {}
    st.subheader("Through the training")
    if len(steps) < 2:
        st.caption("Training stores what it predicts for its first four validation pictures; this is none of them.")
        return
    step = st.select_slider("Step", sorted(steps), value=max(steps), key="training_step", bind="query-params")
    classes = data.stored_prediction(steps[step], len(source.class_names))
    picture = data.resize_picture(pictures.image(index), *classes.shape)
    zoom = np.ones((max(1, 560 // classes.shape[1]),) * 2 + (1,), dtype=np.uint8)  # each pixel a sharp square
    shown = np.kron(overlay(picture, classes, source.palette), zoom)
    st.image(shown, width=560, caption=f"Step {step}", alt="Stored prediction")


def offer_files(sides: list[Side], split: str, index: int) -> None:
    """The predictions over the picture, as PNG files, and the way to the microscope."""
    source = data.source_of(sides[0].run)
    with st.container(horizontal=True, vertical_alignment="center"):
        for letter, side in zip("AB", sides, strict=False):
            classes = data.predict_listed(side, split, index).classes
            picture = data.resize_picture(source.pictures(split).image(index), *classes.shape)
            content = png_bytes(overlay(picture, classes, source.palette))
            label = f"Save {letter}" if len(sides) > 1 else "Save the prediction"
            st.download_button(
                label, content, f"prediction_{letter}.png", "image/png", icon=":material/download:", on_click="ignore",
                key=f"save_{letter}",
            )  # fmt: skip
            picture = (split, source.pictures(split).names[index])
            pickers.microscope_link(side, picture, f"{letter} under the microscope")


st.title("Predictions")
try:
    names = pickers.runs_with_checkpoints()
    sides = [pickers.pick_side(names, "a")]
    sides += filter(None, [pickers.pick_side(names, "b", optional=True)])
    if len(sides) > 1 and data.source_of(sides[0].run).class_names != data.source_of(sides[1].run).class_names:
        st.info("B was trained on other classes than A, so their predictions cannot be laid over each other.")
        sides = sides[:1]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = pickers.pick_split(sides[0].run)
        index = pickers.pick_picture(sides, split)
    show_viewer(sides, split, index)
    offer_files(sides, split, index)
    if len(sides) > 1:
        both_boxes.show(sides, (split, data.source_of(sides[0].run).pictures(split).names[index]))
    show_training(sides[0], split, index)
except (UserError, OSError) as error:
    stop_with(error)
