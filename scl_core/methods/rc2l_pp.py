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
from scl_core.methods.parts import smallest_part
from scl_core.methods.region_parts import (
    RegionSettings,
    TeacherSide,
    mix_halves,
    region_probe,
    region_step,
    region_terms,
    term_weights,
)
from scl_core.methods.structure import seen_of
from scl_core.methods.teacher import build_teacher
from scl_core.models import SegmenterOutput
from scl_core.probe import Probe
from scl_core.settings import setting
from scl_core.structured_form import Seen


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
    dropout = 0.0

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
        return region_step(self, batch, draws)

    def reader(self, network):
        """The student's or the teacher's network as it is."""
        return network

    def labeled_term(self, output: SegmenterOutput, labels: Tensor) -> Tensor:
        """Eq. 2 of the logits, with the window of the settings."""
        return self.supervised_loss(output.logits, labels, self.config.relaxation_window)

    def seen(self, output: SegmenterOutput, size: tuple[int, int]) -> Seen:
        """What the structured term reads: probabilities, which have the pictures' size, and features."""
        return seen_of(output, self.config)

    @torch.no_grad()
    def teacher_side(self, seen: SegmenterOutput, owner: Tensor | None, valid: Tensor) -> TeacherSide:
        """A region for each class of the teacher's mixed probability maps."""
        config = self.config
        probs = mix_halves(self.teacher.model.classifier(seen.features).softmax(1), owner)
        regions = class_regions(probs, at_cells(valid, probs.shape[-2:]), config.min_confidence, config.min_area)
        return TeacherSide(regions, probs, mix_halves(seen.features, owner))

    def region_terms(self, output: SegmenterOutput, teacher: TeacherSide) -> dict[str, Tensor]:
        """The four terms for the student's output: the mask of class c answers for region c."""
        features = output.features
        probs = self.student.classifier(features).softmax(1)
        masks = probs * teacher.regions.kept.unsqueeze(1)
        pooled = mask_average_pool(features, masks)
        class_logits = self.student.classifier(pooled.to(features.dtype).mT.unsqueeze(3)).squeeze(3).mT
        return region_terms(masks, pooled, class_logits, probs, teacher, teacher.regions.classes, self.config)

    def matched_masks(self, pictures: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """The student's class maps of pictures [B, 3, H, W]; that of class c answers for region c."""
        probs = self.student.classifier(self.student(pictures).features).softmax(1)
        return probs * regions.kept.unsqueeze(1), regions.classes

    def weights(self, step):
        """The supervised term counts fully, the others by their weight and the ramp."""
        return term_weights(self.config, self.unlabeled_factor(step))

    def probe(self, batch, draws) -> Probe | None:
        """The first unlabeled pair of the batch taken apart, where CutMix is on."""
        return region_probe(self, batch, draws)
