"""What methods that mix pictures share and call: boxes, joint passes, and the settings of the structured term.

The nearest published relative of the add-on is IPixMatch (arXiv 2404.18891), which also lets relations between pixels
supervise a semi-supervised network. As far as its summary tells, it compares distributions over space; here the
cosine similarities of pairs of pixels inside CutMix boxes are compared (eqs. 5 to 10 of Kim et al. 2020).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor, nn

from scl_core.cutmix import SIDES, box_owner, boxes_of, toggled_owner
from scl_core.errors import UserError
from scl_core.methods.base import StepDraws
from scl_core.seeding import sent
from scl_core.settings import setting
from scl_core.structured_form import class_pair_weights

if TYPE_CHECKING:
    from scl_core.data.batch import Views

Output = TypeVar("Output", bound=tuple)

REGIONS = ("boxes", "whole", "random", "window", "batch")
FORMS = ("pairs", "pixel_cosine")
VECTORS = ("probs", "logits", "features")
PAIR_WEIGHTS = ("none", "confidence", "class_area")
OVERLAPS = ("cover", "toggle")
PARTNERS = ("other", "self")


class BoxSettings(Protocol):
    """The settings that the functions here read, under the names that `SclConfig` gives them."""

    num_boxes: int
    num_loss_boxes: int | None
    max_pairs: int | None
    total_area: float
    area_mode: str
    box_reduction: str
    structured_region: str
    structured_form: str
    structured_radius: int
    structured_on: str
    structured_temperature: float
    structured_pair_weights: str
    structured_centred: bool
    structured_class_pairs: str | None
    structured_teacher: str | None
    structured_teacher_weights: str


@dataclass
class StructuredSettings:
    """The settings of the boxes and of the structured term as an add-on, for a method's config to begin with.

    A config overrides `name`, and any other whose default is not the method's own; the order stays.
    """

    name: str = setting("", "The method.")
    structured_weight: float = setting(
        0.0, "Weight of the structured consistency in the boxes, added to the method's own terms; 0 = off.", low=0.0
    )
    num_boxes: int = setting(1, "CutMix boxes of each pair.", low=0)
    num_loss_boxes: int | None = setting(
        None, "Boxes with a structured loss, the last pasted (N_box); empty = all.", low=0
    )
    max_pairs: int | None = setting(
        None, "Pixel pairs drawn in each box (N_pair, eq. 9); empty = every pair, exactly.", low=0
    )
    total_area: float = setting(0.5, "Share of the picture that the boxes take.", low=0.0, high=1.0)
    area_mode: str = setting(
        "union", "What total_area means: the covered share, or the areas' sum.", choices=("union", "sum")
    )
    box_reduction: str = setting("mean", "How the boxes' losses become one: eq. 8 has sum.", choices=("mean", "sum"))
    structured_region: str = setting(
        "boxes",
        "Where the structured loss takes its pixels: each box (eq. 8), the whole picture as one region (eq. 6), a "
        "window around each pixel, all pictures of the step as one region, or as a control random sets of pixels as "
        "large as the boxes.",
        choices=REGIONS,
    )
    structured_form: str = setting(
        "pairs",
        "What it compares there: how alike any two pixels are, or as a control each pixel of the student with the "
        "teacher's (1 - cosine).",
        choices=FORMS,
    )

    structured_radius: int = setting(16, "Half the side of the window, in pixels; for structured_region window.", low=1)
    structured_on: str = setting(
        "probs",
        "The vectors that are compared: probabilities, logits less their mean, or what the classifier reads, the "
        "decoder's features at their own size.",
        choices=VECTORS,
    )
    structured_temperature: float = setting(
        1.0, "Divides the logits before the probabilities are compared; 2 to 3 undoes saturation.", low=0.01
    )
    structured_pair_weights: str = setting(
        "none",
        "Weight w_i w_j of a pair of pixels: none, the teacher's confidence, or one over the class's area in the box.",
        choices=PAIR_WEIGHTS,
    )
    structured_centred: bool = setting(False, "Subtract each box's mean vector first (the distance of linear HSIC).")
    structured_class_pairs: str | None = setting(
        None,
        "Weights of the pairs of two classes of the teacher, by their numbers, as 0-0=0.1,5-*=3; other pairs have 1.",
    )
    structured_teacher: str | None = setting(
        None,
        "A network that is not trained here and teaches structure alone, by its features of any width: an encoder's "
        "name, or module:callable of your own; empty = the method's own teacher.",
    )
    structured_teacher_weights: str = setting(
        "imagenet",
        "Weights of the encoder that structured_teacher names: imagenet, or a file (.safetensors, .pth, .pt).",
    )

    def __post_init__(self):
        check_loss_boxes(self)
        check_structured_form(self)


def check_loss_boxes(settings: BoxSettings) -> None:
    """Raises `UserError` when more boxes are to have a loss than there are."""
    if settings.num_loss_boxes is not None and settings.num_loss_boxes > settings.num_boxes:
        raise UserError(
            f"method.num_loss_boxes {settings.num_loss_boxes} is more than method.num_boxes {settings.num_boxes}: "
            f"at most {settings.num_boxes} boxes can have a loss"
        )


def check_structured_form(settings: BoxSettings) -> None:
    """Raises `UserError` for settings of the structured loss that cannot hold together."""
    if settings.structured_class_pairs:
        class_pair_weights(settings.structured_class_pairs)
    by_pixel = settings.structured_pair_weights != "none" or settings.structured_centred
    weighted = by_pixel or settings.structured_class_pairs
    special = settings.structured_form != "pairs" or settings.structured_region in ("window", "batch")
    if settings.max_pairs is not None and (special or weighted):
        raise UserError(
            f"method.max_pairs {settings.max_pairs} draws pairs of the plain structured loss alone: leave max_pairs "
            "empty, or set structured_form, structured_region, structured_pair_weights, structured_centred and "
            "structured_class_pairs back"
        )
    if settings.structured_class_pairs and by_pixel:
        raise UserError(
            "method.structured_class_pairs weighs pairs by their classes alone: set structured_pair_weights to none "
            "and structured_centred to false"
        )
    if weighted and special:
        raise UserError(
            "method.structured_pair_weights, structured_centred and structured_class_pairs weigh the pairs of a box: "
            "set structured_form to pairs and structured_region to boxes, whole or random"
        )
    if settings.structured_teacher and (settings.max_pairs is not None or settings.structured_form != "pairs"):
        raise UserError(
            f"method.structured_teacher {settings.structured_teacher} has vectors of its own width, of which every "
            "pair is compared: leave max_pairs empty, and set structured_form to pairs"
        )
    if settings.structured_form != "pairs" and settings.structured_region in ("window", "batch"):
        raise UserError(
            f"method.structured_region {settings.structured_region} takes pairs: set structured_form to pairs"
        )


def overlap_setting() -> str:
    """The setting `box_overlap` of a method whose published form toggles; its config calls `check_boxes`."""
    return setting(
        "cover",
        "Where boxes overlap: the later covers the earlier, or each toggles what shows, so that two show nothing.",
        choices=OVERLAPS,
    )


def smallest_box_setting() -> float | None:
    """The setting `smallest_box_area` of a method whose authors draw boxes' areas; its config calls `check_boxes`."""
    return setting(
        None,
        "Draw each box's area: its part, one of num_boxes, of a share between this and total_area; with area_mode sum. "
        "Empty = always of total_area.",
        low=0.0,
        high=1.0,
    )


