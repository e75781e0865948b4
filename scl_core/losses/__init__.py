"""The loss terms, pure functions of predictions; each has a `_sum` form, (total, count), for means over ranks."""

from scl_core.losses.confidence import confident_consistency_loss, pseudo_label_loss
from scl_core.losses.consistency import consistency_loss
from scl_core.losses.structured import structured_consistency_loss
from scl_core.losses.supervised import relaxed_cross_entropy

__all__ = [
    "confident_consistency_loss",
    "consistency_loss",
    "pseudo_label_loss",
    "relaxed_cross_entropy",
    "structured_consistency_loss",
]
