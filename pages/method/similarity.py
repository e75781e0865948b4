"""The structured loss under the microscope: box by box and pixel pair by pixel pair, on a real step.

Each part is a fragment with a name, so that a click runs again only what it changes (`method_pixels.OF_PIXEL`).
"""

import streamlit as st

from pages.shared import method_data, method_pickers, method_pixels, method_views
from pages.shared import similarity_views as views
from pages.shared.words import term


@st.fragment(key="box")
def pick_box() -> None:
    """The box that is looked at."""
    method_pickers.pick_ranked_box(ranked, on_change=lambda: st.rerun(method_pixels.OF_BOX))


@st.fragment(key="viewer")
def show_picture() -> None:
    """The mix, in which pixels are clicked."""
    views.show_picture(seen, palette, *chosen())


@st.fragment(key="matrices")
def show_matrices() -> None:
    """Every pixel of the box with every pixel."""
    number, first, second = chosen()
    views.show_matrices(seen, number, class_names, first, second)


@st.fragment(key="maps")
def show_pixels() -> None:
    """What the chosen pixels are alike to."""
    chosen_now = chosen()
    views.show_pair(seen.probe, *chosen_now)
    views.show_maps(seen.probe, *chosen_now)


@st.fragment(key="classes")
def show_classes() -> None:
    """The classes and pixels that carry the loss."""
    views.show_parts(seen, chosen()[0], class_names)


def chosen() -> tuple:
    """The box, its first pixel, the one that carries most where none is chosen, and the second or None."""
    number = st.session_state["box"]
    shown = seen.probe.shown(number).numpy()
    first = method_pixels.chosen("pixel", shown) or views.heaviest_pixel(seen.parts, shown)
    return number, first, method_pixels.chosen("second", shown)


st.title("Similarity")
st.write(
    f"The {term('structured consistency loss', 'structured loss')} asks of every two pixels of a box: are they as "
    "alike for the student, who sees the mix, as for the teacher, who sees the whole pictures? Click a pixel to look "
    "at its answers."
)
selection = method_pickers.pick_selection()
seen = method_pickers.seen_or_stop(selection)
method_pixels.keep_in_session()
class_names, palette = method_data.classes(selection.place.run)
method_views.say_which_networks(selection)
method_views.say_which_form(selection, seen.probe)
is_training_step = method_views.say_which_step(selection)
views.show_losses(seen)
ranked = method_views.ranked_or_stop(seen.probe)
left, right = st.columns([5, 4], gap="medium")
with right:
    pick_box()
    views.show_table(seen, ranked)
with left:
    show_picture()
    views.send_picture(seen, palette)
show_matrices()
show_pixels()
show_classes()
if is_training_step:
    method_views.show_training_step(selection)
