"""The methods beside SCL from inside: what a checkpoint of the chosen run does with one pair of pictures."""

import streamlit as st

from pages.shared import inside_data, method_data, method_pickers
from pages.shared.inside_views import show_inside
from pages.shared.messages import stop_with
from pages.shared.words import plain_name
from scl_core.errors import UserError

st.title("Other methods")
st.write("The insides of CPS, PCR, RC2L, FixMatch and UniMatch, by the functions that their training calls.")
selection = method_pickers.pick_selection()
place, settings = selection.place, selection.config.method
if place.run is None or settings.name not in inside_data.LOOKS:
    said = "Pick a run" if place.run is None else f"{plain_name(place.run)} is of method {settings.name}; pick a run"
    st.info(f"{said} of one of these methods: {', '.join(inside_data.LOOKS)}. SCL has the pages above.")
    st.stop()
try:
    inside = inside_data.look(place, selection.networks)
    class_names, palette = method_data.classes(place.run)
except (UserError, OSError) as error:
    stop_with(error)
show_inside(inside, palette, class_names, selection)
