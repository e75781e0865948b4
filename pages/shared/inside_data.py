"""What the page on the methods beside SCL shows, computed once for each pair and checkpoint."""

import numpy as np
import streamlit as st

from pages.shared import long_work, method_data, method_networks, store
from pages.shared.method_data import Place
from pages.shared.method_networks import LOCK, OWN, Networks
from scl_core.data.batch import Batch
from scl_core.errors import UserError
from scl_core.microscope import insides
from scl_core.microscope.replay import batch_of_step

LOOKS = {
    "cps": insides.cross_pseudo_inside,
    "pcr": insides.prototype_inside,
    "rc2l": insides.region_inside,
    "rc2l_pp": insides.region_inside,
    "fixmatch": insides.strong_views_inside,
    "unimatch": insides.strong_views_inside,
}
"""What the page can take apart, by the method's name."""


def look(place: Place, networks: Networks):
    """The pair at `place` taken apart by the run's method as these networks have it. Raises `UserError`."""
    if networks.checkpoint == OWN:
        raise UserError("a network of one's own has no method to look into: choose a checkpoint of the run")
    return _look(place, networks, str(method_networks.step_of(place.run, networks)), method_data.stamp(place.run))


def agreement_over_training(place: Place, num_classes: int) -> dict | None:
    """CPS: for each checkpoint that the run keeps, how far its two networks agree on each class of this pair.

    None where the visitor cancelled it.
    """
    steps, stamp = store.run_folder(place.run).checkpoints(), method_data.stamp(place.run)
    found = long_work.each(
        "agreement", (place, tuple(steps), stamp), "Looking through the checkpoints", steps,
        lambda step: _agreement(place, Networks(str(step)), num_classes, stamp),
    )  # fmt: skip
    return None if found is None else dict(zip(steps, found, strict=True))


@st.cache_data(max_entries=64, show_spinner=False)
def _agreement(place: Place, networks: Networks, num_classes: int, stamp: int) -> np.ndarray:
    method = method_networks.load(place.run, networks).method
    batch = _pair(place, method.num_strong)
    with LOCK:
        return insides.cross_pseudo_agreement(method, batch, place.draws, num_classes)


@st.cache_resource(max_entries=12, show_spinner="Taking the step apart …")
def _look(place: Place, networks: Networks, step: str, stamp: int):
    method = method_networks.load(place.run, networks).method
    batch = _pair(place, method.num_strong)
    with LOCK:
        return LOOKS[method.config.name](method, batch, place.draws)


def _pair(place: Place, num_strong: int) -> Batch:
    """The pair as a batch of its own, with as many strong views as the method asks for."""
    if num_strong == 1:
        return method_data.batch_of_one(place)
    if place.chosen:
        raise UserError(
            f"this method needs {num_strong} strong views, and chosen pictures have one: choose those of the step"
        )
    config, source = method_data.config_of(place.run), method_data.source_of(place.run)
    return insides.one_pair(batch_of_step(config, source, num_strong, place.step, place.seed), place.pair)
