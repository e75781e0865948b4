"""What FixMatch and UniMatch share and call: CutMix that is skipped at times, and labels from the weak view."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from scl_core.cutmix import box_owner, cutmix, sample_boxes
from scl_core.distributed import global_mean
from scl_core.errors import UserError
from scl_core.losses.confidence import pseudo_label_sum, pseudo_labels
from scl_core.methods.base import StepDraws
from scl_core.methods.parts import StructuredSettings, check_sides, eval_mode, partner_setting, sides_setting
from scl_core.methods.structure import mixed_seen, seen_of
from scl_core.models.deeplabv3plus import SegmenterOutput
from scl_core.seeding import generator_for, sent
from scl_core.settings import setting
from scl_core.structured_form import Seen

if TYPE_CHECKING:
    from scl_core.data.batch import Views


@dataclass
class WeakToStrongSettings(StructuredSettings):
    """The settings of FixMatch and UniMatch, for their configs to begin with."""

    total_area: float = setting(0.4, "Largest share of the picture that the boxes take.", low=0.0, high=1.0)
    smallest_area: float | None = setting(
        0.02, "Smallest share, drawn for each mix up to total_area; empty = always total_area.", low=0.0, high=1.0
    )
    box_sides: str = sides_setting()
    partner: str = partner_setting()
    cutmix_probability: float = setting(0.5, "Probability that a strong view is mixed at all.", low=0.0, high=1.0)
    confidence_threshold: float = setting(
        0.95, "Least probability of a pseudo label that is learned from; 0 = all.", low=0.0, high=1.0
    )
    start: float = setting(
        0.0, "Share of the steps trained on labels alone before the unlabeled part.", low=0.0, high=1.0
    )
    ramp: float = setting(
        0.0, "Share of the steps over which the unlabeled weights rise to their value.", low=0.0, high=1.0
    )
    relaxation_window: int = setting(1, "Side of the label relaxation's window; 1 is cross entropy.", low=1)
    ohem_threshold: float | None = setting(
        None,
        "Supervise only pixels whose class has at most this probability (0.7 on Cityscapes); empty = every pixel.",
        low=0.0,
        high=1.0,
    )
    ohem_min_kept: int = setting(100000, "Pixels per labeled picture that are supervised at least, with OHEM.", low=0)
    ema_decay: float | None = setting(
        None, "Also keep an averaged copy of the network, to be evaluated beside it.", low=0.0, high=1.0
    )

    def __post_init__(self):
        super().__post_init__()
        check_sides(self)
        if self.smallest_area is not None and self.smallest_area > self.total_area:
            raise UserError(
                f"method.smallest_area {self.smallest_area} is more than method.total_area {self.total_area}: "
                f"choose at most {self.total_area}"
            )


class Target(NamedTuple):
    """What a strong view is to be like; nothing here has a gradient."""

    labels: Tensor  # int64 [B, H, W]
    confidence: Tensor  # float [B, H, W]
    seen: Seen
    valid: Tensor  # bool [B, H, W]


class Weak(NamedTuple):
    """The two pictures of each pair as the network labels them from their weak views."""

    own: Target
    partner: Target

    def mixed(self, owner: Tensor) -> Target:
        """The target of a view mixed by `owner` [B, H, W]: labels, confidence and validity mixed as the pictures."""
        own, partner = self.own, self.partner
        labels, confidence = (cutmix(getattr(own, name), getattr(partner, name), owner) for name in Target._fields[:2])
        seen = mixed_seen(own.seen, partner.seen, owner)
        return Target(labels, confidence, seen, cutmix(own.valid, partner.valid, owner))


def target(output: SegmenterOutput, valid: Tensor, settings: WeakToStrongSettings) -> Target:
    """Pseudo labels and their confidence from a network's output; the gradient stops here."""
    output = SegmenterOutput(*(part.detach() for part in output))
    return Target(*pseudo_labels(output.logits), seen_of(output, settings), valid)


def partner_target(network: nn.Module, views: "Views", settings: WeakToStrongSettings) -> Target:
    """The partner's labels, in eval mode and without a gradient: batch norm's statistics do not move."""
    with eval_mode(network), torch.no_grad():
        seen = seen_of(network(views.weak), settings)
    confidence, labels = seen.probs.max(1)
    return Target(labels, confidence, seen, views.valid)


def smallest_pass(start: float, strong_views: int, train) -> int:
    """Pictures in the smallest training pass: labels with weak views (alone where they come first), or strong views."""
    with_labels = train.batch_labeled + (0 if start else train.batch_unlabeled)
    return min(with_labels, strong_views * train.batch_unlabeled)


def stream(name: str, view: int) -> str:
    """The stream of the draws of strong view `view`, counted from 0."""
    return f"{name}-{view + 1}" if view else name


def drawn_area(settings: WeakToStrongSettings, draws: StepDraws, position: int, view: int) -> tuple[bool, float]:
    """Whether this strong view of the pair at `position` is mixed, and the share that its boxes take.

    The share is a whole number of hundredths, so that the size of several boxes is worked out once for each.
    """
    generator = generator_for(draws.seed, draws.step, position, stream("mix", view))
    chance, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    area = settings.total_area
    if settings.smallest_area is not None:
        area = min(area, round(settings.smallest_area + place * (area - settings.smallest_area), 2))
    return chance < settings.cutmix_probability, area


def draw_owner_at_times(
    views: "Views", positions: tuple[int, ...], draws: StepDraws, settings: WeakToStrongSettings, view: int
) -> Tensor:
    """Which box each pixel of this strong view shows, int64 [B, H, W]; -1 everywhere in a view that is not mixed."""
    height, width = views.weak.shape[-2:]
    owners = []
    for position, generator in zip(positions, draws.generators(positions, stream("boxes", view)), strict=True):
        mixed, area = drawn_area(settings, draws, position, view)
        number = settings.num_boxes if mixed else 0
        own = (area, settings.area_mode, generator)
        boxes = sample_boxes(height, width, number, *own, sides=settings.box_sides)
        owners.append(box_owner(boxes, height, width))
    return sent(torch.stack(owners), views.weak.device)


def pseudo_label_term(logits: Tensor, wanted: Target, threshold: float) -> Tensor:
    """`pseudo_label_loss` over the pictures of all ranks; logits [B, C, H, W]."""
    return global_mean(*pseudo_label_sum(logits, wanted.labels, wanted.confidence, threshold, wanted.valid))
