"""Cross pseudo supervision (Chen et al. 2021): two networks that learn each other's hard labels."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from scl_core.cutmix import cutmix
from scl_core.distributed import global_mean
from scl_core.errors import UserError
from scl_core.losses.cross_pseudo import cross_pseudo_sum, hard_labels
from scl_core.methods.base import Method
from scl_core.methods.parts import (
    StructuredSettings,
    check_boxes,
    draw_owner,
    overlap_setting,
    partner_setting,
    smallest_box_setting,
    toggles,
)
from scl_core.methods.structure import mixed_seen, seen_of, structured_term
from scl_core.models.deeplabv3plus import SegmenterOutput
from scl_core.models.twin import with_other_head
from scl_core.models.weights import split_beside, with_beside
from scl_core.probe import Probe, probe_pair
from scl_core.settings import setting
from scl_core.structured_form import Seen

SECOND = "second."


@dataclass
class CpsConfig(StructuredSettings):
    name: str = setting("cps", "The method.")
    num_boxes: int = setting(3, "CutMix boxes of each pair.", low=0)
    total_area: float = setting(0.375, "Share of the picture that the boxes take.", low=0.0, high=1.0)
    area_mode: str = setting(
        "sum", "What total_area means: the covered share, or the areas' sum.", choices=("union", "sum")
    )
    box_overlap: str = overlap_setting()
    smallest_box_area: float | None = smallest_box_setting()
    partner: str = partner_setting()
    cross_pseudo_weight: float = setting(
        1.0, "Weight of the cross pseudo loss (lambda); the paper has 1 with CutMix and 1.5 without on VOC.", low=0.0
    )
    cutmix: bool = setting(True, "Learn on mixed unlabeled pictures; false: on labeled and unlabeled ones as they are.")
    normalise: str = setting(
        "concat_mean",
        "Without CutMix: one mean over labeled and unlabeled pixels, or the sum of a mean over each.",
        choices=("concat_mean", "sum_of_means"),
    )
    skip_padding: bool = setting(True, "Leave the padding of unlabeled crops out of the cross pseudo loss.")
    ohem_threshold: float | None = setting(
        None,
        "Supervise only pixels whose class has at most this probability (0.7 on Cityscapes); empty = every pixel.",
        low=0.0,
        high=1.0,
    )
    ohem_min_kept: int = setting(50000, "Pixels per labeled picture that are supervised at least, with OHEM.", low=0)
    evaluate_mean: bool = setting(False, "Also evaluate the mean of both networks' probabilities.")

    def __post_init__(self):
        super().__post_init__()
        check_boxes(self)
        if self.structured_weight and not self.cutmix:
            raise UserError(
                "method.structured_weight needs the boxes of CutMix: set method.cutmix to true, or the weight to 0"
            )


class Cps(Method):
    """Chen et al., "Semi-supervised semantic segmentation with cross pseudo supervision" (CVPR 2021).

    Two networks with one encoder's first weights and heads of their own, `student` and `second`, see the same weak
    views. Each learns what the other finds most probable. Losses are sums over the two. The boxes have one area, and
    one covers another; in the authors' code each has an area of its own, `smallest_box_area`, they toggle,
    `box_overlap`, and a picture meets itself, `partner`.
    With `structured_weight` each network's similarities in the boxes follow the other's: see
    `scl_core.methods.parts` for the nearest relative of that term.
    """

    config_class = CpsConfig
    num_strong = 1  # the loader's word for unlabeled pictures; the weak views alone are used

    def __init__(self, student, config: CpsConfig, steps: int):
        super().__init__(student, config, steps)
        self.second = with_other_head(student)

    @classmethod
    def smallest_forward(cls, config, train):
        """Labeled and unlabeled pictures each have their own pass, so that batch norm sees them apart."""
        return min(train.batch_labeled, train.batch_unlabeled)

    @property
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """The first, which is evaluated, and the second."""
        return self.student, self.second

    def forward(self, batch, draws):
        """The terms `supervised`, `cross_pseudo` and, where it has a weight, `structured`."""
        labeled = [network(batch.images).logits for network in self.networks]
        terms = {"supervised": sum(self.labeled_loss(logits, batch.labels) for logits in labeled)}
        return terms | (self.mixed_terms(batch, draws) if self.config.cutmix else self.plain_terms(batch, labeled))

    def plain_terms(self, batch, labeled: list[Tensor]) -> dict[str, Tensor]:
        """Both networks on the labeled and on the unlabeled pictures; every labeled pixel counts, its mask aside."""
        views = batch.unlabeled_a
        unlabeled = [network(views.weak).logits for network in self.networks]
        sums = [cross_pseudo_sum(*labeled, *map(hard_labels, labeled))]
        sums.append(cross_pseudo_sum(*unlabeled, *map(hard_labels, unlabeled), self.counted(views.valid)))
        if self.config.normalise == "sum_of_means":
            return {"cross_pseudo": sum(global_mean(total, count) for total, count in sums)}
        total, count = (sum(parts) for parts in zip(*sums, strict=True))
        return {"cross_pseudo": global_mean(total, count)}

    def mixed_terms(self, batch, draws) -> dict[str, Tensor]:
        """Both networks on the mixed pictures, each to learn the other's labels of the two whole ones, mixed."""
        a, b = batch.unlabeled_a, batch.unlabeled_b
        owner = draw_owner(a, batch.positions, draws, self.config)
        targets = [self.targets(network, a, b, owner) for network in self.networks]
        mixed = cutmix(a.weak, b.weak, owner)
        outputs = [network(mixed) for network in self.networks]
        logits = [output.logits for output in outputs]
        valid = cutmix(a.valid, b.valid, owner)
        if self.watches(draws.step):
            self.note_targets(draws.step, logits[0].detach().softmax(1), valid)
        labels = [label for label, _ in targets]
        terms = {"cross_pseudo": global_mean(*cross_pseudo_sum(*logits, *labels, self.counted(valid)))}
        if self.config.structured_weight:
            shared = (owner, valid, batch, draws, self.config)
            first, second = (seen_of(output, self.config) for output in outputs)
            (_, of_first), (_, of_second) = targets
            first = structured_term(first, of_second, *shared, stream="pairs")
            second = structured_term(second, of_first, *shared, stream="pairs of the second")
            terms["structured"] = first + second
        return terms

    @torch.no_grad()
    def targets(self, network: nn.Module, a, b, owner: Tensor) -> tuple[Tensor, Seen | None]:
        """What a network gives the other to learn: labels [B, H, W] of the mix, and what it sees in it where needed.

        The network stays in training mode: batch norm takes the statistics of each batch and moves its running ones.
        """
        of_a, of_b = network(a.weak), network(b.weak)
        labels = cutmix(hard_labels(of_a.logits), hard_labels(of_b.logits), owner)
        if not self.config.structured_weight:
            return labels, None
        return labels, mixed_seen(seen_of(of_a, self.config), seen_of(of_b, self.config), owner)

    def counted(self, valid: Tensor) -> Tensor | None:
        """The unlabeled pixels in the cross pseudo loss, None for all of them."""
        return valid if self.config.skip_padding else None

    def weights(self, step):
        """The weights of the settings, from the first step on: the paper has no ramp."""
        weights = {"supervised": 1.0, "cross_pseudo": self.config.cross_pseudo_weight}
        return weights | ({"structured": self.config.structured_weight} if self.config.structured_weight else {})

    def probe(self, batch, draws) -> Probe | None:
        """The first pair, the first network in the student's place and the second in the teacher's.

        None without CutMix, and where its boxes toggle.
        """
        if not self.config.cutmix or toggles(self.config):
            return None
        a, b = (replace(views, strong=(views.weak,)) for views in (batch.unlabeled_a, batch.unlabeled_b))
        pair = replace(batch, unlabeled_a=a, unlabeled_b=b)
        return probe_pair(*self.networks, pair, draws, self.config)

    @property
    def evaluated(self):
        """The first network, and on request the mean of both."""
        first = {"first": self.student}
        return first | {"mean": MeanOfTwo(*self.networks)} if self.config.evaluate_mean else first

    def tensors(self):
        """Both networks in the student's file: the first under its own names, so that another run can start from it."""
        second = {SECOND + name: tensor for name, tensor in self.second.state_dict().items()}
        return {"student": with_beside(self.student.state_dict(), second)}

    def load_tensors(self, tensors, step):
        """Put back what `tensors` gave. Raises `UserError` when the file has no second network."""
        first, beside = split_beside(tensors["student"])
        second = {name.removeprefix(SECOND): tensor for name, tensor in beside.items() if name.startswith(SECOND)}
        if not second:
            raise UserError("this checkpoint has no second network, so it is of another method than cps")
        self.student.load_state_dict(first)
        self.second.load_state_dict(second)


class MeanOfTwo(nn.Module):
    """Two segmenters as one: its logits are the logarithm of their mean probabilities."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first, self.second = first, second
        self.training = first.training

    def forward(self, images: Tensor) -> SegmenterOutput:
        """images [B, 3, H, W] -> logits [B, C, H, W]; features of the first."""
        first, second = self.first(images), self.second(images)
        return SegmenterOutput(
            torch.logaddexp(first.logits.log_softmax(1), second.logits.log_softmax(1)), first.features
        )
