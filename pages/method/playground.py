"""The loss as a formula with this step's numbers in it: turn its knobs, and watch a run's checkpoints go by."""

import streamlit as st

from pages.shared import method_data, method_pickers, method_views
from pages.shared import playground_views as views
from pages.shared.method_networks import OWN
from pages.shared.words import term

st.title("Playground")
st.write(
    f"The {term('total loss', 'loss')} of a step is a weighted sum. "
    "Here are its numbers, and knobs for what a setting would change."
)
selection = method_pickers.pick_selection()
probe = method_pickers.probe_or_stop(selection)
method_views.say_which_networks(selection)
method_views.say_which_form(selection, probe)
method_views.say_which_step(selection)
if selection.place.run is None or selection.networks.checkpoint == OWN or selection.place.chosen:
    views.show_pair_formula(probe)
else:
    views.show_formula(selection, views.pick_settings(selection.config.method))
views.show_softness(probe)
if selection.place.run is not None and selection.networks.checkpoint != OWN:
    views.show_checkpoints(selection, method_data.classes(selection.place.run)[1])
