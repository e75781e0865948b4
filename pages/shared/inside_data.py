"""A run's whole method and the batch of a step, kept in small caches for the page on the methods beside SCL."""

from dataclasses import replace
from pathlib import Path

import streamlit as st
import torch

from pages.shared import method_data, store
from pages.shared.method_data import NETWORK_LOCK, Place
from scl_core import insides
from scl_core.checkpoint import find_checkpoint
from scl_core.data.batch import Batch
from scl_core.data.loaders import training_loader
from scl_core.distributed import World
from scl_core.methods import Method, StepDraws
from scl_core.restore import restore

LOOKS = {
    "cps": insides.cross_pseudo_inside,
    "pcr": insides.prototype_inside,
    "rc2l": insides.region_inside,
    "rc2l_pp": insides.region_inside,
    "fixmatch": insides.strong_views_inside,
    "unimatch": insides.strong_views_inside,
}
"""What the page can take apart, by the method's name."""


def look(place: Place, checkpoint: str):
    """The pair at `place` taken apart by the run's method as that checkpoint has it. Raises `UserError`."""
    run = store.run_folder(place.run).path
    folder = Path(find_checkpoint(run, int(checkpoint) if checkpoint.isdigit() else checkpoint))
    return _look(place, str(folder), folder.stat().st_mtime_ns)


def agreement_over_training(place: Place, num_classes: int) -> dict:
    """CPS: for each checkpoint that the run keeps, how far its two networks agree on each class of this pair."""
    found = {step: look(place, str(step)) for step in store.run_folder(place.run).checkpoints()}
    return {
        step: insides.agreement_by_class(inside.first[inside.valid], inside.second[inside.valid], num_classes)
        for step, inside in found.items()
    }


@st.cache_resource(max_entries=12, show_spinner="Taking the step apart …")
def _look(place: Place, folder: str, stamp: int):
    method = _method(place.run, folder, stamp)
    batch = insides.one_pair(_batch(place, method.num_strong), place.pair)
    with NETWORK_LOCK:
        return LOOKS[method.config.name](method, batch, StepDraws(place.seed, place.step))


@st.cache_resource(max_entries=4, show_spinner="Loading the networks …")
def _method(run: str, folder: str, stamp: int) -> Method:
    return restore(store.run_folder(run).path, folder).method.float()


@st.cache_resource(max_entries=4, show_spinner="Preparing the pictures …")
def _batch(place: Place, num_strong: int) -> Batch:
    """The whole batch of the step, as the training loader makes it."""
    config = method_data.config_of(place.run)
    train = replace(config.train, workers=0, steps=max(config.train.steps, place.step))
    world = World(rank=0, size=1, device=torch.device("cpu"))
    source = _source(place.run)
    shared = (place.seed, world, place.step, True, num_strong)
    return next(iter(training_loader(source, config.data, config.augment, train, *shared)))


@st.cache_resource(max_entries=2, show_spinner="Opening the data …")
def _source(run: str):
    """The run's data set."""
    return method_data.config_of(run).data.open()
