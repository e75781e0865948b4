"""Prototype-based consistency regularisation (Xu et al. 2022): linear and prototype predictor on the same features."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scl_core.cutmix import cutmix
from scl_core.data.images import IGNORE_INDEX
from scl_core.data.pictures import PictureList
from scl_core.distributed import from_main, global_mean, rank, sum_over_ranks
from scl_core.errors import UserError
from scl_core.losses.confidence import least_entropy
from scl_core.losses.prototype import (
    gather_features,
    prototype_loss_sum,
    prototype_sums,
    sample_grid,
    update_prototypes,
)
from scl_core.losses.supervised import relaxed_cross_entropy_sum
from scl_core.methods.base import Method, StepDraws
from scl_core.methods.parts import (
    StructuredSettings,
    check_sides,
    draw_owner,
    sides_setting,
    smallest_part,
)
from scl_core.methods.prototype_start import first_prototypes, labeled_pictures, widths
from scl_core.methods.structure import seen_of, structured_term, teacher_seen
from scl_core.methods.teacher import TeacherSettings, build_teacher
from scl_core.models.deeplabv3plus import DeepLabV3Plus, SegmenterOutput
from scl_core.models.weights import split_beside, with_beside
from scl_core.models.wide_head import WideHeadSegmenter
from scl_core.probe import Probe, probe_pair
from scl_core.settings import setting
from scl_core.sharding import whole
from scl_core.structured_form import Seen

PROTOTYPES = "prototypes"


@dataclass
class PcrConfig(StructuredSettings, TeacherSettings):
    name: str = setting("pcr", "The method.")
    box_sides: str = sides_setting()
    cutmix_probability: float = setting(
        0.5, "Probability that a step's unlabeled pictures are mixed.", low=0.0, high=1.0
    )
    start: float = setting(
        0.2, "Share of the steps trained on labels alone; then come the prototypes.", low=0.0, high=1.0
    )
    ramp: float = setting(
        0.0, "Share of the steps over which the weights but the supervised rise to their value.", low=0.0, high=1.0
    )
    pseudo_label_weight: float = setting(
        1.0, "Weight of the teacher's labels for the linear predictor (lambda_u).", low=0.0
    )
    prototype_weight: float = setting(1.0, "Weight of both losses of the prototype predictor (w_p).", low=0.0)
    confidence_threshold: float = setting(
        0.8, "Least probability of a teacher's label that counts (0.65 on Cityscapes).", low=0.0, high=1.0
    )
    normalise: str = setting(
        "kept",
        "What the sum of the linear predictor's unlabeled loss is divided by: the confident pixels, or all valid ones.",
        choices=("kept", "valid"),
    )
    drop_percent: float = setting(
        0.0,
        "Percent of the teacher's labels, those of the largest entropy, that the linear predictor leaves out at first; "
        "falls to 0 by the last step. 20 in the authors' files, which write what is kept, 80; 0 = none.",
        low=0.0,
        high=99.0,
    )
    paper_head: bool = setting(
        False,
        "Decode as the paper's network does: features of twice model.decoder_channels, which a head of three "
        "convolutions and the prototypes read. False: the features that the shared network's classifier reads.",
    )
    decoder_dropout: float = setting(
        0.0,
        "Probability that a channel of the paper's decoder is dropped in training, 0.1 in the paper; with paper_head.",
        low=0.0,
        high=0.9,
    )
    auxiliary_weight: float = setting(
        0.0,
        "Weight of the labeled loss of a second small head that reads a resnet's third stage, 0.4 on Cityscapes in the "
        "paper; with paper_head. 0 = no such head.",
        low=0.0,
    )
    num_prototypes: int = setting(4, "Prototypes of each class (K; 3 on Cityscapes).", low=1)
    temperature: float = setting(0.1, "Temperature of the prototype predictor (T).", low=0.001)
    prototype_momentum: float = setting(0.99, "Share of a prototype that an update keeps.", low=0.0, high=1.0)
    update_from: str = setting(
        "both",
        "What moves the prototypes: labeled pixels, or confident unlabeled ones too.",
        choices=("both", "labeled"),
    )
    update_on_cutmix: bool = setting(True, "Let unlabeled pictures move the prototypes also in steps that mix them.")
    grid: int = setting(32, "Cells a side of the raster; the prototype predictor sees one pixel of each.", low=1)
    start_pixels_per_picture: int = setting(5000, "Labeled pixels of a picture in the first k-means, at most.", low=1)
    start_pixels_per_class: int = setting(50000, "Labeled pixels of a class in the first k-means, at most.", low=1)
    ohem_threshold: float | None = setting(
        0.7, "Supervise only pixels whose class has at most this probability; empty = every pixel.", low=0.0, high=1.0
    )
    ohem_min_kept: int = setting(50000, "Pixels per labeled picture that are supervised at least, with OHEM.", low=0)

    def __post_init__(self):
        super().__post_init__()
        check_sides(self)
        for name in ("decoder_dropout", "auxiliary_weight"):
            if getattr(self, name) and not self.paper_head:
                raise UserError(
                    f"method.{name} {getattr(self, name)} is of the paper's decoder: set method.paper_head to true, or "
                    f"method.{name} to 0"
                )


class Unlabeled(NamedTuple):
    """The unlabeled part of a step, mixed or not."""

    pictures: Tensor  # [B, 3, H, W], what the student sees
    seen: Seen  # by the teacher, mixed alike
    valid: Tensor  # bool [B, H, W]
    owner: Tensor  # int64 [B, H, W]
    is_mixed: bool


class Pcr(Method):
    """Xu et al., "Semi-supervised semantic segmentation with prototype-based consistency regularization" (2022).

    Their training loop was not released; this one follows the paper, their network and their settings. A warm start on
    labels alone, with the teacher equal to the student; then prototypes by k-means over the labeled pictures, once, in
    eval mode; then all losses. The teacher's linear predictor gives the labels, for both predictors of the student.
    Both read the features of the shared network, or with `paper_head` those of the paper's decoder, which may have the
    paper's dropout and auxiliary loss. Their files carry U2PL's filter of uncertain labels, `drop_percent`, most likely
    unused. Prototypes move after the step, by the student's features of that step.
    With `structured_weight` the structured consistency is added: see `scl_core.methods.parts`.
    """

    config_class = PcrConfig
    num_strong = 1
    prototypes: Tensor  # [C, K, D]; zeros before the warm start has ended

    def __init__(self, student, config: PcrConfig, steps: int):
        student = self.own_network(student, config)
        super().__init__(student, config, steps)
        self.teacher = build_teacher(student, config, steps)
        num_classes, channels = widths(student)
        like = next(student.parameters())
        self.register_buffer(PROTOTYPES, like.new_zeros(num_classes, config.num_prototypes, channels).detach())
        self.labeled: PictureList | None = None
        self.received: tuple[Tensor, Tensor] | None = None

    @classmethod
    def own_network(cls, segmenter, config):
        """The model's network, or with `paper_head` the paper's decoder on its encoder."""
        if not config.paper_head or isinstance(segmenter, WideHeadSegmenter):
            return segmenter
        if not isinstance(segmenter, DeepLabV3Plus):
            raise UserError(
                "method.paper_head builds its decoder on an encoder of this project, and model.encoder names a network "
                "of its own: choose another model.encoder, or set method.paper_head to false"
            )
        if config.auxiliary_weight and not hasattr(segmenter.encoder, "three_maps"):
            raise UserError(
                f"method.auxiliary_weight {config.auxiliary_weight} reads the third stage of a resnet: set "
                "model.encoder to resnet18, resnet50 or resnet101, or method.auxiliary_weight to 0"
            )
        return WideHeadSegmenter(segmenter, auxiliary=config.auxiliary_weight > 0)

    @classmethod
    def smallest_forward(cls, config, train):
        """The labeled pictures alone in the warm start, labeled and unlabeled ones together without one."""
        return smallest_part(True, config.start, train)

    def read_labeled(self, pictures):
        self.labeled = pictures

    def forward(self, batch, draws):
        """The term `supervised`; after the warm start also `pseudo_label`, two of the prototypes, and `structured`.

        Also `auxiliary` in every step, where it has a weight.
        """
        if self.unlabeled_factor(draws.step) == 0.0:
            logits, _, auxiliary = self.learning_pass(batch.images, batch, draws)
            return self.labeled_terms(logits, auxiliary, batch.labels)
        if not self.prototypes.any():
            with whole(self.student):  # which rank 0 runs without the others
                self.prototypes.copy_(from_main(self.first_prototypes(batch, draws) if rank() == 0 else None))
        unlabeled = self.unlabeled(batch, draws)
        self.note_targets(draws.step, unlabeled.seen.probs, unlabeled.valid)
        count = len(batch.images)
        pictures = torch.cat([batch.images, unlabeled.pictures])
        logits, features, auxiliary = self.learning_pass(pictures, batch, draws)
        labels = self.teacher_labels(unlabeled)
        terms = self.labeled_terms(logits[:count], auxiliary[:count], batch.labels)
        terms["pseudo_label"] = self.pseudo_label_loss(logits[count:], labels, unlabeled, draws.step)
        terms |= self.prototype_terms(features, batch.labels, labels, unlabeled.is_mixed, draws)
        if self.config.structured_weight:
            student = seen_of(SegmenterOutput(logits[count:], features[count:]), self.config)
            shared = (unlabeled.owner, unlabeled.valid, batch, draws, self.config)
            terms["structured"] = structured_term(student, unlabeled.seen, *shared)
        return terms

    def learning_pass(self, pictures: Tensor, batch, draws: StepDraws) -> tuple[Tensor, Tensor, Tensor]:
        """The student's logits, features and auxiliary logits of the labeled `pictures`, or of them and the mixed ones.

        With the paper's decoder its channels are dropped as each picture's own draws say.
        """
        if not self.config.paper_head:
            logits, features = self.student(pictures)
            return logits, features, logits[:, :0]
        if not self.config.decoder_dropout:
            return self.student.training_pass(pictures)
        generators = draws.generators(batch.label_positions, "dropout-labeled")
        if len(pictures) > len(batch.images):
            generators += draws.generators(batch.positions, "dropout")
        return self.student.training_pass(pictures, self.student.draw_kept(self.config.decoder_dropout, generators))

    def labeled_terms(self, logits: Tensor, auxiliary: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of the labeled pictures by the linear predictor, and by the auxiliary head where there is one."""
        terms = {"supervised": self.labeled_loss(logits, labels)}
        return terms | ({"auxiliary": self.labeled_loss(auxiliary, labels)} if self.config.auxiliary_weight else {})

    def unlabeled(self, batch, draws: StepDraws) -> Unlabeled:
        """The strong views and the teacher's answers to the weak ones, both mixed when the step's draw says so."""
        a, b = batch.unlabeled_a, batch.unlabeled_b
        coin = torch.rand((), generator=draws.generators((0,), "cutmix")[0])
        if coin >= self.config.cutmix_probability:
            owner = torch.full_like(a.valid, -1, dtype=torch.int64)
            with torch.no_grad():
                seen = seen_of(self.teacher.model(a.weak), self.config)
            return Unlabeled(a.strong[0], seen, a.valid, owner, is_mixed=False)
        owner = draw_owner(a, batch.positions, draws, self.config)
        seen = teacher_seen(self.teacher.model, a, b, owner, self.config)
        return Unlabeled(
            cutmix(a.strong[0], b.strong[0], owner), seen, cutmix(a.valid, b.valid, owner), owner, is_mixed=True
        )

    def teacher_labels(self, unlabeled: Unlabeled) -> Tensor:
        """The teacher's most probable classes, int64 [B, H, W], ignored where it is not confident and on padding."""
        confidence, labels = unlabeled.seen.probs.max(1)
        counts = (confidence >= self.config.confidence_threshold) & unlabeled.valid
        return labels.masked_fill(~counts, IGNORE_INDEX)

    def pseudo_label_loss(self, logits: Tensor, labels: Tensor, unlabeled: Unlabeled, step: int) -> Tensor:
        """L_u: the linear predictor learns the teacher's confident labels; logits [B, C, H, W], labels [B, H, W].

        With `drop_percent` those of the largest entropy are left out, and the loss is multiplied by all over kept.
        """
        factor = 1.0
        if dropped := self.config.drop_percent / 100 * (1 - step / self.steps):
            counted = labels != IGNORE_INDEX
            certain = least_entropy(unlabeled.seen.probs, counted, 1 - dropped, sum_over_ranks)
            labels = labels.masked_fill(~certain, IGNORE_INDEX)
            factor = sum_over_ranks(counted.sum()) / sum_over_ranks(certain.sum()).clamp(min=1)
        total, kept = relaxed_cross_entropy_sum(logits, labels, window=1)
        return factor * global_mean(total, kept if self.config.normalise == "kept" else unlabeled.valid.sum())

    def prototype_terms(
        self, features: Tensor, labels: Tensor, pseudo: Tensor, is_mixed: bool, draws: StepDraws
    ) -> dict[str, Tensor]:
        """L_p of the labeled and of the unlabeled pictures, at the same pixels of every picture of the step.

        features [L + B, D, h, w], labels [L, H, W], pseudo [B, H, W]. Keeps what the prototypes will receive.
        """
        config, size = self.config, labels.shape[-2:]
        places = sample_grid(*size, config.grid, draws.generators((0,), "pixels")[0])
        rows, columns = places.to(labels.device).unbind(1)
        chosen = gather_features(features, places, size).split([len(labels), len(pseudo)])
        parts = {
            f"prototype_{name}": (part.flatten(0, 1), of_part[:, rows, columns].flatten())
            for name, part, of_part in zip(("labeled", "unlabeled"), chosen, (labels, pseudo), strict=True)
        }
        only_labeled = config.update_from == "labeled" or (is_mixed and not config.update_on_cutmix)
        self.receive(list(parts.values())[: 1 if only_labeled else 2])
        return {
            name: global_mean(*prototype_loss_sum(*part, self.prototypes, config.temperature))
            for name, part in parts.items()
        }

    @torch.no_grad()
    def receive(self, parts: list[tuple[Tensor, Tensor]]) -> None:
        """Keep the features [N, D] with labels [N] of all ranks for the prototypes, which move after the step."""
        features, labels = (torch.cat(tensors).detach() for tensors in zip(*parts, strict=True))
        sums, counts = prototype_sums(features, labels, self.prototypes)
        self.received = sum_over_ranks(sums), sum_over_ranks(counts)

    def first_prototypes(self, batch, draws: StepDraws) -> Tensor:
        """k-means over the labeled pictures, or over this batch's where the method has been given no list."""
        (generator,) = draws.generators((0,), "first prototypes")
        given = self.labeled is not None
        pictures = labeled_pictures(self.labeled, generator) if given else zip(batch.images, batch.labels, strict=True)
        limits = (self.config.start_pixels_per_picture, self.config.start_pixels_per_class)
        return first_prototypes(self.student, pictures, tuple(self.prototypes.shape), *limits, generator)

    def after_step(self, step):
        """Teacher and prototypes move; the teacher is the student in the warm start, its average begins after it."""
        alone = int(self.config.start * self.steps)
        self.teacher.updates.fill_(max(0, step - 1 - alone))
        if step <= alone:
            self.teacher.restart(self.student)
        else:
            super().after_step(step)
        if self.received is not None:
            self.prototypes.copy_(update_prototypes(self.prototypes, *self.received, self.config.prototype_momentum))
            self.received = None

    def weights(self, step):
        """The weights of the settings, times the ramp those of unlabeled pictures and prototypes."""
        config, factor = self.config, self.unlabeled_factor(step)
        weights = {"pseudo_label": config.pseudo_label_weight}
        weights |= dict.fromkeys(("prototype_labeled", "prototype_unlabeled"), config.prototype_weight)
        weights |= {"structured": config.structured_weight} if config.structured_weight else {}
        labeled = {"supervised": 1.0} | ({"auxiliary": config.auxiliary_weight} if config.auxiliary_weight else {})
        return labeled | {name: factor * weight for name, weight in weights.items()}

    def probe(self, batch, draws) -> Probe:
        """The first unlabeled pair of the batch as a step that mixes sees it."""
        return probe_pair(self.student, self.teacher.model, batch, draws, self.config)

    def tensors(self):
        """Teacher and student, the prototypes in the student's file."""
        student = with_beside(self.student.state_dict(), {PROTOTYPES: self.prototypes})
        return super().tensors() | {"student": student}

    def load_tensors(self, tensors, step):
        """Put back what `tensors` gave. Raises `UserError` when the file has no prototypes, or has those of others."""
        student, beside = split_beside(tensors["student"])
        if PROTOTYPES not in beside:
            raise UserError("this checkpoint has no prototypes, so it is of another method than pcr")
        stored = beside[PROTOTYPES]
        if stored.shape != self.prototypes.shape:
            there, here = ("{} classes, {} each, of {} channels".format(*p.shape) for p in (stored, self.prototypes))
            raise UserError(
                f"this checkpoint has prototypes for {there}; the run's data, method.num_prototypes and "
                f"model.decoder_channels need {here}: give a checkpoint of this run"
            )
        super().load_tensors(tensors | {"student": student}, step)
        self.prototypes.copy_(stored)