def sides_setting() -> str:
    """The setting `box_sides` of a method whose authors have another law; its config calls `check_sides`."""
    return setting(
        "log",
        "How the sides of a box are drawn: their ratio log-uniform; or of one box alone the width uniform, as U2PL and "
        "PCR do, or the ratio uniform from 0.3 to 1 / 0.3 until the box fits at a random place, as UniMatch does.",
        choices=SIDES,
    )


def check_sides(settings) -> None:
    """Raises `UserError` where several boxes are to have sides of a law for one."""
    if settings.box_sides != "log" and settings.num_boxes > 1:
        raise UserError(
            f"method.box_sides {settings.box_sides} draws one box, and method.num_boxes is {settings.num_boxes}: set "
            "method.num_boxes to 1, or method.box_sides to log"
        )


def partner_setting() -> str:
    """The setting `partner` of a method whose published code pairs a picture with itself."""
    return setting(
        "other",
        "The second picture of a pair: another one, or itself under its own flip, scale and crop, as in the authors' "
        "code.",
        choices=PARTNERS,
    )


def partner_of(settings) -> str:
    """What the loader pairs an unlabeled picture with: "other" for a method without the setting."""
    return getattr(settings, "partner", "other")


def toggles(settings) -> bool:
    """Whether boxes toggle, so that a pixel of the mix belongs to none of them; one box alone has all of its own."""
    return getattr(settings, "box_overlap", "cover") == "toggle" and settings.num_boxes > 1


