"""Two checkpoints under the microscope: the structured loss of both on one picture, one mix and the same boxes."""

import numpy as np
import pandas as pd
import streamlit as st

from pages.shared import chosen_pictures, method_data, method_networks
from pages.shared import prediction_data as data
from pages.shared.chosen_pictures import Chosen
from pages.shared.messages import say_why_not
from pages.shared.method_data import Place
from pages.shared.method_networks import Networks
from pages.shared.method_views import show_picture
from pages.shared.prediction_data import Side
from pages.shared.similarity_views import brightest, heat_overlay
from scl_core.errors import UserError
from scl_core.microscope.dissect import exact_parts
from scl_core.probe import Probe

SEED, STEP, PAIR = 0, 1, 0
"""Whose draw of the boxes is taken, the same for both."""


def show(sides: list[Side], picture: Chosen) -> None:
    """Loss by box of A and B, and which pixels carry it; computed once it is asked for."""
    st.subheader("The structured loss of both, on the same boxes")
    if not st.toggle("Mix this picture and compare", key="both_boxes", bind="query-params"):
        return
    partner = chosen_pictures.partner(data.source_of(sides[0].run), picture)
    if partner is None:
        say_why_not("This run's data have no other picture to mix with this one.")
        return
    try:
        probes = probes_of(sides, (picture, partner))
    except (UserError, OSError) as error:
        say_why_not(error)
        return
    show_table(probes)
    show_shares(probes)
    st.caption(
        f"{picture[1]} with boxes of {partner[1]}, drawn as A's method draws them at step {STEP} under seed {SEED}; "
        "each checkpoint's own student and teacher, in eval mode. Not a training step."
    )


def probes_of(sides: list[Side], pictures: tuple[Chosen, Chosen]) -> list[Probe]:
    """Both checkpoints on the pair, with the boxes that A's settings draw. Raises `UserError` where they differ."""
    places = [Place(side.run, SEED, STEP, PAIR, pictures) for side in sides]
    settings, _ = method_data.boxes_of_step(places[0], method_data.config_of(sides[0].run))
    found = [
        method_networks.probe(place, Networks(str(side.step)), settings)
        for place, side in zip(places, sides, strict=True)
    ]
    if found[0].owner.shape != found[1].owner.shape:
        raise UserError("A and B were trained on crops of different sizes, so they have no boxes in common")
    return found


def show_table(probes: list[Probe]) -> None:
    """One row for each box of the loss, the largest difference first, and the sums."""
    rows = [
        {"box": a.number, "size": f"{a.height} × {a.width}", "pixels": a.visible, "A": a.loss, "B": b.loss,
         "B − A": b.loss - a.loss}
        for a, b in zip(*(probe.report for probe in probes), strict=True) if a.in_loss and a.visible
    ]  # fmt: skip
    left, right = st.columns([1, 3], gap="large")
    with left:
        st.metric("Structured loss of A", f"{probes[0].structured:.5f}")
        st.metric("Structured loss of B", f"{probes[1].structured:.5f}")
    if not rows:
        st.info("No loss box shows a pixel: choose another picture.")
        return
    frame = pd.DataFrame(rows).sort_values("B − A", key=abs, ascending=False)
    formats = {name: st.column_config.NumberColumn(format="%.5f") for name in ("A", "B")}
    formats["B − A"] = st.column_config.NumberColumn(format="%+.5f")
    right.dataframe(frame, hide_index=True, column_config=formats, key="table_both", alt="Loss of both, box by box")


def show_shares(probes: list[Probe]) -> None:
    """Which pixels carry the loss, on one scale for both."""
    shares = [exact_parts(probe).shares for probe in probes]
    top = brightest(np.stack(shares))
    columns = st.columns(3)
    with columns[0]:
        st.markdown("**The mix**, the same for both")
        show_picture(probes[0].mixed, "The mixed picture")
    for column, letter, share in zip(columns[1:], "AB", shares, strict=True):
        with column:
            st.markdown(f"**Loss per pixel, {letter}**, dark is none")
            show_picture(heat_overlay(share, top)[..., :3], f"Loss per pixel of {letter}")
