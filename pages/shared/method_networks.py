"""Whose predictions the Method pages show, loaded once, and what they make of a pair. One network runs at a time."""

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import nn

from pages.shared import long_work, method_data, store
from pages.shared.method_data import BoxSettings, Place
from scl_core.checkpoint import find_checkpoint
from scl_core.config import RunConfig
from scl_core.errors import UserError
from scl_core.methods import Method
from scl_core.microscope.dissect import Exact, exact_parts
from scl_core.microscope.pair_study import Spread, directions, study
from scl_core.microscope.replay import UNTRAINED, Replay, replay_step
from scl_core.models.user_module import load_user_segmenter
from scl_core.probe import STREAMS, Probe, make_probe, whole_answers
from scl_core.progress import Tell
from scl_core.restore import build_method, restore

OWN = "own module"
LOCK = threading.Lock()
"""The cached networks are shared by all sessions."""


@dataclass(frozen=True)
class Networks:
    """`checkpoint` is "last", "best", a step, `UNTRAINED` or `OWN`; `own` the `module:callable` of the last."""

    checkpoint: str
    own: str | None = None


@dataclass
class Loaded:
    """Student and teacher in eval mode, the same one twice where there is one; `method` None for one's own network."""

    student: nn.Module
    teacher: nn.Module
    method: Method | None


@dataclass(frozen=True)
class Seen:
    """A probe with its loss over every pair taken apart; `key` names both for what is cached of them."""

    key: tuple
    probe: Probe
    parts: Exact


def seen(place: Place, networks: Networks) -> Seen:
    """Both for the boxes that the method draws. Raises as `probe` does."""
    key = (place, networks, *key_of(place.run, networks))
    return Seen(key, _probe(*key, None), _parts(*key))


def probe(place: Place, networks: Networks, settings: BoxSettings | None = None) -> Probe:
    """The pair at `place` taken apart, with the boxes that its method draws or with other `settings`.

    Raises `UserError` for a checkpoint that cannot be read and for a network that does not fit.
    """
    return _probe(place, networks, *key_of(place.run, networks), settings)


def pair_study(place: Place, networks: Networks, max_pairs: int, parameters: bool) -> Spread | None:
    """Draws of `max_pairs` pairs against every pair, also over the network's `parameters`; None where cancelled."""
    key = (place, networks, *key_of(place.run, networks), parameters, max_pairs)
    work = partial(_with_lock, study, place, networks, parameters, max_pairs)
    return long_work.run("pair_study", key, "Drawing pairs many times", work, most=64)


def pair_directions(place: Place, networks: Networks, many: tuple[int, ...], parameters: bool):
    """Mean cosines with the exact gradient for each number of pairs: over pixels, and over parameters if asked.

    None where the visitor cancelled it.
    """
    key = (place, networks, *key_of(place.run, networks), parameters, many)
    work = partial(_with_lock, directions, place, networks, parameters, many)
    return long_work.run("pair_directions", key, "Comparing gradients", work)


def replay(place: Place, networks: Networks, settings: Mapping[str, Any] | None = None) -> Replay:
    """The whole step at `place` in train mode, for a run and one of its checkpoints."""
    key = (*key_of(place.run, networks), place.step in written_steps(place.run))
    return _replay(place, key, tuple(sorted((settings or {}).items())))


def step_of(run: str | None, networks: Networks) -> int | None:
    """After which training step these networks are; None for networks of no run."""
    if run is None or networks.checkpoint == OWN:
        return None
    folder, _ = key_of(run, networks)
    return 0 if folder == UNTRAINED else int(Path(folder).name)


def written_steps(run: str) -> set[int]:
    """The steps that have a row in `metrics.jsonl`; none where it cannot be read."""
    try:
        return {row["step"] for row in store.metrics(store.run_folder(run))}
    except UserError:
        return set()


def compared_checkpoint(run: str) -> int | None:
    """The newest checkpoint after which the run wrote another step: that step can be compared with its row."""
    written = written_steps(run)
    return next((step for step in reversed(store.run_folder(run).checkpoints()) if step + 1 in written), None)


def load(run: str | None, networks: Networks) -> Loaded:
    """The networks; they are shared: hold `LOCK` while they run and change nothing."""
    return _load(run, own_module(networks), *key_of(run, networks))


def own_module(networks: Networks) -> str | None:
    """The `module:callable` of somebody's own network, None for networks of a run."""
    return (networks.own or "") if networks.checkpoint == OWN else None


def weights_with(method: Method, settings: Mapping[str, Any], step: int) -> dict[str, float]:
    """The weights of the terms at a step, had the method these settings."""
    other = copy.copy(method)
    other.config = replace(method.config, **settings)
    return other.weights(step)


@dataclass(frozen=True)
class Moment:
    """What a checkpoint made of a pair: most probable classes, uint8 [H, W], and the two losses."""

    step: int
    teacher: np.ndarray
    student: np.ndarray
    consistency: float
    structured: float


