"""What the Images pages show: networks of a run, pictures of its data, and what the one says of the other."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
import torch

from pages.shared import comparing, store
from pages.shared import evaluations as ev
from scl_core.checkpoint import find_checkpoint
from scl_core.data.images import IGNORE_INDEX, read_mask, resize_picture
from scl_core.data.sources import DataSource, PictureList, open_data
from scl_core.errors import UserError
from scl_core.inference import predict_probs
from scl_core.restore import Restored, restore, run_config
from scl_core.runs import RunFolder

NETWORK_LOCK = threading.Lock()
"""One network at a time: the cached networks are shared by all sessions."""
CPU = torch.device("cpu")
SPLITS = ("val", "test", "train", "unlabeled")


@dataclass(frozen=True)
class Side:
    """One network: the run, the step of its checkpoint, and its name in the method."""

    run: str
    step: int
    network: str

    @property
    def label(self) -> str:
        return f"{self.network}, step {self.step}"


@dataclass(frozen=True)
class Prediction:
    """The most probable class of each pixel, how probable it is, and the entropy of all classes, as shares of 255.

    All uint8 [H, W]; entropy is a share of its highest value, the logarithm of the number of classes.
    """

    classes: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray


def restored(run: str, step: int) -> Restored:
    """The networks of a checkpoint. Raises `UserError` where there are none."""
    folder = find_checkpoint(store.run_folder(run).path, step)
    return _restored(str(store.run_folder(run).path), str(folder), folder.stat().st_mtime_ns)


@st.cache_resource(max_entries=3, show_spinner="Loading the network …")
def _restored(run: str, folder: str, stamp: int) -> Restored:
    return restore(run, folder)


@st.cache_resource(max_entries=3, show_spinner="Opening the data …")
def _source(run: str, stamp: int) -> DataSource:
    return open_data(run_config(run).data)


def source_of(run: str) -> DataSource:
    """The opened data of a run. Raises `UserError` where they are not there."""
    folder = store.run_folder(run).path
    return _source(str(folder), (Path(folder) / "config.yaml").stat().st_mtime_ns)


def truth_of(pictures: PictureList, index: int) -> np.ndarray | None:
    """The labels of a picture at their own size, uint8 [H, W]; None where the list has none."""
    return pictures.mask(index) if pictures.has_masks else None


def predict_listed(side: Side, split: str, index: int) -> Prediction:
    """What a network says of picture `index` of a list, at the size of its mask, as evaluation scores it."""
    return _predict_listed(side, split, index, stamp_of(side))


def stamp_of(side: Side) -> int:
    """What changes when the checkpoint is another one under the same name."""
    return find_checkpoint(store.run_folder(side.run).path, side.step).stat().st_mtime_ns


@st.cache_data(max_entries=48, show_spinner="Predicting …")
def _predict_listed(side: Side, split: str, index: int, stamp: int) -> Prediction:
    source = source_of(side.run)
    restored(side.run, side.step).require_classes_of(source)
    pictures = source.pictures(split)
    size = truth.shape if (truth := truth_of(pictures, index)) is not None else pictures.image(index).shape[:2]
    return run_network(side, pictures.input(index), tuple(size))


@st.cache_data(max_entries=4, show_spinner="Predicting …")
def predict_own(side: Side, picture: np.ndarray, stamp: int) -> Prediction:
    """What a network says of a picture uint8 [H, W, 3], at its own size."""
    data = restored(side.run, side.step).config.data
    size = picture.shape[:2]
    shown = resize_picture(picture, getattr(data, "height", None) or size[0], getattr(data, "width", None) or size[1])
    return run_network(side, shown, size)


def run_network(side: Side, picture: np.ndarray, size: tuple[int, int]) -> Prediction:
    """The prediction for a picture at the network's input size."""
    network = restored(side.run, side.step).network(side.network)
    with NETWORK_LOCK:
        probs = predict_probs(network.float(), picture, size, CPU)
    entropy = -(probs * probs.clamp_min(1e-12).log()).sum(0) / np.log(max(len(probs), 2))
    best, classes = probs.max(0)
    return Prediction(classes.numpy().astype(np.uint8), *(to_bytes(values) for values in (best, entropy)))


def to_bytes(shares: torch.Tensor) -> np.ndarray:
    """Shares of 1 as uint8."""
    return shares.mul(255).round().clamp(0, 255).to(torch.uint8).numpy()


def matrices_of(side: Side, split: str) -> comparing.Matrices:
    """The stored confusions of a network on a list. Raises `UserError` where it was not evaluated there."""
    records = store.run_folder(side.run).evaluations()
    wanted = (side.step, split, side.network, None)
    same = [row for row in records if (row["step"], row["split"], row["network"], row.get("variant")) == wanted]
    if not same:
        raise UserError(f"the {side.network} of step {side.step} was not evaluated on the {split} list yet")
    return comparing.matrices_of(ev.Evaluation("A", side.run, same[-1]))


def stored_steps(run: RunFolder, picture: str) -> dict[int, Path]:
    """The predictions that training stored of a picture, by step."""
    name = picture.replace("/", "_")
    files = (run.path / "predictions").glob(f"[0-9]*/{glob_escape(name)}.png")
    return {int(file.parent.name): file for file in sorted(files) if file.parent.name.isdecimal()}


def glob_escape(name: str) -> str:
    """A name in which no character stands for others."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def stored_prediction(file: Path, num_classes: int) -> np.ndarray:
    """A class map that training stored, uint8 [H, W]. Raises `UserError` for a damaged file."""
    return read_mask(file, num_classes)


def wrong_share(truth: np.ndarray, classes: np.ndarray) -> float:
    """The share of labeled pixels that a prediction misses; NaN where none is labeled."""
    labeled = truth != IGNORE_INDEX
    return float((truth != classes)[labeled].mean()) if labeled.any() else float("nan")
