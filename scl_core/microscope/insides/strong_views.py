"""FixMatch and UniMatch taken apart: the weak view's labels, how sure they are, and what each strong view learns."""

from dataclasses import dataclass

import numpy as np

from scl_core.cutmix import cutmix
from scl_core.data.batch import Batch
from scl_core.data.images import denormalise
from scl_core.methods.base import StepDraws
from scl_core.methods.fixmatch import FixMatch
from scl_core.methods.unimatch import UniMatch
from scl_core.methods.weak_to_strong import Target, Weak, draw_owner_at_times, partner_target, target
from scl_core.microscope.insides.pair import answering


@dataclass(frozen=True)
class StrongView:
    """A strong view, mixed where the step mixed it: `picture` uint8 [H, W, 3]; its labels' `confidence` [H, W].

    `labels` int64 [H, W] are what it learns, where `kept` bool [H, W].
    """

    picture: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    kept: np.ndarray
    is_mixed: bool


@dataclass(frozen=True)
class StrongViewsInside:
    """The weak view, the labels that the network gives it, and the strong views."""

    picture: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    views: list[StrongView]


def strong_views_inside(method: FixMatch | UniMatch, batch: Batch, draws: StepDraws) -> StrongViewsInside:
    """The first pair of the batch, mixed by the draws of the step."""
    a, b, config = batch.unlabeled_a, batch.unlabeled_b, method.config
    with answering(method.student):
        own = target(method.student(a.weak), a.valid, config)
        weak = Weak(own, partner_target(method.student, b, config))
    views = []
    for view in range(method.num_strong):
        owner = draw_owner_at_times(a, batch.positions, draws, config, view)
        picture = cutmix(a.strong[view], b.strong[view], owner)
        views.append(strong_view(denormalise(picture[0]), weak.mixed(owner), config, bool((owner >= 0).any())))
    labels, confidence = (part[0].cpu().numpy() for part in (weak.own.labels, weak.own.confidence))
    return StrongViewsInside(denormalise(a.weak[0]), labels, confidence, views)


def strong_view(picture: np.ndarray, wanted: Target, config, is_mixed: bool) -> StrongView:
    """One view with what it is to learn; kept are the pixels that `pseudo_label_loss` counts."""
    kept = (wanted.confidence >= config.confidence_threshold) & wanted.valid
    maps = (part[0].cpu().numpy() for part in (wanted.labels, wanted.confidence, kept))
    return StrongView(picture, *maps, is_mixed)
