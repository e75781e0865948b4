"""What the methods beside SCL do with one pair of unlabeled pictures, by the functions that training calls.

The networks run in eval mode (running statistics in batch norm), and each answer is numpy arrays on the CPU, ready for
`scl_core.figures.insides`.
"""

from scl_core.microscope.insides.cross_pseudo import (
    CrossPseudoInside,
    agreement_by_class,
    cross_pseudo_agreement,
    cross_pseudo_inside,
)
from scl_core.microscope.insides.pair import one_pair
from scl_core.microscope.insides.prototypes import PrototypeInside, prototype_inside
from scl_core.microscope.insides.regions import RegionInside, region_inside
from scl_core.microscope.insides.strong_views import StrongView, StrongViewsInside, strong_views_inside

__all__ = [
    "CrossPseudoInside",
    "PrototypeInside",
    "RegionInside",
    "StrongView",
    "StrongViewsInside",
    "agreement_by_class",
    "cross_pseudo_agreement",
    "cross_pseudo_inside",
    "one_pair",
    "prototype_inside",
    "region_inside",
    "strong_views_inside",
]
