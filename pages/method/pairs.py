"""Pairs: what drawing some of them keeps, drops and costs against every pair; and the classes that labels allow."""

import streamlit as st

from pages.shared import method_data, method_networks, method_pickers, method_views
from pages.shared.label_views import show_relaxation
from pages.shared.method_pickers import Selection
from pages.shared.method_views import show_chart
from scl_core.figures import pairs as figures
from scl_core.microscope.pair_study import Spread, kept_pairs
from scl_core.probe import Probe

GRID = (30, 100, 500, 2000, 9000)


def show_kept(probe: Probe, selection: Selection, number: int, max_pairs: int) -> None:
    """The box with the pairs that the draw of this step keeps, and as many that it drops."""
    place, box = selection.place, probe.report[number]
    found = kept_pairs(probe, number, max_pairs, place.draws.generators((place.pair,), "pairs")[0])
    inside = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
    st.markdown(f"**Box {number}: kept** (solid) **and dropped** (dotted), at most {figures.MOST_LINES} of each")
    figure = figures.pairs_figure(probe.mixed[inside], found.kept, found.dropped, box.top, box.left)
    height = min(360, 60 + 480 * box.height // box.width)
    show_chart(figure, "pairs", f"Pairs of pixels of box {number}", height)
    st.caption(
        f"{found.distinct:,} different pairs of {found.every:,} are compared ({found.distinct / found.every:.2%}); "
        f"{found.every - found.distinct:,} are dropped. Drawn with replacement, as the step would draw them."
    )


def show_study(found: Spread) -> None:
    """The value of many draws beside the exact one."""
    show_chart(figures.spread_figure(found.values, found.exact, found.max_pairs), "spread", "Losses of 100 draws", 300)
    spread = found.values.std() / found.exact if found.exact else 0.0
    columns = st.columns([5, 5, 7])
    columns[0].metric("Exact", f"{found.exact:.5f}", help="Every pair, one number and no draw.")
    columns[1].metric(
        "Spread", f"± {spread:.1%}", help="Standard deviation of a draw over 100 draws, of the exact loss."
    )
    costs = f"{1000 * found.seconds:.1f} / {1000 * found.seconds_exact:.1f} ms"
    columns[2].metric(
        "Drawn / exact",
        costs,
        help="Its cost, forward and backward of the loss alone, measured here: the fastest of several.",
    )


def show_direction(selection: Selection, found: Spread, parameters: bool) -> None:
    """Where the gradient of drawn pairs points, over pixels and over parameters, and what follows."""
    st.subheader("Does the gradient point the right way?")
    cosines = method_networks.pair_directions(selection.place, selection.networks, GRID, parameters)
    if cosines is None:
        return
    pixels, weights = cosines
    left, right = st.columns([3, 2], gap="large")
    with left:
        show_chart(
            figures.cosine_figure(GRID, pixels, weights, found.max_pairs), "cosines", "Cosines of gradients", 300
        )
    with right:
        st.metric("Cosine over the pixels", f"{found.over_pixels.mean():.3f}", help="Mean over 20 draws.")
        if parameters:
            help = "Mean over 4 draws, each a backward pass through the student."
            st.metric("Cosine over the parameters", f"{found.over_parameters.mean():.3f}", help=help)
        st.write(
            "A draw touches few pixels, so pixel by pixel its gradient looks little like the exact one. All pixels "
            "share the network's weights, and there the noise averages out: that is the direction training takes."
        )
        st.write(
            "So **do not expect a better network from every pair** alone. Expect a number that is not a draw, and "
            "maps of the gradient that are worth looking at: those need the exact form."
        )


st.title("Pairs")
st.write(
    "A box of P pixels has P² pairs. The paper draws some of them (eq. 9); the exact loss compares all, at a cost that "
    "grows with P alone."
)
selection = method_pickers.pick_selection()
probe = method_pickers.probe_or_stop(selection)
method_views.say_which_networks(selection)
method_views.say_which_form(selection, probe)
method_views.say_which_step(selection)
ranked = method_views.ranked_or_stop(probe)
left, middle, right = st.columns([1, 3, 2], gap="medium", vertical_alignment="bottom")
with left:
    number = method_pickers.pick_ranked_box(ranked)
with middle:
    max_pairs = method_pickers.pick_max_pairs(probe.max_pairs)
with right:
    parameters = st.toggle("Also over the network's parameters", True, key="parameters", bind="query-params")
left, right = st.columns(2, gap="large")
with left:
    show_kept(probe, selection, number, max_pairs)
with right:
    found = method_networks.pair_study(selection.place, selection.networks, max_pairs, parameters)
    if found is not None:
        show_study(found)
if found is not None:
    show_direction(selection, found, parameters)
show_relaxation(method_data.step_batch(selection.place), selection.config, *method_data.classes(selection.place.run))
