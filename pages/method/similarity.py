"""The structured loss under the microscope: box by box and pixel pair by pixel pair, on a real step."""

import streamlit as st

from pages.shared import method_data, method_networks, method_pickers, method_pixels, method_views
from pages.shared import similarity_views as views
from pages.shared.words import term

st.title("Similarity")
st.write(
    f"The {term('structured consistency loss', 'structured loss')} asks of every two pixels of a box: are they as "
    "alike for the student, who sees the mix, as for the teacher, who sees the whole pictures? Click a pixel to look "
    "at its answers."
)
selection = method_pickers.pick_selection()
probe = method_pickers.probe_or_stop(selection)
method_pixels.keep_in_session()
class_names, palette = method_data.classes(selection.place.run)
method_views.say_which_networks(selection)
method_views.say_which_form(selection, probe)
is_training_step = method_views.say_which_step(selection)
parts = method_networks.parts(selection.place, selection.networks)
views.show_losses(probe, parts)
ranked = method_views.ranked_or_stop(probe)
left, right = st.columns([5, 4], gap="medium")
with right:
    number = method_pickers.pick_ranked_box(ranked)
    views.show_table(probe, ranked)
shown = probe.shown(number).numpy()
first = method_pixels.chosen("pixel", shown) or views.heaviest_pixel(parts, shown)
second = method_pixels.chosen("second", shown)
with left:
    views.show_viewer(probe, parts, number, palette, first, second)
views.show_matrices(probe, number, class_names, first, second)
views.show_pair(probe, number, first, second)
views.show_maps(probe, number, first, second)
views.show_parts(probe, parts, number, class_names)
if is_training_step:
    method_views.show_training_step(selection)