def check_boxes(settings: BoxSettings) -> None:
    """Raises `UserError` where a structured loss by boxes meets boxes that toggle, or boxes' areas have no range."""
    smallest = settings.smallest_box_area
    if smallest is not None and (smallest > settings.total_area or settings.area_mode != "sum"):
        raise UserError(
            f"method.smallest_box_area {smallest} is the least that areas add up to: set method.area_mode to sum, and "
            f"method.total_area {settings.total_area} to at least that"
        )
    if settings.structured_weight and toggles(settings) and settings.structured_region in ("boxes", "random"):
        raise UserError(
            "method.box_overlap toggle leaves no pixel to one of several boxes, and method.structured_weight "
            f"{settings.structured_weight} compares the pixels of each: set method.box_overlap to cover, or "
            "method.structured_region to whole"
        )


def draw_owner(
    views: "Views", positions: tuple[int, ...], draws: StepDraws, settings: BoxSettings, stream: str = "boxes"
) -> Tensor:
    """Boxes for each pair and which of them each pixel shows, int64 [B, H, W]; a second mix takes another `stream`.

    Boxes that toggle are as one: 0 where the second picture shows.
    """
    height, width = views.weak.shape[-2:]
    paste = toggled_owner if toggles(settings) else box_owner
    owners = [
        paste(boxes_of(settings, height, width, generator), height, width)
        for generator in draws.generators(positions, stream)
    ]
    return sent(torch.stack(owners), views.weak.device)


def two_passes(
    network: Callable[..., Output],
    images: Tensor,
    others: Tensor,
    joint: bool,
    keys: tuple[Tensor, Tensor] | None = None,
) -> tuple[Output, Output]:
    """The outputs (named tuples of tensors) for both, in one pass where `joint` asks for it and they have one size.

    `keys`, for the pictures of the one and of the other, are what the network takes beside them.
    """
    of_images, of_others = ((), ()) if keys is None else ((key,) for key in keys)
    if not joint or images.shape[1:] != others.shape[1:]:
        return network(images, *of_images), network(others, *of_others)
    both = () if keys is None else (torch.cat(keys),)
    output, count = network(torch.cat([images, others]), *both), len(images)
    return type(output)(*(part[:count] for part in output)), type(output)(*(part[count:] for part in output))


def smallest_part(joint: bool, start: float, train) -> int:
    """Pictures in the smallest training pass of `two_passes`, when labels alone train up to `start`."""
    if joint and start == 0:
        return train.batch_labeled + train.batch_unlabeled
    return train.batch_labeled if joint else min(train.batch_labeled, train.batch_unlabeled)


@torch.no_grad()
def teacher_probs(teacher: nn.Module, pictures: Tensor) -> Tensor:
    """What a frozen teacher makes of whole pictures [B, 3, H, W]: probabilities [B, C, H, W], no gradient."""
    return teacher(pictures).logits.softmax(1)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Running statistics in batch norm, unmoved, and back to the mode that the network was in."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
