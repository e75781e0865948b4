"""RC2L taken apart: the teacher's regions, the student's mask that answers for each, and how alike all of them are."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scl_core.data.batch import Batch
from scl_core.data.images import denormalise
from scl_core.losses.region import Regions, mask_similarities
from scl_core.methods.base import StepDraws
from scl_core.methods.rc2l import Rc2l
from scl_core.methods.rc2l_pp import Rc2lPp
from scl_core.methods.region_parts import student_side, teacher_output
from scl_core.microscope.insides.pair import answering, at_pixels


@dataclass(frozen=True)
class RegionInside:
    """`picture` uint8 [H, W, 3] is what the student sees.

    `regions` int64 [H, W]: the teacher's region at each pixel, its place among the R that are there, -1 for none.
    `classes` [R] their classes, `match` [R] the student's mask (query, or class map) of each, `masks` [R, H, W] that
    mask; `similarities` [R, N] of each region with every mask of the student, as RMC compares them.
    """

    picture: np.ndarray
    regions: np.ndarray
    classes: np.ndarray
    match: np.ndarray
    masks: np.ndarray
    similarities: np.ndarray


def region_inside(method: Rc2l | Rc2lPp, batch: Batch, draws: StepDraws) -> RegionInside:
    """The first pair of the batch as the step saw it."""
    config = method.config
    with answering(method.student, method.teacher.model):
        pictures, valid, owner = student_side(batch, draws, config)
        regions = method.teacher_side(teacher_output(method, batch, owner), owner, valid).regions
        masks, match = method.matched_masks(pictures, regions)
        similarities = mask_similarities(masks, regions, config.mask_similarity)[0]
    there = regions.present[0].nonzero().squeeze(1)
    size, own = tuple(valid.shape[1:]), match[0, there]
    return RegionInside(
        picture=denormalise(pictures[0]),
        regions=at_pixels(region_map(regions, there), size),
        classes=regions.classes[0, there].cpu().numpy(),
        match=own.cpu().numpy(),
        masks=np.stack([at_pixels(mask, size) for mask in masks[0, own]]) if len(own) else np.zeros((0, *size)),
        similarities=similarities[there].cpu().numpy(),
    )


def region_map(regions: Regions, there: Tensor) -> Tensor:
    """The place among `there` of the first picture's region at each cell, -1 for none: int64 [h, w]."""
    if regions.labels is not None:
        places = torch.full((regions.present.shape[1] + 1,), -1, device=there.device)
        places[there] = torch.arange(len(there), device=there.device)
        return places[regions.labels[0]]
    if not len(there):
        return torch.full(regions.kept.shape[1:], -1)
    most, place = regions.masks[0, there].max(0)
    return place.masked_fill(most <= 0.5, -1)
