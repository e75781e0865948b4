"""RC2L for per-pixel networks: a variant of ours of RC2L (Zhang et al. 2022), so that it runs on DeepLabV3+.

A re-implementation from the paper's description, which is of mask classification: here the classes' probability maps
take the place of the queries' masks, and need no matching.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scl_core.cutmix import at_cells
from scl_core.errors import UserError
from scl_core.losses.region import Regions, class_regions, mask_average_pool
from scl_core.methods.base import Method
from scl_core.methods.parts import smallest_part, two_passes
from scl_core.methods.region_parts import (
    RegionSettings,
    TeacherSide,
    mix_halves,
    region_terms,
    student_side,
    term_weights,
)
from scl_core.methods.structure import mixed_halves, seen_of, structured_term
from scl_core.methods.teacher import build_teacher
from scl_core.models import SegmenterOutput
from scl_core.probe import Probe, probe_pair
from scl_core.schedule import unlabeled_factor
from scl_core.settings import setting


@dataclass
class Rc2lPpConfig(RegionSettings):
    name: str = setting("rc2l_pp", "The method.")
    relaxation_window: int = setting(1, "Side of the label relaxation's window; 1 is cross entropy.", low=1)


class Rc2lPp(Method):
    """Region contrast and consistency between an averaged teacher's regions and the student's class maps.

    The student sees the strong view of a crop whose weak view the teacher sees, mixed with another by CutMix where
    `num_boxes` asks for it. At the feature map's size, the student's mask of class c is its probability map, and its
    partner is the teacher's region of class c, if there is one. RMC and RFC contrast it with the other classes' masks;
    RCC is the cross entropy of the classifier on the mean feature of each mask; SMC compares the probability maps.
    """

    config_class = Rc2lPpConfig
    num_strong = 1

    def __init__(self, student, config: Rc2lPpConfig, steps: int):
        super().__init__(student, config, steps)
        if not isinstance(getattr(student, "classifier", None), nn.Conv2d):
            raise UserError(
                "method.name rc2l_pp classifies the mean feature of a region, and the network of model.encoder has no "
                "`classifier`, a 1x1 convolution that reads its `.features`: choose another model.encoder"
            )
        self.teacher = build_teacher(student, config, steps)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the smaller part where each has its own pass."""
        return smallest_part(config.joint_forward, config.start, train)

    def forward(self, batch, draws):
        """The term `supervised`, and in the unlabeled part the region terms and, with a weight, `structured`."""
        config, a, b = self.config, batch.unlabeled_a, batch.unlabeled_b
        if self.unlabeled_factor(draws.step) == 0.0:
            logits = self.student(batch.images).logits
            return {"supervised": self.supervised_loss(logits, batch.labels, config.relaxation_window)}
        pictures, valid, owner = student_side(batch, draws, config)
        labeled, unlabeled = two_passes(self.student, batch.images, pictures, config.joint_forward)
        seen = self.teacher_output(a, b, owner)
        if self.watches(draws.step):
            self.note_targets(draws.step, mix_halves(seen.logits.softmax(1), owner), valid)
        terms = {"supervised": self.supervised_loss(labeled.logits, batch.labels, config.relaxation_window)}
        terms |= self.region_terms(unlabeled.features, self.teacher_side(seen, owner, valid))
        if config.structured_weight:
            student, teacher = seen_of(unlabeled, config), mixed_halves(seen_of(seen, config), owner)
            terms["structured"] = structured_term(student, teacher, owner, valid, batch, draws, config)
        return terms

    @torch.no_grad()
    def teacher_output(self, a, b, owner: Tensor | None) -> SegmenterOutput:
        """The teacher on whole weak pictures: the first of each pair, and the second where they are mixed."""
        return self.teacher.model(a.weak if owner is None else torch.cat([a.weak, b.weak]))

    @torch.no_grad()
    def teacher_side(self, seen: SegmenterOutput, owner: Tensor | None, valid: Tensor) -> TeacherSide:
        """A region for each class of the teacher's mixed probability maps."""
        config = self.config
        probs = mix_halves(self.teacher.model.classifier(seen.features).softmax(1), owner)
        regions = class_regions(probs, at_cells(valid, probs.shape[-2:]), config.min_confidence, config.min_area)
        return TeacherSide(regions, probs, mix_halves(seen.features, owner))

    def region_terms(self, features: Tensor, teacher: TeacherSide) -> dict[str, Tensor]:
        """The four terms for the student's features [B, D, h, w]: the mask of class c answers for region c."""
        probs = self.student.classifier(features).softmax(1)
        masks = probs * teacher.regions.kept.unsqueeze(1)
        pooled = mask_average_pool(features, masks)
        class_logits = self.student.classifier(pooled.to(features.dtype).mT.unsqueeze(3)).squeeze(3).mT
        return region_terms(masks, pooled, class_logits, probs, teacher, teacher.regions.classes, self.config)

    def matched_masks(self, pictures: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """The student's class maps of pictures [B, 3, H, W]; that of class c answers for region c."""
        probs = self.student.classifier(self.student(pictures).features).softmax(1)
        return probs * regions.kept.unsqueeze(1), regions.classes

    def unlabeled_factor(self, step: int) -> float:
        """The share of the unlabeled weights that holds at this step."""
        return unlabeled_factor(step, self.steps, self.config.start, self.config.ramp)

    def weights(self, step):
        """The supervised term counts fully, the others by their weight and the ramp."""
        return term_weights(self.config, self.unlabeled_factor(step))

    def probe(self, batch, draws) -> Probe | None:
        """The first unlabeled pair of the batch taken apart, where CutMix is on."""
        if not self.config.num_boxes:
            return None
        return probe_pair(self.student, self.teacher.model, batch, draws, self.config)
