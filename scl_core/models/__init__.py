"""Segmentation networks: encoders, the DeepLabV3+ decoder, networks of the user's own, and their first weights."""

from scl_core.models.build import ModelConfig, build_from_config, build_segmenter
from scl_core.models.deeplabv3plus import DeepLabV3Plus, SegmenterOutput
from scl_core.models.encoders import ENCODERS
from scl_core.models.user_module import UserSegmenter
from scl_core.models.weights import load_weights

__all__ = [
    "ENCODERS",
    "DeepLabV3Plus",
    "ModelConfig",
    "SegmenterOutput",
    "UserSegmenter",
    "build_from_config",
    "build_segmenter",
    "load_weights",
]
