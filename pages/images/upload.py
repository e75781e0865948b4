"""A picture of one's own: what a network says of it, and how sure it is."""

import numpy as np
import pandas as pd
import streamlit as st
import torch
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.shared import image_pickers as pickers
from pages.shared import method_pixels, store
from pages.shared import prediction_data as data
from pages.shared.chosen_pictures import ENDINGS, FILES, decoded, decoded_mask
from pages.shared.messages import say_problem, say_why_not, stop_with
from pages.shared.prediction_data import Prediction, Side
from pages.shared.segmentation_viewer import Layer, segmentation_viewer
from pages.shared.words import plain_name
from scl_core.errors import UserError
from scl_core.figures.pictures import png_bytes
from scl_core.inference import overlay
from scl_core.metrics import confusion_matrix, per_class_iou
from scl_core.runs.pictures import forget_pictures, keep_picture, kept_picture

MOST_PIXELS = 12_000_000


def pick_picture() -> tuple[np.ndarray, str | None]:
    """The uploaded picture, or the kept one of the address, and its name there; without any the page ends."""
    given = st.file_uploader("A picture, at most 32 MB", ENDINGS, key="own_file")
    if given is not None:
        return take(given)
    kept = st.query_params.get("file")
    if not kept:
        st.info(
            "Choose a picture. It stays on this machine: a copy lies beside the runs, so that a link shows it again, "
            "until you forget it or sixteen others have come."
        )
        st.stop()
    st.button(
        "Forget my pictures", key="forget", icon=":material/delete:", on_click=forget,
        help="Removes the copies of all pictures that were uploaded here.",
    )  # fmt: skip
    return decoded(kept_picture(store.runs_root(), kept), plain_name(kept), MOST_PIXELS), kept


def take(given: UploadedFile) -> tuple[np.ndarray, str | None]:
    """A file that is given now; one that cannot be kept is shown all the same, and has no link."""
    picture = decoded(given.getvalue(), plain_name(given.name), MOST_PIXELS)
    try:
        kept = keep_picture(store.runs_root(), given.name, given.getvalue())
    except UserError as error:
        say_why_not(error)
        return picture, None
    st.query_params["file"] = kept
    return picture, kept


def pick_mask(shape: tuple[int, int], num_classes: int) -> np.ndarray | None:
    """The truth of the picture, uint8 [H, W], where one is given that fits; else None, and why."""
    help = "A PNG of class indices, 255 = ignored, as large as the picture. It is not kept."
    given = st.file_uploader("Its mask, if there is one", ["png"], key="own_mask", help=help)
    if given is None:
        return None
    try:
        mask = decoded_mask(given.getvalue(), plain_name(given.name), num_classes)
    except UserError as error:
        say_problem("This mask cannot be used:", error)
        return None
    if mask.shape != shape:
        sizes = " but ".join(f"{what} {width} x {height} pixels" for what, (height, width) in
                             (("the mask has", mask.shape), ("the picture", shape)))  # fmt: skip
        say_problem("This mask cannot be used:", f"{plain_name(given.name)}: {sizes}: give one of the picture's size")
        return None
    return mask


def forget() -> None:
    """Remove what was uploaded, here and on the Method pages."""
    forget_pictures(store.runs_root())
    st.query_params.pop("file", None)


def show_prediction(side: Side, picture: np.ndarray, truth: np.ndarray | None) -> Prediction:
    """The picture, its mask where one was given, and its prediction under one cursor."""
    found = data.predict_own(side, picture, data.stamp_of(side))
    restored = data.restored(side.run, side.step)
    layers = {} if truth is None else {"truth": Layer("Your mask", truth)}
    missed = "" if truth is None else f", {data.wrong_share(truth, found.classes):.1%} of pixels wrong"
    title = f"{plain_name(side.label)}{missed}"
    segmentation_viewer(
        picture,
        layers | {"a": Layer(title, found.classes, found.confidence, found.entropy)},
        class_names=[plain_name(name) for name in restored.class_names],
        palette=restored.palette,
        key="own_picture",
        label="Your picture and its prediction. Arrow keys move one cursor in both.",
        pixel=method_pixels.in_picture("pixel", *found.classes.shape),
        on_pick=lambda row, column: st.query_params.update(pixel=f"{row}-{column}"),
    )
    return found


def show_numbers(found: Prediction, class_names: tuple[str, ...], truth: np.ndarray | None) -> None:
    """How much of each class is seen, how sure the network is of it, and beside a mask how right."""
    scores = None if truth is None else iou_of(found.classes, truth, len(class_names))
    counts = np.bincount(found.classes.ravel(), minlength=len(class_names))
    sure = np.bincount(found.classes.ravel(), weights=found.confidence.ravel() / 2.55, minlength=len(class_names))
    rows = [
        {
            "Class": plain_name(name),
            "Share": 100 * counts[index] / counts.sum(),
            "Confidence": sure[index] / counts[index] if counts[index] else None,
        }
        | ({} if scores is None else {"IoU": 100 * scores[index]})
        for index, name in enumerate(class_names)
        if counts[index] or (scores is not None and np.isfinite(scores[index]))
    ]
    formats = {
        name: st.column_config.NumberColumn(f"{name} (%)", format="%.1f") for name in ("Share", "Confidence", "IoU")
    }
    frame = pd.DataFrame(rows).sort_values("Share", ascending=False)
    st.dataframe(frame, hide_index=True, column_config=formats, placeholder="–", alt="Classes of the prediction")
    if scores is not None:
        st.caption(f"mIoU of this picture alone: {100 * np.nanmean(scores):.1f} %, over the classes of mask or answer.")
    st.caption("Confidence: the mean probability of the predicted class. A picture unlike the training data can be "
               "wrong with high confidence.")  # fmt: skip


def iou_of(classes: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """IoU of each class [C] against the mask; NaN where neither has the class."""
    maps = (torch.from_numpy(values.astype(np.int64)) for values in (classes, truth))
    return per_class_iou(confusion_matrix(*maps, num_classes)).numpy()


st.title("Own picture")
try:
    side = pickers.pick_side(pickers.runs_with_checkpoints(), alone=True)
    picture, kept = pick_picture()
    restored = data.restored(side.run, side.step)
    truth = pick_mask(picture.shape[:2], len(restored.class_names))
    found = show_prediction(side, picture, truth)
    show_numbers(found, restored.class_names, truth)
    shown = overlay(picture, found.classes, restored.palette)
    files = {"class map": png_bytes(found.classes, restored.palette), "overlay": png_bytes(shown)}
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, content in files.items():
            st.download_button(
                f"Download the {name}", content, f"{name.replace(' ', '_')}.png", "image/png", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip
        if kept:
            pickers.microscope_link(side, (FILES, kept))
except (UserError, OSError) as error:
    stop_with(error)
