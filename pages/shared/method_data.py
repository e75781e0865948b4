"""The pictures and boxes that the Method pages show, made by the functions that training uses, in small caches.

Whatever depends on a run is kept under its folder and the time of its config, never under its name alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from pages.shared import chosen_pictures, store
from pages.shared.chosen_pictures import Chosen
from scl_core.config import RunConfig, load_config
from scl_core.cutmix import box_owner, boxes_of, cutmix
from scl_core.data.batch import Batch, Views
from scl_core.data.images import denormalise
from scl_core.data.loaders import crop_size
from scl_core.data.sources import DataSource, open_data
from scl_core.errors import UserError
from scl_core.methods import StepDraws
from scl_core.methods.scl import SclConfig
from scl_core.methods.step_boxes import mixes_pictures, step_boxes
from scl_core.microscope.dissect import box_statistics
from scl_core.microscope.replay import batch_of_step
from scl_core.probe import BoxReport, describe_boxes
from scl_core.restore import run_config
from scl_core.seeding import generator_for


@dataclass(frozen=True)
class Place:
    """Which pair: `run` None for drawn scenes; seed, step (from 1) and pair of its batch (from 0), as in training.

    `chosen` names two pictures instead, each of a list or the visitor's own; the rest still draws the boxes.
    """

    run: str | None
    seed: int
    step: int
    pair: int
    chosen: tuple[Chosen, Chosen] | None = None

    @property
    def draws(self) -> StepDraws:
        return StepDraws(self.seed, self.step)


@dataclass(frozen=True)
class BoxSettings:
    """How boxes are drawn and compared, in the words of `SclConfig`."""

    num_boxes: int
    num_loss_boxes: int
    total_area: float
    area_mode: str
    max_pairs: int | None = None
    box_reduction: str = "mean"
    smallest_box_area: float | None = None
    box_sides: str = "log"


@dataclass(frozen=True)
class Mix:
    """A pair after some of its boxes were pasted: uint8 [H, W, 3], owner [H, W] and the boxes in numbers.

    `shown` is the owner map with -1 on padding as well: the pixels that a loss compares.
    """

    picture: np.ndarray
    owner: np.ndarray
    shown: np.ndarray
    report: list[BoxReport]


@dataclass(frozen=True)
class Pair:
    """Two pictures and the boxes drawn for them, [N, 4], with the settings they were drawn with."""

    view_a: Views
    view_b: Views
    boxes: Tensor
    settings: BoxSettings

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as the teacher sees them, uint8 [H, W, 3]."""
        return denormalise(self.view_a.weak[0]), denormalise(self.view_b.weak[0])

    def pasted(self, count: int) -> Mix:
        """The student's mix after the first `count` boxes; in the loss are the last of all boxes, pasted or not."""
        boxes = self.boxes[:count]
        owner = box_owner(boxes, *self.view_a.weak.shape[-2:])
        picture = cutmix(self.view_a.strong[0][0], self.view_b.strong[0][0], owner)
        valid = cutmix(self.view_a.valid[0], self.view_b.valid[0], owner)
        in_loss = max(0, count - (len(self.boxes) - self.settings.num_loss_boxes))
        report = describe_boxes(boxes, owner, in_loss, self.settings.max_pairs, valid)
        return Mix(denormalise(picture), owner.numpy(), torch.where(valid, owner, -1).numpy(), report)


def config_of(run: str | None) -> RunConfig:
    """The settings of a run, or those of a run on drawn scenes. Raises `UserError` for a run that is not there."""
    if run is None:
        return _default_config()
    folder = store.run_folder(run).path
    return _run_config(str(folder), (Path(folder) / "config.yaml").stat().st_mtime_ns)


def method_settings(config: RunConfig):
    """The run's own CutMix settings, or the defaults where its method mixes no unlabeled pictures."""
    own = config.method
    return own if hasattr(own, "box_reduction") and mixes_pictures(own) else SclConfig()


def boxes_of_step(place: Place, config: RunConfig) -> tuple[BoxSettings, bool]:
    """The settings with which training drew the boxes of this pair at this step, and whether it mixed it at all."""
    found = step_boxes(method_settings(config), place.draws, place.pair)
    own = found.settings
    in_loss = own.num_boxes if own.num_loss_boxes is None else own.num_loss_boxes
    of_boxes = (own.num_boxes, in_loss, own.total_area, own.area_mode, own.max_pairs, own.box_reduction)
    return BoxSettings(
        *of_boxes, getattr(own, "smallest_box_area", None), getattr(own, "box_sides", "log")
    ), found.mixed


def draw_pair(place: Place, settings: BoxSettings) -> Pair:
    """The pair at `place` and its boxes."""
    view_a, view_b = views(place)
    height, width = view_a.weak.shape[-2:]
    draw = generator_for(place.seed, place.step, place.pair, "boxes")
    boxes = boxes_of(settings, height, width, draw)
    return Pair(view_a, view_b, boxes, settings)


def views(place: Place) -> tuple[Views, Views]:
    """The two pictures of the pair, each as its own `Views` of one picture."""
    config = config_of(place.run)
    if place.chosen:
        source = source_of(place.run)
        size = crop_size(config.augment, config.data, source.pictures("labeled"))
        return tuple(chosen_pictures.views(source, picture, size) for picture in place.chosen)
    batch = step_batch(place)
    return tuple(_only(side, place.pair) for side in (batch.unlabeled_a, batch.unlabeled_b))


def step_batch(place: Place) -> Batch:
    """The whole batch of the step, with one strong view; it is shared: change nothing in it."""
    return _batch(place.run, place.seed, place.step, stamp(place.run))


def batch_of_one(place: Place) -> Batch:
    """The pair as a batch of its own, in its place of the effective batch."""
    nothing = torch.zeros(0)
    return Batch(nothing, nothing, (), *views(place), (place.pair,), ())


def classes(run: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes and their colours, uint8 [C, 3]."""
    source = _source(run, stamp(run))
    return source.class_names, np.asarray(source.palette, dtype=np.uint8)


def source_of(run: str | None) -> DataSource:
    """The run's data, opened; it is shared."""
    return _source(run, stamp(run))


@st.cache_data(max_entries=16, show_spinner="Drawing boxes …")
def many_draws(height: int, width: int, settings: BoxSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Covered shares [draws] and visible pixels [draws, N] of 200 draws."""
    return box_statistics(height, width, settings, seed)


def stamp(run: str | None) -> int:
    """When the run's settings were written."""
    return 0 if run is None else (Path(store.run_folder(run).path) / "config.yaml").stat().st_mtime_ns


@st.cache_data(max_entries=1, show_spinner=False)
def _default_config() -> RunConfig:
    return load_config((), {})


@st.cache_data(max_entries=16, show_spinner=False)
def _run_config(folder: str, stamp: int) -> RunConfig:
    return run_config(folder)


@st.cache_resource(max_entries=3, show_spinner="Opening the data …")
def _source(run: str | None, stamp: int) -> DataSource:
    return open_data(config_of(run).data)


@st.cache_resource(max_entries=4, show_spinner="Preparing the pictures …")
def _batch(run: str | None, seed: int, step: int, stamp: int) -> Batch:
    return batch_of_step(config_of(run), _source(run, stamp), 1, step, seed)


def _only(side: Views, index: int) -> Views:
    """The views of one picture of the batch."""
    if index >= len(side.names):
        raise UserError(f"pair {index} does not exist: this batch has {len(side.names)} pairs, counted from 0")
    keep = slice(index, index + 1)
    return Views(side.weak[keep], tuple(view[keep] for view in side.strong), side.valid[keep], side.names[keep])
