"""What the Method pages show, computed by the functions that training uses and kept in small caches.

Whatever depends on a run is kept under its folder and the time of its config or checkpoint, never under its name alone.
"""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st
import torch
from torch import nn

from pages.shared import store
from scl_core.checkpoint import find_checkpoint
from scl_core.config import RunConfig, load_config
from scl_core.cutmix import box_owner, cutmix, sample_boxes
from scl_core.data.batch import Views
from scl_core.data.images import denormalise
from scl_core.data.loaders import training_loader
from scl_core.data.sources import DataSource, open_data
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.methods.scl import SclConfig
from scl_core.probe import BoxReport, Probe, describe_boxes, make_probe
from scl_core.restore import build_method, restore, run_config
from scl_core.seeding import generator_for

NETWORK_LOCK = threading.Lock()
"""One network at a time: the cached networks are shared by all sessions."""


@dataclass(frozen=True)
class Place:
    """Which pair: `run` None for drawn scenes; seed, step (from 1) and pair of its batch (from 0), as in training."""

    run: str | None
    seed: int
    step: int
    pair: int


@dataclass(frozen=True)
class BoxSettings:
    """How boxes are drawn, in the words of `SclConfig`."""

    num_boxes: int
    num_loss_boxes: int
    total_area: float
    area_mode: str


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
    boxes: torch.Tensor
    settings: BoxSettings

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as the teacher sees them, uint8 [H, W, 3]."""
        return denormalise(self.view_a.weak[0]), denormalise(self.view_b.weak[0])

    @property
    def names(self) -> tuple[str, str]:
        return self.view_a.names[0], self.view_b.names[0]

    def pasted(self, count: int, max_pairs: int | None) -> Mix:
        """The student's mix after the first `count` boxes; in the loss are the last of all boxes, pasted or not."""
        boxes = self.boxes[:count]
        owner = box_owner(boxes, *self.view_a.weak.shape[-2:])
        picture = cutmix(self.view_a.strong[0][0], self.view_b.strong[0][0], owner)
        valid = cutmix(self.view_a.valid[0], self.view_b.valid[0], owner)
        in_loss = max(0, count - (len(self.boxes) - self.settings.num_loss_boxes))
        report = describe_boxes(boxes, owner, in_loss, max_pairs, valid)
        return Mix(denormalise(picture), owner.numpy(), torch.where(valid, owner, -1).numpy(), report)


def config_of(run: str | None) -> RunConfig:
    """The settings of a run, or those of a run on drawn scenes. Raises `UserError` for a run that is not there."""
    if run is None:
        return _default_config()
    folder = store.run_folder(run).path
    return _run_config(str(folder), (Path(folder) / "config.yaml").stat().st_mtime_ns)


def method_settings(config: RunConfig):
    """The run's own CutMix settings, or the defaults where its method mixes no pictures."""
    return config.method if hasattr(config.method, "num_boxes") else SclConfig()


def draw_pair(place: Place, settings: BoxSettings) -> Pair:
    """The pair at `place` and its boxes."""
    view_a, view_b = _views(place, _stamp(place.run))
    height, width = view_a.weak.shape[-2:]
    draw = generator_for(place.seed, place.step, place.pair, "boxes")
    boxes = sample_boxes(height, width, settings.num_boxes, settings.total_area, settings.area_mode, draw)
    return Pair(view_a, view_b, boxes, settings)


def probe(place: Place, checkpoint: str) -> Probe:
    """The pair at `place` taken apart by the networks of `checkpoint`, or by untrained ones where there is no run."""
    if place.run is None:
        return _probe(place, "untrained", 0)
    folder = Path(find_checkpoint(store.run_folder(place.run).path, _as_step(checkpoint)))
    return _probe(place, str(folder), folder.stat().st_mtime_ns)


def classes(run: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes and their colours, uint8 [C, 3]."""
    source = _source(run, _stamp(run))
    return source.class_names, np.asarray(source.palette, dtype=np.uint8)


def has_teacher(config: RunConfig) -> bool:
    """Whether the method keeps an averaged teacher beside its student."""
    return getattr(config.method, "ema_decay", None) is not None


@st.cache_data(max_entries=1, show_spinner=False)
def _default_config() -> RunConfig:
    return load_config((), {})


@st.cache_data(max_entries=16, show_spinner=False)
def _run_config(folder: str, stamp: int) -> RunConfig:
    return run_config(folder)


@st.cache_resource(max_entries=3, show_spinner="Opening the data …")
def _source(run: str | None, stamp: int) -> DataSource:
    return open_data(config_of(run).data)


@st.cache_resource(max_entries=12, show_spinner="Preparing the pictures …")
def _views(place: Place, stamp: int) -> tuple[Views, Views]:
    """The pair as the training loader makes it."""
    config = config_of(place.run)
    loader = training_loader(
        _source(place.run, stamp),
        config.data,
        config.augment,
        replace(config.train, workers=0, steps=max(config.train.steps, place.step)),
        place.seed,
        World(rank=0, size=1, device=torch.device("cpu")),
        first_step=place.step,
        needs_unlabeled=True,
        num_strong=1,
    )
    batch = next(iter(loader))
    return tuple(_only(views, place.pair) for views in (batch.unlabeled_a, batch.unlabeled_b))


@st.cache_resource(max_entries=2, show_spinner="Loading the networks …")
def _networks(run: str | None, folder: str, stamp: int) -> tuple[nn.Module, nn.Module]:
    """Student and teacher in eval mode; a method without a teacher has its student in both places."""
    if run is None:
        config = _default_config()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            method = build_method(config, len(classes(None)[0])).eval()
    else:
        method = restore(store.run_folder(run).path, folder).method
    teacher = method.teacher.model if method.teacher is not None else method.student
    return method.student.float(), teacher.float()


@st.cache_resource(max_entries=8, show_spinner="Taking the step apart …")
def _probe(place: Place, folder: str, stamp: int) -> Probe:
    view_a, view_b = _views(place, _stamp(place.run))
    student, teacher = _networks(place.run, folder, stamp)
    draws = (generator_for(place.seed, place.step, place.pair, stream) for stream in ("boxes", "pairs"))
    with NETWORK_LOCK:
        return make_probe(student, teacher, view_a, view_b, method_settings(config_of(place.run)), *draws)


def _only(views: Views, index: int) -> Views:
    """The views of one picture of the batch."""
    if index >= len(views.names):
        raise UserError(f"pair {index} does not exist: this batch has {len(views.names)} pairs, counted from 0")
    keep = slice(index, index + 1)
    return Views(views.weak[keep], tuple(view[keep] for view in views.strong), views.valid[keep], views.names[keep])


def _as_step(checkpoint: str) -> str | int:
    return int(checkpoint) if checkpoint.isdigit() else checkpoint


def _stamp(run: str | None) -> int:
    return 0 if run is None else (Path(store.run_folder(run).path) / "config.yaml").stat().st_mtime_ns
