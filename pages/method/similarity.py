"""The structured loss under the microscope: box by box and pixel pair by pixel pair, on a real step."""

import numpy as np
import streamlit as st

from pages.shared import method_data, method_pickers, method_views
from scl_core.errors import UserError
from scl_core.figures import similarity as figures
from scl_core.probe import Probe, similarity_matrices, similarity_rows

ORDERS = {"class": "by teacher class", "raster": "row by row"}


def show_matrices(probe: Probe, number: int, class_names: tuple[str, ...]) -> None:
    """Every pixel of the box with every pixel, at a stride that is said."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader(f"Box {number}: every pixel with every pixel")
        order = st.segmented_control(
            "Order of the pixels", list(ORDERS), default="class", required=True, key="order", bind="query-params",
            format_func=ORDERS.get, label_visibility="collapsed",
        )  # fmt: skip
    found = similarity_matrices(probe, number, order=order)
    box, mean = probe.report[number], np.square(found.student - found.teacher).mean()
    st.caption(
        f"{len(found.places)} of {box.visible:,} pixels, every {method_views.ordinal(found.stride)} row and column "
        f"(stride {found.stride}). Mean of the squared difference over the pairs shown {mean:.5f}, "
        f"over the {box.pairs:,} pairs of the loss {box.loss:.5f}."
    )
    blocks = method_views.class_blocks(found, class_names) if order == "class" else ()
    figure = figures.matrix_figure(found.teacher, found.student, blocks)
    method_views.show_chart(figure, "matrices", f"Similarity matrices of box {number}", 385)


def show_row(probe: Probe, number: int, first: tuple[int, int], second: tuple[int, int] | None) -> None:
    """One line of those matrices laid over the box, pixel for pixel, and the numbers of one pair."""
    box = probe.report[number]
    teacher, student = similarity_rows(probe, number, *first)
    st.subheader(f"Pixel 1, row {first[0]}, column {first[1]}: how alike is the rest of box {number}?")
    if second is None:
        st.caption(
            "Shift-click another pixel of this box, or Shift-Enter on the keyboard, for the numbers of one pair."
        )
    else:
        a_t, a_s = (float(values[second[0] - box.top, second[1] - box.left]) for values in (teacher, student))
        method_views.show_pair_numbers(a_t, a_s, box, second)
    figure = figures.row_figure(teacher, student, box.top, box.left, first, second)
    height = 70 + round(min(290 * box.height / box.width, 380))
    method_views.show_chart(figure, "row", f"Similarity of one pixel to the pixels of box {number}", max(height, 190))


st.title("Similarity")
st.write(
    "The structured loss asks of every two pixels of a box: are they as alike for the student, who sees the mix, as "
    "for the teacher, who sees the whole pictures? Click a pixel to look at its answers."
)
place, config, checkpoint = method_pickers.pick_place_and_networks()
try:
    probe = method_data.probe(place, checkpoint)
    class_names, palette = method_data.classes(place.run)
except (UserError, OSError) as error:
    method_pickers.stop_with(error)
method_views.say_which_networks(place, config)
method_views.show_losses(probe)
ranked = method_views.ranked_boxes(probe)
if not ranked or not ranked[0].visible:
    st.info("No loss box shows a pixel. Choose another step or pair, or a run with more boxes.")
    st.stop()
left, right = st.columns([3, 2], gap="medium")
with right:
    number = method_pickers.pick_ranked_box(ranked)
    method_views.show_table(probe, ranked)
shown = probe.shown(number).numpy()
first = method_pickers.pixel_in_address("pixel", shown) or method_views.heaviest_pixel(probe, shown)
second = method_pickers.pixel_in_address("second", shown)
with left:
    method_views.show_viewer(probe, number, palette, first, second)
show_matrices(probe, number, class_names)
show_row(probe, number, first, second)
