"""What the page on the methods beside SCL shows, computed once for each pair and checkpoint."""

import copy

import numpy as np
import streamlit as st

from pages.shared import long_work, method_data, method_networks, store
from pages.shared.method_data import Place
from pages.shared.method_networks import LOCK, OWN, Networks
from pages.shared.method_pickers import Selection
from scl_core.data.batch import Batch
from scl_core.errors import UserError
from scl_core.methods import Method
from scl_core.methods.cps import Cps
from scl_core.microscope import insides
from scl_core.microscope.insides import CrossPseudoInside
from scl_core.microscope.replay import batch_of_step
from scl_core.models.folded import folded

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


def agreement_over_training(inside: CrossPseudoInside, selection: Selection, num_classes: int) -> dict | None:
    """CPS: for each checkpoint that the run keeps, how far its two networks agree on each class of this pair.

    `inside` is what the chosen networks make of the pair: theirs is read off it. None where the visitor cancelled it.
    """
    place, now = selection.place, method_networks.step_of(selection.place.run, selection.networks)
    steps, stamp = store.run_folder(place.run).checkpoints(), method_data.stamp(place.run)
    others = [step for step in steps if step != now]
    found = long_work.each(
        "agreement", (place, tuple(others), stamp), "Looking through the checkpoints", others,
        lambda step: _agreement(place, Networks(str(step)), num_classes, stamp),
    ) if others else []  # fmt: skip
    if found is None:
        return None
    labels = (answer[inside.valid] for answer in (inside.first, inside.second))
    known = {now: insides.agreement_by_class(*labels, num_classes)} if now in steps else {}
    return known | dict(zip(others, found, strict=True))


def _for_looking(place: Place, networks: Networks) -> Method:
    """The method of a checkpoint as it was loaded, CPS with folded copies of its two networks, which answer faster."""
    loaded = method_networks.load(place.run, networks)
    if not isinstance(loaded.method, Cps):
        return loaded.method
    return _folded(place.run, networks, *method_networks.key_of(place.run, networks))


@st.cache_resource(max_entries=4, show_spinner=False)  # as many as a run keeps, and one
def _folded(run: str, networks: Networks, folder: str, stamp: int) -> Cps:
    method = method_networks.load(run, networks).method
    copied = copy.copy(method)
    copied._modules = method._modules | {"student": folded(method.student), "second": folded(method.second)}
    return copied


@st.cache_data(max_entries=64, show_spinner=False)
def _agreement(place: Place, networks: Networks, num_classes: int, stamp: int) -> np.ndarray:
    method = _for_looking(place, networks)
    batch = _pair(place, method.num_strong)
    with LOCK:
        return insides.cross_pseudo_agreement(method, batch, place.draws, num_classes)


@st.cache_resource(max_entries=12, show_spinner="Taking the step apart …")
def _look(place: Place, networks: Networks, step: str, stamp: int):
    method = _for_looking(place, networks)
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
