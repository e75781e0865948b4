"""The loss terms, pure functions of predictions; each has a `_sum` form, (total, count), for means over ranks."""

from scl_core.losses.confidence import confident_consistency_loss, pseudo_label_loss
from scl_core.losses.consistency import consistency_loss
from scl_core.losses.cross_pseudo import cross_pseudo_loss
from scl_core.losses.ohem import ohem_cross_entropy
from scl_core.losses.prototype import prototype_logits, prototype_loss
from scl_core.losses.region import mask_average_pool, region_feature_contrast, region_mask_contrast
from scl_core.losses.structured import structured_consistency_loss
from scl_core.losses.structured_family import class_pair_matrix, pixel_shares
from scl_core.losses.supervised import relaxed_cross_entropy

__all__ = [
    "class_pair_matrix",
    "confident_consistency_loss",
    "consistency_loss",
    "cross_pseudo_loss",
    "mask_average_pool",
    "ohem_cross_entropy",
    "pixel_shares",
    "prototype_logits",
    "prototype_loss",
    "pseudo_label_loss",
    "region_feature_contrast",
    "region_mask_contrast",
    "relaxed_cross_entropy",
    "structured_consistency_loss",
]
