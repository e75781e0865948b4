"""FixMatch for segmentation: hard labels of a weak view, where the network is sure, teach it a strong view."""

from dataclasses import dataclass

from scl_core.cutmix import cutmix
from scl_core.ema import EmaTeacher
from scl_core.methods.base import Method
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
    target,
)
from scl_core.probe import Probe, probe_pair
from scl_core.settings import setting


@dataclass
class FixMatchConfig(WeakToStrongSettings):
    name: str = setting("fixmatch", "The method.")
    unlabeled_weight: float = setting(1.0, "Weight of the loss of the strong view beside the supervised one.", low=0.0)


class FixMatch(Method):
    """FixMatch (Sohn et al. 2020) as Yang et al. (UniMatch, CVPR 2023) use it: L = (L_x + L_u) / 2.

    One network. The weak view passes with the labeled pictures and gives hard labels; its CutMix partner, another
    picture, is labeled in eval mode; a strong view, mixed in half of the cases, learns the confident labels of both.
    With `structured_weight` the structured consistency of the strong view with the weak views is added, inside the
    halved sum; see `scl_core.methods.parts` for its nearest relative.
    """

    config_class = FixMatchConfig
    num_strong = 1

    def __init__(self, student, config: FixMatchConfig, steps: int):
        super().__init__(student, config, steps)
        if config.ema_decay is not None:
            self.teacher = EmaTeacher(student, config.ema_decay, warmup=True)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the strong views alone in it."""
        return smallest_pass(config.start, 1, train)

    def forward(self, batch, draws):
        """The terms `supervised`, in the unlabeled part `pseudo_label` and, where it has a weight, `structured`."""
        config, a, b = self.config, batch.unlabeled_a, batch.unlabeled_b
        if self.unlabeled_factor(draws.step) == 0.0:
            logits = self.student(batch.images).logits
            return {"supervised": self.labeled_loss(logits, batch.labels, config.relaxation_window)}
        partner = partner_target(self.student, b, config)
        labeled, weak = two_passes(self.student, batch.images, a.weak, joint=True)
        owner = draw_owner_at_times(a, batch.positions, draws, config, view=0)
        strong = self.student(cutmix(a.strong[0], b.strong[0], owner))
        wanted = Weak(target(weak, a.valid, config), partner).mixed(owner)
        self.note_targets(draws.step, wanted.seen.probs, wanted.valid)
        terms = {
            "supervised": self.labeled_loss(labeled.logits, batch.labels, config.relaxation_window),
            "pseudo_label": pseudo_label_term(strong.logits, wanted, config.confidence_threshold),
        }
        if config.structured_weight:
            student = seen_of(strong, config)
            terms["structured"] = structured_term(student, wanted.seen, owner, wanted.valid, batch, draws, config)
        return terms

    def weights(self, step):
        """The mean of the supervised and the weighted unlabeled part: each counts by half."""
        config, half = self.config, 0.5 * self.unlabeled_factor(step)
        weights = {"supervised": 0.5, "pseudo_label": half * config.unlabeled_weight}
        return weights | ({"structured": half * config.structured_weight} if config.structured_weight else {})

    def probe(self, batch, draws) -> Probe:
        """The first pair of the batch, mixed also where training left it unmixed; the network is its own teacher."""
        settings = step_boxes(self.config, draws, batch.positions[0]).settings
        return probe_pair(self.student, self.student, batch, draws, settings)
