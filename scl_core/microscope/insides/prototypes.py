"""PCR taken apart: which prototype each place chose, how alike prototypes are, and both predictors' answers."""

from dataclasses import dataclass

import numpy as np

from scl_core.data.batch import Batch
from scl_core.data.images import IGNORE_INDEX, denormalise
from scl_core.errors import UserError
from scl_core.losses.prototype import cosines, sample_grid
from scl_core.methods.base import StepDraws
from scl_core.methods.pcr import Pcr
from scl_core.microscope.insides.pair import answering, at_pixels


@dataclass(frozen=True)
class PrototypeInside:
    """`picture` uint8 [H, W, 3] is what the student sees; int64 maps [H, W].

    `linear` and `prototype` are the classes of the two predictors; `chosen` the nearest prototype, c * K + k. The last
    two are those of the nearest cell of the feature map. `similarities` float [C K, C K]; `places` int64 [n, 2] the
    pixels that the prototype predictor learned from in this step, `kept` bool [n] those with a confident label.
    """

    picture: np.ndarray
    linear: np.ndarray
    prototype: np.ndarray
    chosen: np.ndarray
    similarities: np.ndarray
    places: np.ndarray
    kept: np.ndarray
    num_prototypes: int


def prototype_inside(method: Pcr, batch: Batch, draws: StepDraws) -> PrototypeInside:
    """The first pair of the batch as the step saw it. Raises `UserError` before there are prototypes."""
    if not method.prototypes.any():
        raise UserError("this checkpoint has no prototypes yet, for they come after method.start: choose a later one")
    with answering(method.student, method.teacher.model):
        unlabeled = method.unlabeled(batch, draws)
        labels = method.teacher_labels(unlabeled)[0].cpu()
        logits, features = method.student(unlabeled.pictures)
        near = cosines(features[0].flatten(1).T, method.prototypes).flatten(1).argmax(1)
        directions = method.prototypes.flatten(0, 1)
        similarities = cosines(directions, method.prototypes).flatten(1)
    size, count = tuple(labels.shape), method.config.num_prototypes
    chosen = at_pixels(near.view(features.shape[2:]), size)
    places = sample_grid(*size, method.config.grid, draws.generators((0,), "pixels")[0])
    return PrototypeInside(
        picture=denormalise(unlabeled.pictures[0]),
        linear=logits[0].argmax(0).cpu().numpy(),
        prototype=chosen // count,
        chosen=chosen,
        similarities=similarities.cpu().numpy(),
        places=places.numpy(),
        kept=(labels[places[:, 0], places[:, 1]] != IGNORE_INDEX).numpy(),
        num_prototypes=count,
    )
