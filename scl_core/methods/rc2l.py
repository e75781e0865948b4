"""RC2L (Zhang et al. 2022): a re-implementation from the paper's description, on a mask classification network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scl_core.cutmix import at_cells
from scl_core.distributed import global_mean
from scl_core.errors import UserError
from scl_core.losses.mask_classification import (
    hungarian_match,
    label_regions,
    mask_losses_sum,
    matching_cost,
    present_classes,
    query_classes_sum,
)
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
from scl_core.methods.teacher import build_teacher
from scl_core.models.queries import QueryOutput, QuerySegmenter
from scl_core.probe import Probe
from scl_core.settings import setting
from scl_core.structured_form import Seen

QUERY_CONFIDENCE = 0.5


@dataclass
class Rc2lConfig(RegionSettings):
    name: str = setting("rc2l", "The method.")
    num_queries: int = setting(100, "Queries, each with one mask; at least as many as classes.", low=1)
    decoder_layers: int = setting(6, "Layers of the transformer decoder, each with a loss.", low=1)
    heads: int = setting(8, "Attention heads; they divide model.decoder_channels.", low=1)
    decoder_dropout: float = setting(
        0.0, "Probability of dropout in the transformer decoder in training; 0.1 in MaskFormer.", low=0.0, high=0.9
    )
    teacher_regions: str = setting(
        "classes",
        "The teacher's regions: one for each class of its semantic map, or its own confident queries' masks.",
        choices=("classes", "queries"),
    )
    focal_weight: float = setting(20.0, "Weight of the focal loss of masks, in matching and supervised loss.", low=0.0)
    dice_weight: float = setting(1.0, "Weight of the dice loss of masks, in matching and supervised loss.", low=0.0)
    no_object_weight: float = setting(0.1, "Weight of queries without an object in the supervised loss.", low=0.0)
    region_no_object_weight: float = setting(
        0.0, "Weight of queries without a region in the region class consistency (RCC); 0 = not taught.", low=0.0
    )

    def __post_init__(self):
        super().__post_init__()
        if self.teacher_regions == "queries" and self.num_boxes:
            raise UserError(
                f"method.teacher_regions queries has masks of whole pictures, and method.num_boxes {self.num_boxes} "
                "mixes pictures: set method.num_boxes to 0, or method.teacher_regions to classes"
            )


class Rc2l(Method):
    """Region contrast and consistency between an averaged teacher's regions and the student's queries.

    Both are mask classification networks on the model's encoder, trained on labels by MaskFormer's loss. The student
    sees the strong view of a crop whose weak view the teacher sees, mixed with another by CutMix where `num_boxes`
    asks for it. Each of the teacher's regions is matched with one query of the student; RMC and RFC contrast its mask
    and its mean feature with the other queries', RCC teaches the class, SMC compares the semantic masks. What the
    paper's summary does not say (similarity, temperatures, weights, the choice of regions) are settings.
    """

    config_class = Rc2lConfig
    num_strong = 1

    def __init__(self, student, config: Rc2lConfig, steps: int):
        super().__init__(self.own_network(student, config), config, steps)
        self.teacher = build_teacher(self.student, config, steps)

    @classmethod
    def own_network(cls, segmenter, config):
        """Queries on the encoder of the model's network."""
        return segmenter if isinstance(segmenter, QuerySegmenter) else with_queries(segmenter, config)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone before the unlabeled part, the smaller part where each has its own pass."""
        return smallest_part(config.joint_forward, config.start, train)

    def forward(self, batch, draws):
        """The term `supervised`, and in the unlabeled part the region terms and, with a weight, `structured`."""
        return region_step(self, batch, draws)

    @property
    def dropout(self) -> float:
        """The student's, in the transformer decoder; pictures without a key have none."""
        return self.config.decoder_dropout

    def reader(self, network):
        """What the queries of the student's or the teacher's network answer."""
        return lambda pictures, *keys: network.queries(pictures, *keys, *[self.dropout] * len(keys))

    def seen(self, output: QueryOutput, size: tuple[int, int]) -> Seen:
        """What the structured term reads: probabilities of pictures of `size` (H, W), and the pixel decoder's map."""
        probs = self.student.logits(output, size).softmax(1)
        return Seen(probs, output.features if self.config.structured_on == "features" else None)

    def labeled_term(self, output: QueryOutput, labels: Tensor) -> Tensor:
        """MaskFormer's loss, each layer with a matching of its own; its weights are inside.

        Departures of ours: the mean over the layers, not their sum; ignored pixels take no part, where MaskFormer
        counts them as outside of every mask.
        """
        config, num_layers, num_classes = self.config, output.class_logits.shape[1], output.class_logits.shape[3] - 1
        present = present_classes(labels, num_classes)
        small = label_regions(at_cells(labels, output.features.shape[-2:]), num_classes)
        regions = Regions(small.classes, present, small.kept, labels=small.labels)
        classes = focal = dice = 0.0
        for layer in range(num_layers):
            class_logits, masks = output.class_logits[:, layer], output.masks(layer)
            cost = matching_cost(class_logits, masks, regions, config.focal_weight, config.dice_weight)
            match = hungarian_match(cost, present)
            layer_classes, weight = query_classes_sum(class_logits, present, match, config.no_object_weight)
            layer_focal, layer_dice, count = mask_losses_sum(masks, labels, present, match)
            classes, focal, dice = classes + layer_classes, focal + layer_focal, dice + layer_dice
        masks = global_mean(config.focal_weight * focal + config.dice_weight * dice, count)
        return (global_mean(classes, weight) + masks) / num_layers

    @torch.no_grad()
    def teacher_side(self, seen: QueryOutput, owner: Tensor | None, valid: Tensor) -> TeacherSide:
        """The regions in the teacher's mixed semantic masks, or its own queries'."""
        config = self.config
        semantic = mix_halves(seen.semantic(), owner)
        valid = at_cells(valid, semantic.shape[-2:])
        if config.teacher_regions == "queries":
            regions = query_regions(seen, valid, config.min_area)
        else:
            regions = class_regions(semantic, valid, config.min_confidence, config.min_area)
        return TeacherSide(regions, semantic, mix_halves(seen.features, owner))

    def region_terms(self, output: QueryOutput, teacher: TeacherSide) -> dict[str, Tensor]:
        """The four terms for the student's queries, each region's own found by the cost of MaskFormer's matching."""
        masks, match = self.matched(output, teacher.regions)
        pooled, class_logits = mask_average_pool(output.features, masks), output.class_logits[:, -1]
        weight = self.config.region_no_object_weight
        return region_terms(masks, pooled, class_logits, output.semantic(), teacher, match, self.config, weight)

    def matched(self, output: QueryOutput, regions: Regions) -> tuple[Tensor, Tensor]:
        """The queries' masks [B, N, h, w] at the regions' pixels, and the query of each region, int64 [B, K]."""
        mask_logits, weights = output.masks(), (self.config.focal_weight, self.config.dice_weight)
        cost = matching_cost(output.class_logits[:, -1], mask_logits, regions, *weights)
        return mask_logits.sigmoid() * regions.kept.unsqueeze(1), hungarian_match(cost, regions.present)

    def matched_masks(self, pictures: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """The student's masks of pictures [B, 3, H, W], and which of them answers for each region."""
        return self.matched(self.student.queries(pictures), regions)

    def weights(self, step):
        """The supervised term counts fully, the others by their weight and the ramp."""
        return term_weights(self.config, self.unlabeled_factor(step))

    def probe(self, batch, draws) -> Probe | None:
        """The first unlabeled pair of the batch taken apart, where CutMix is on."""
        return region_probe(self, batch, draws)


@torch.no_grad()
def query_regions(seen: QueryOutput, valid: Tensor, min_area: int) -> Regions:
    """The teacher's queries that are more likely than not some object: soft masks, which may overlap; K = N."""
    probs, classes = seen.class_logits[:, -1].softmax(2)[..., :-1].max(2)
    masks = seen.masks().sigmoid() * valid.unsqueeze(1)
    present = (probs > QUERY_CONFIDENCE) & (masks.sum((2, 3)) >= min_area)
    return Regions(classes, present, valid & present.any(1).view(-1, 1, 1), masks=masks)


def with_queries(segmenter: torch.nn.Module, config: Rc2lConfig) -> QuerySegmenter:
    """A mask classification network on the encoder of `segmenter`, as wide as its decoder and for as many classes.

    Raises `UserError` for a network of the user's own, for too few queries, and for heads that do not divide the width.
    """
    encoder, classifier = getattr(segmenter, "encoder", None), getattr(segmenter, "classifier", None)
    if not hasattr(encoder, "low_channels") or classifier is None:
        raise UserError(
            "method.name rc2l builds its own decoders on an encoder of this project, and model.encoder names a network "
            "of its own: choose another model.encoder, or method.name rc2l_pp"
        )
    num_classes, width = classifier.out_channels, classifier.in_channels
    if config.num_queries < num_classes:
        raise UserError(
            f"method.num_queries {config.num_queries} is less than the data's {num_classes} classes: each needs a query"
        )
    if width % config.heads:
        raise UserError(f"method.heads {config.heads} does not divide model.decoder_channels {width}")
    return QuerySegmenter(encoder, num_classes, width, config.num_queries, config.decoder_layers, config.heads)
