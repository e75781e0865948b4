"""The five checks as a reader sees them: verdict, number, sentence, and the picture behind each."""

from collections.abc import Callable
from pathlib import PurePath

import numpy as np
import streamlit as st

from pages.shared.method_views import show_chart
from pages.shared.words import plain_name
from scl_core.figures import curves
from scl_core.figures import health as figures
from scl_core.figures.boxes import owner_picture
from scl_core.figures.insides import Panel, class_pixels, panels_figure
from scl_core.figures.parts import confidence_figure
from scl_core.microscope.health import LOOK, SOUND, UNKNOWN, Finding, Health
from scl_core.microscope.health.confidence import SURE
from scl_core.microscope.health.overlap import Overlap
from scl_core.microscope.health.teacher import STALE
from scl_core.microscope.health.terms import SWAMPED

SIGNS = {SOUND: "✔ sound", LOOK: "! take a look", UNKNOWN: "– cannot say"}
SHOWN_COPIES = 3
HEIGHT, WIDTH = 290, 330


def anchor(finding: Finding) -> str:
    """Where on the page a check stands, for links."""
    return finding.check.lower()


def show(finding: Finding, picture: Callable, health: Health, records: list[dict], evaluations: list[dict]) -> None:
    """One check: number and words on the left, its pictures on the right."""
    with st.container(border=True, key=f"check_{finding.check.lower()}"):
        words, pictures = st.columns([2, 5], gap="large")
        with words:
            st.subheader(f"{finding.check}: {SIGNS[finding.verdict]}", anchor=anchor(finding))
            st.caption(finding.name)
            st.metric(finding.name, finding.number, label_visibility="collapsed")
            st.write(finding.meaning)
            if finding.advice:
                st.markdown("**What to do**")
                st.write(finding.advice)
        with pictures:
            picture(health, records, evaluations)


def show_terms(health: Health, records: list[dict], evaluations: list[dict]) -> None:
    """How strongly the terms pull, and in which direction."""
    left, right = st.columns(2)
    with left:
        figure = figures.pull_figure(health.pulls.steps, health.pulls.ratios, SWAMPED)
        show_chart(figure, "pull", "Pull of the unlabeled terms over the labels'", HEIGHT)
    with right:
        show_chart(curves.cosine_curves(records), "cosine", "Cosine of each term with the labels' gradient", HEIGHT)


def show_teacher(health: Health, records: list[dict], evaluations: list[dict]) -> None:
    """Both networks' scores, and their batch norms layer by layer."""
    if health.lag is None:
        st.caption("There are no two networks to compare.")
        return
    left, right = st.columns(2)
    with left:
        figure = curves.mean_iou_curves(curves.by_network(evaluations, "val"))
        show_chart(figure, "scores", "mIoU of teacher and student", HEIGHT)
    with right:
        figure = figures.layers_figure(health.lag.layers, STALE)
        show_chart(figure, "layers", "Distance of the batch norms, layer by layer", HEIGHT)


def show_confidence(health: Health, records: list[dict], evaluations: list[dict]) -> None:
    """The histogram of what the loss compares."""
    if health.confidences is None:
        st.caption("There is no network to look at yet.")
        return
    show_chart(confidence_figure(health.confidences, SURE), "sure", "Histogram of the highest probability", HEIGHT)


def show_lists(health: Health, records: list[dict], evaluations: list[dict]) -> None:
    """The copies beside their originals; without any the two files that are most alike."""
    lists, found = health.lists, health.lists.found
    shown = found[:SHOWN_COPIES] or ((lists.nearest,) if lists.nearest else ())
    st.caption(
        f"{lists.trained[0]:,} of {lists.trained[1]:,} training pictures against {lists.evaluated[0]:,} of "
        f"{lists.evaluated[1]:,} of val and test, by name and by content."
        + ("" if lists.nearest else " Drawn scenes are compared by their numbers.")
        + (" The two that are most alike:" if shown and not found else "")
    )
    if not shown:
        return
    panels = [panel for overlap in shown for panel in side_by_side(health, overlap)]
    show_chart(
        panels_figure(panels, 2, 520), "copies", "Training pictures beside evaluated ones", 130 * len(shown) + 40
    )
    st.dataframe(
        [
            {
                "trained on": short_place(item.trained[2]),
                "scored on": short_place(item.evaluated[2]),
                "likeness": item.likeness,
            }
            for item in found or shown
        ],
        hide_index=True,
        alt="Training pictures and the evaluated ones that they are like",
        column_config={"likeness": st.column_config.NumberColumn(format="%.4f", help="Correlation of small versions.")},
    )


def short_place(place: str) -> str:
    """The end of a picture's path: its folder and file."""
    return plain_name("/".join(PurePath(place).parts[-2:]))


def side_by_side(health: Health, overlap: Overlap) -> list[Panel]:
    """The training picture and the evaluated one."""
    sides = ((overlap.trained, "trained on"), (overlap.evaluated, "scored on"))
    return [
        Panel(f"{words}: {name} {index + 1}", health.source.pictures(name).input(index))
        for (name, index, _), words in sides
    ]


def show_boxes(health: Health, records: list[dict], evaluations: list[dict]) -> None:
    """One draw over a mask, and how many classes the boxes of many draws hold."""
    found = health.boxes
    if found is None:
        st.caption("No loss of this run looks inside boxes.")
        return
    left, right = st.columns(2)
    # Enlarged before the outlines are drawn: one pixel of a small mask would hide small boxes.
    enlarged = np.ones((max(1, WIDTH // found.label.shape[1]),) * 2, dtype=np.int64)
    classes, places = np.kron(found.label, enlarged), np.kron(found.owner, enlarged)
    label = class_pixels(np.where(classes == 255, -1, classes), np.asarray(health.source.palette))
    owner = owner_picture(label, places, int(places.max()) + 1)
    with left:
        panels = [Panel("mask, as training crops it", label), Panel("which box each pixel shows", owner)]
        show_chart(panels_figure(panels, 1, WIDTH), "mask", "A mask and the boxes over it", HEIGHT + 60)
    with right:
        show_chart(figures.classes_figure(found.classes), "classes", "Number of classes in a box", HEIGHT)
        half = np.median(found.unlike) if len(found.unlike) else 0.0
        st.caption(
            f"In the median box {half:.0%} of the pixel pairs join two classes. Gray in the mask is ignored: training "
            "cropped beyond the picture, or nobody labeled it."
        )


PICTURES = (show_terms, show_teacher, show_confidence, show_lists, show_boxes)
