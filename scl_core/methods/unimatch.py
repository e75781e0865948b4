"""UniMatch (Yang et al., CVPR 2023): FixMatch with several strong views, and a view whose features are perturbed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scl_core.cutmix import cutmix
from scl_core.ema import EmaTeacher
from scl_core.errors import UserError
from scl_core.methods.base import Method, StepDraws
from scl_core.methods.parts import two_passes
from scl_core.methods.step_boxes import step_boxes
from scl_core.methods.structure import seen_of, structured_term
from scl_core.methods.weak_to_strong import (
    Weak,
    WeakToStrongSettings,
    draw_owner_at_times,
    partner_target,
    pseudo_label_term,
    smallest_pass,
    stream,
    target,
)
from scl_core.models.deeplabv3plus import SegmenterOutput
from scl_core.models.layers import kept_channels
from scl_core.probe import Probe, probe_pair
from scl_core.seeding import sent
from scl_core.settings import setting


@dataclass
class UniMatchConfig(WeakToStrongSettings):
    name: str = setting("unimatch", "The method.")
    strong_views: int = setting(2, "Strong views of each unlabeled picture.", low=2, high=4)
    strong_weight: float = setting(0.5, "Weight of all strong views together.", low=0.0)
    feature_weight: float = setting(0.5, "Weight of the view with perturbed features; 0 = no such view.", low=0.0)
    feature_dropout: float = setting(
        0.5, "Probability that a channel of the encoder's maps is dropped in that view.", low=0.0, high=0.9
    )


class UniMatch(Method):
    """L = (L_x + 0.25 L_s1 + 0.25 L_s2 + 0.5 L_fp) / 2 of Yang et al. 2023, each unlabeled loss that of FixMatch.

    Each strong view has its own colors and CutMix boxes; all of them go through the network in one pass. L_fp drops
    channels of the encoder's two maps, of the labeled pictures' too, decodes them beside the whole ones, and learns the
    unlabeled picture's own unmixed labels. With `structured_weight` the structured consistency of the strong views,
    their mean, is added inside the halved sum; see `scl_core.methods.parts` for its nearest relative.
    """

    config_class = UniMatchConfig
    num_strong = 2

    def __init__(self, student, config: UniMatchConfig, steps: int):
        super().__init__(student, config, steps)
        self.num_strong = config.strong_views
        if config.feature_weight and not (hasattr(student, "encode") and hasattr(student, "decode")):
            raise UserError(
                f"method.feature_weight {config.feature_weight} needs a network with encode and decode, which "
                f"{type(student).__name__} has not: choose an encoder of this project, or method.feature_weight 0"
            )
        if config.ema_decay is not None:
            self.teacher = EmaTeacher(student, config.ema_decay, warmup=True)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the strong views alone in it."""
        return smallest_pass(config.start, config.strong_views, train)

    def forward(self, batch, draws):
        """`supervised`; in the unlabeled part `strong_1`, ..., and where they have a weight `feature`, `structured`."""
        config, a, b = self.config, batch.unlabeled_a, batch.unlabeled_b
        if self.unlabeled_factor(draws.step) == 0.0:
            logits = self.student(batch.images).logits
            return {"supervised": self.labeled_loss(logits, batch.labels, config.relaxation_window)}
        partner = partner_target(self.student, b, config)
        labeled, of_weak, perturbed = self.weak_pass(batch, draws)
        weak = Weak(target(of_weak, a.valid, config), partner)
        self.note_targets(draws.step, weak.own.seen.probs, weak.own.valid)
        terms = {"supervised": self.labeled_loss(labeled.logits, batch.labels, config.relaxation_window)}
        terms |= self.strong_terms(batch, weak, draws)
        if perturbed is not None:
            terms["feature"] = pseudo_label_term(perturbed, weak.own, config.confidence_threshold)
        return terms

    def weak_pass(self, batch, draws: StepDraws) -> tuple[SegmenterOutput, SegmenterOutput, Tensor | None]:
        """Labeled and weak pictures in one pass, and logits of the weak ones from perturbed features."""
        images, weak, labeled = batch.images, batch.unlabeled_a.weak, len(batch.images)
        if not self.config.feature_weight:
            return *two_passes(self.student, images, weak, joint=True), None
        generators = draws.generators(batch.label_positions, "dropout-labeled")
        generators += draws.generators(batch.positions, "dropout")
        maps = self.student.encode(torch.cat([images, weak]))
        both = [torch.cat([whole, drop_channels(whole, self.config.feature_dropout, generators)]) for whole in maps]
        whole, perturbed = zip(*(part.chunk(2) for part in self.student.decode(*both, images.shape[-2:])), strict=True)
        of_labeled, of_weak = zip(*((part[:labeled], part[labeled:]) for part in whole), strict=True)
        return SegmenterOutput(*of_labeled), SegmenterOutput(*of_weak), perturbed[0][labeled:]

    def strong_terms(self, batch, weak: Weak, draws: StepDraws) -> dict[str, Tensor]:
        """The loss of each strong view, and the mean of their structured terms."""
        config, a, b = self.config, batch.unlabeled_a, batch.unlabeled_b
        views = range(config.strong_views)
        owners = [draw_owner_at_times(a, batch.positions, draws, config, view) for view in views]
        mixed = [cutmix(a.strong[view], b.strong[view], owners[view]) for view in views]
        parts = (part.chunk(len(views)) for part in self.student(torch.cat(mixed)))
        strong = [SegmenterOutput(*of_view) for of_view in zip(*parts, strict=True)]
        wanted = [weak.mixed(owner) for owner in owners]
        threshold = config.confidence_threshold
        losses = [pseudo_label_term(strong[view].logits, wanted[view], threshold) for view in views]
        terms = {f"strong_{view + 1}": losses[view] for view in views}
        if config.structured_weight:
            of_views = [
                structured_term(
                    seen_of(strong[view], config),
                    wanted[view].seen,
                    owners[view],
                    wanted[view].valid,
                    batch,
                    draws,
                    config,
                    stream("pairs", view),
                )
                for view in views
            ]
            terms["structured"] = sum(of_views) / len(of_views)
        return terms

    def weights(self, step):
        """The mean of the supervised and the weighted unlabeled part: each counts by half."""
        config, half = self.config, 0.5 * self.unlabeled_factor(step)
        each = half * config.strong_weight / config.strong_views
        weights = {"supervised": 0.5} | {f"strong_{view + 1}": each for view in range(config.strong_views)}
        others = {"feature": half * config.feature_weight, "structured": half * config.structured_weight}
        return weights | {name: others[name] for name in others if getattr(config, f"{name}_weight")}

    def probe(self, batch, draws) -> Probe:
        """The first pair's first strong view, mixed also where training left it unmixed; the network is its teacher."""
        settings = step_boxes(self.config, draws, batch.positions[0]).settings
        return probe_pair(self.student, self.student, batch, draws, settings)


def drop_channels(features: Tensor, probability: float, generators: list[torch.Generator]) -> Tensor:
    """Dropout of whole channels of features [B, D, h, w], drawn for each picture by its own generator."""
    kept = sent(kept_channels(features.shape[1], probability, generators), features.device).to(features.dtype)
    return features * kept[:, 0, :, None, None]