@st.cache_data(max_entries=64, show_spinner=False)
def moment(place: Place, step: int, stamp: int) -> Moment:
    """The pair at `place` in the eyes of the checkpoint of `step`."""
    found = probe(place, Networks(str(step)))
    teacher, student = (probs.argmax(0).to(torch.uint8).numpy() for probs in (found.teacher, found.student))
    return Moment(step, teacher, student, found.consistency, found.structured)


def key_of(run: str | None, networks: Networks) -> tuple[str, int]:
    """The checkpoint's folder and its time, so that a folder that was written anew is read anew."""
    if run is None or networks.checkpoint in (UNTRAINED, OWN):
        return UNTRAINED, method_data.stamp(run)
    which, folder = networks.checkpoint, store.run_folder(run).path
    return _whole_checkpoint(str(folder), int(which) if which.isdigit() else which, _state_of(folder / "checkpoints"))


def _state_of(folder: Path) -> tuple:
    """Names, times and sizes of all files below a folder: what has these has not changed."""
    files = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    return tuple((name, found.st_mtime_ns, found.st_size) for name, found in files)


@st.cache_data(max_entries=64, show_spinner=False)
def _whole_checkpoint(run: str, which: str | int, state: tuple) -> tuple[str, int]:
    """The folder of a checkpoint, every byte of it verified once for a state of the files, and the folder's time."""
    folder = Path(find_checkpoint(run, which))
    return str(folder), folder.stat().st_mtime_ns


@st.cache_resource(max_entries=3, show_spinner="Loading the networks …")  # as many as a run keeps: two and the best
def _load(run: str | None, own: str | None, folder: str, stamp: int) -> Loaded:
    config, num_classes = method_data.config_of(run), len(method_data.classes(run)[0])
    if own is not None:
        network = load_user_segmenter(own, num_classes).eval()
        return Loaded(network, network, None)
    if folder == UNTRAINED:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            method = build_method(config, num_classes).eval()
    else:
        restored = restore(store.run_folder(run).path, folder)
        restored.require_classes_of(method_data.source_of(run))
        method = restored.method
    teacher = getattr(method, "second", method.producer)
    return Loaded(method.student.float(), teacher.float(), method)


@st.cache_resource(max_entries=4, show_spinner="Taking the step apart …")
def _probe(place: Place, networks: Networks, folder: str, stamp: int, settings: BoxSettings | None) -> Probe:
    loaded, config = _load(place.run, own_module(networks), folder, stamp), method_data.config_of(place.run)
    with LOCK:
        try:
            if settings is None:
                return _taken_apart(loaded, config, place)
            whole = _whole(place, networks, folder, stamp)
            return _drawn_otherwise(loaded, place, settings, whole)
        except Exception as error:  # somebody's code may raise anything
            if networks.checkpoint != OWN or isinstance(error, UserError):
                raise
            raise UserError(f"{networks.own} does not run on this pair: {type(error).__name__}: {error}") from error


def _taken_apart(loaded: Loaded, config: RunConfig, place: Place) -> Probe:
    """By the method itself where it has networks of its own, else by the same functions."""
    if loaded.method is not None:
        found = loaded.method.probe(method_data.batch_of_one(place), place.draws)
        if found is not None:
            return found
    return _drawn_otherwise(loaded, place, method_data.boxes_of_step(place, config)[0])


def _drawn_otherwise(loaded: Loaded, place: Place, settings: BoxSettings, whole=None) -> Probe:
    """With the boxes that these settings draw; `whole` as in `make_probe`."""
    generators = [place.draws.generators((place.pair,), stream)[0] for stream in STREAMS]
    return make_probe(
        loaded.student, loaded.teacher, *method_data.views(place), settings, *generators, whole=whole
    )  # fmt: skip


@st.cache_resource(max_entries=4, show_spinner=False)
def _whole(place: Place, networks: Networks, folder: str, stamp: int):
    """What the teacher gives of both pictures of a pair whole; `LOCK` is held."""
    loaded = _load(place.run, own_module(networks), folder, stamp)
    return whole_answers(loaded.teacher, *method_data.views(place), BoxSettings(0, 0, 0.0, "union"))


@st.cache_resource(max_entries=6, show_spinner=False)
def _parts(place: Place, networks: Networks, folder: str, stamp: int) -> Exact:
    return exact_parts(_probe(place, networks, folder, stamp, None))


def _with_lock(what: Callable, place: Place, networks: Networks, parameters: bool, pairs: Any, tell: Tell):
    """`study` or `directions` of the pair, with its student where the `parameters` are asked for."""
    found = probe(place, networks)
    student = load(place.run, networks).student if parameters else None
    with LOCK:
        return what(found, pairs, student, tell=tell)


@st.cache_data(max_entries=16, show_spinner="Taking the whole step as training did …")
def _replay(place: Place, key: tuple[str, int, bool], settings: tuple[tuple[str, Any], ...]) -> Replay:
    run = store.run_folder(place.run).path
    with LOCK:
        source = method_data.source_of(place.run)
        return replay_step(run, key[0], place.step, place.seed, dict(settings), source)
