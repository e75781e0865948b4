"""Region losses of RC2L (Zhang et al. 2022): a re-implementation from the paper's description.

A region is a mask with a class. What the losses need of a picture's regions are sums over their pixels; since regions
of classes are disjoint, these are segment sums, O(N P) for N maps of P pixels, without a tensor of regions x pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SIMILARITIES = ("dice", "cosine")
DISTANCES = ("dice", "mse", "ce")
NEGATIVES = ("all", "matched")
POOLING_EPS = 1e-6
SMALLEST_SQUARE = 1e-12
Pictures = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class Regions:
    """The teacher's regions of B pictures: K places a picture, of which some are taken. No gradient passes.

    `classes` int64 [B, K] and `present` bool [B, K]; `kept` bool [B, h, w], False where a pixel takes no part. Their
    pixels are either `labels` int64 [B, h, w], the region that each pixel belongs to, K for none, or, where regions
    overlap or are soft, `masks` [B, K, h, w].
    """

    classes: Tensor
    present: Tensor
    kept: Tensor | None = None
    labels: Tensor | None = None
    masks: Tensor | None = None

    def sums(self, values: Tensor) -> Tensor:
        """sum_x t_k(x) v_n(x) for maps `values` [B, N, h, w]: [B, K, N]."""
        values = values.flatten(2)
        if self.masks is not None:
            return self.masks.flatten(2).to(values.dtype) @ values.mT
        labels, num_regions = self.labels.flatten(1), self.present.shape[1]
        return torch.stack([segment_sums(v, label, num_regions) for v, label in zip(values, labels, strict=True)])

    def sizes(self) -> tuple[Tensor, Tensor]:
        """The sums of t_k and of its square, both [B, K], float32 at least."""
        if self.masks is not None:
            masks = in_float32(self.masks).flatten(2)
            return masks.sum(2), masks.square().sum(2)
        area = self.sums(torch.ones_like(self.labels, dtype=torch.float32).unsqueeze(1)).squeeze(2)
        return area, area

    def pool(self, features: Tensor) -> Tensor:
        """`mask_average_pool` of the teacher's map [B, D, h, w] by the regions: [B, K, D], without gradient."""
        features = in_float32(features.detach())
        return self.sums(features) / (self.sizes()[0].to(features.dtype).unsqueeze(2) + POOLING_EPS)


def segment_sums(values: Tensor, labels: Tensor, num_regions: int) -> Tensor:
    """Sums of `values` [N, P] over the pixels of each region; labels int64 [P] below K, or K for none: [K, N]."""
    sums = values.new_zeros(len(values), num_regions + 1)
    return sums.index_add(1, labels, values)[:, :num_regions].mT


@torch.no_grad()
def class_regions(
    probs: Tensor, valid: Tensor | None = None, min_confidence: float = 0.0, min_area: int = 16
) -> Regions:
    """One region for each class that the teacher sees, K = C, so that regions are disjoint.

    `probs` [B, C, h, w], not negative, is divided by its sum over the classes. A pixel that is not `valid` (bool
    [B, h, w]), whose largest probability is below `min_confidence`, or whose class has fewer than `min_area` such
    pixels in the picture belongs to no region and is not kept.
    """
    num_classes = probs.shape[1]
    confidence, labels = (probs / probs.sum(1, keepdim=True).clamp(min=SMALLEST_SQUARE)).max(1)
    dropped = confidence < min_confidence
    if valid is not None:
        dropped = dropped | ~valid
    labels = labels.masked_fill(dropped, num_classes)
    flat = labels.flatten(1)
    areas = torch.zeros(len(flat), num_classes + 1, dtype=torch.int64, device=flat.device)
    areas = areas.scatter_add(1, flat, torch.ones_like(flat))
    present = areas >= max(min_area, 1)
    present[:, num_classes] = False
    kept = present.gather(1, flat).view_as(labels)
    classes = torch.arange(num_classes, device=labels.device).expand(len(labels), -1)
    return Regions(classes, present[:, :num_classes], kept, labels=labels.masked_fill(~kept, num_classes))


def mask_average_pool(features: Tensor, masks: Tensor) -> Tensor:
    """The features of each mask: r_j = sum_x s_j(x) F(x) / (sum_x s_j(x) + 1e-6), with gradient through both.

    One picture: `features` [D, h, w] and `masks` [N, h, w], or [D, P] and [N, P] -> [N, D]. A batch: [B, D, h, w] and
    [B, N, h, w] -> [B, N, D]. Masks are weights that are not negative, or bool. float32 at least.
    Raises ValueError for shapes that do not fit.
    """
    dims = 2 if features.dim() == 4 else 1
    fits = features.shape[dims:] == masks.shape[dims:] and features.shape[: dims - 1] == masks.shape[: dims - 1]
    if features.dim() not in (2, 3, 4) or masks.dim() != features.dim() or not fits:
        raise ValueError(f"features {list(features.shape)} and masks {list(masks.shape)} are not of the same pixels")
    features = in_float32(features).flatten(dims)
    masks = masks.to(features.dtype).flatten(dims)
    return masks @ features.mT / (masks.sum(-1, keepdim=True) + POOLING_EPS)


def region_mask_contrast(
    student_masks: Pictures,
    teacher_masks: Pictures,
    match: Pictures,
    temperature: float = 0.1,
    similarity: str = "dice",
) -> Tensor:
    """RMC: InfoNCE over the student's masks for every teacher region, whose own is the mask it is matched with.

    -(1/K) sum_k log( exp(d(t_k, s_match(k)) / temperature) / sum_j exp(d(t_k, s_j) / temperature) ), where d is dice,
    2 <t, s> / (|t|^2 + |s|^2), or the cosine. One picture: masks between 0 and 1, [N, h, w] or [N, P], teacher's
    [K, ...], `match` int64 [K]. A batch: sequences (or stacked tensors) of these, K may differ; the mean over the
    pictures. A picture without regions gives 0. No gradient reaches the teacher's masks.
    Raises ValueError for shapes that do not fit, an unknown similarity, or a temperature that is not positive.
    """
    total, count = region_mask_contrast_sum(student_masks, teacher_masks, match, temperature, similarity)
    return total / count.clamp(min=1)


def region_mask_contrast_sum(
    student_masks: Pictures,
    teacher_masks: Pictures,
    match: Pictures,
    temperature: float = 0.1,
    similarity: str = "dice",
) -> tuple[Tensor, Tensor]:
    """`region_mask_contrast` before its mean: the sum over the pictures and their number (int64)."""
    check_contrast(temperature, similarity)
    losses = []
    for student, teacher, pairs in by_picture(student_masks, teacher_masks, match):
        if student.shape[1:] != teacher.shape[1:]:
            raise ValueError(f"masks {list(student.shape)} and {list(teacher.shape)} are not of the same pixels")
        student = in_float32(student).flatten(1)
        teacher = teacher.detach().flatten(1).to(student.dtype)
        squares = teacher.square().sum(1), student.square().sum(1)
        similarities = mask_similarity(teacher @ student.mT, *squares, similarity)
        losses.append(
            contrast(similarities[None], pairs[None], torch.ones_like(pairs[None], dtype=torch.bool), temperature)
        )
    return sum_and_count(torch.cat(losses))


def region_feature_contrast(student: Pictures, teacher: Pictures, match: Pictures, temperature: float = 0.1) -> Tensor:
    """RFC: as `region_mask_contrast`, of the regions' features by their cosine; other student regions are negatives.

    One picture: `student` [N, D], `teacher` [K, D], `match` int64 [K]. A batch: sequences or stacked tensors of these;
    the mean over the pictures. No gradient reaches the teacher. Raises ValueError as `region_mask_contrast`.
    """
    total, count = region_feature_contrast_sum(student, teacher, match, temperature)
    return total / count.clamp(min=1)


def region_feature_contrast_sum(
    student: Pictures, teacher: Pictures, match: Pictures, temperature: float = 0.1
) -> tuple[Tensor, Tensor]:
    """`region_feature_contrast` before its mean: the sum over the pictures and their number (int64)."""
    check_contrast(temperature)
    losses = []
    for ours, theirs, pairs in by_picture(student, teacher, match):
        if ours.dim() != 2 or theirs.dim() != 2 or ours.shape[1] != theirs.shape[1]:
            raise ValueError(f"features {list(ours.shape)} and {list(theirs.shape)} must be [N, D] and [K, D]")
        losses.append(contrast_of_one(feature_similarity(ours, theirs), pairs, temperature))
    return sum_and_count(torch.stack(losses))


def mask_contrast_sum(
    student_masks: Tensor,
    regions: Regions,
    match: Tensor,
    temperature: float,
    similarity: str,
    negatives: str = "all",
) -> tuple[Tensor, Tensor]:
    """RMC as training computes it: `student_masks` [B, N, h, w] at the kept pixels, `match` int64 [B, K].

    `negatives` as in `contrast`.
    """
    check_contrast(temperature, similarity)
    similarities = mask_similarities(student_masks, regions, similarity)
    return sum_and_count(contrast(similarities, match, regions.present, temperature, negatives))


def mask_similarities(student_masks: Tensor, regions: Regions, similarity: str = "dice") -> Tensor:
    """d(t_k, s_j) of each region with each of the student's masks [B, N, h, w]: [B, K, N]."""
    student = in_float32(student_masks)
    squares = regions.sizes()[1].to(student.dtype), student.flatten(2).square().sum(2)
    return mask_similarity(regions.sums(student), *squares, similarity)


def feature_contrast_sum(
    student: Tensor, teacher: Tensor, regions: Regions, match: Tensor, temperature: float, negatives: str = "all"
) -> tuple[Tensor, Tensor]:
    """RFC as training computes it: student's region features [B, N, D], teacher's [B, K, D], `match` [B, K].

    `negatives` as in `contrast`.
    """
    check_contrast(temperature)
    similarities = feature_similarity(student, teacher)
    return sum_and_count(contrast(similarities, match, regions.present, temperature, negatives))


def region_class_consistency(
    class_logits: Tensor, classes: Tensor, match: Tensor, no_object_weight: float = 0.0
) -> Tensor:
    """RCC of one picture: -(1/K) sum_k log q_match(k)[c_k], the matched queries taught their regions' classes.

    `class_logits` [N, C + 1], before softmax, "no object" last; `classes`, `match` int64 [K]. With `no_object_weight`
    the queries without a region are taught "no object" with that weight, and the mean is weighted. 0 without regions.
    """
    regions = Regions(classes[None], torch.ones_like(classes[None], dtype=torch.bool))
    total, _ = class_consistency_sum(class_logits[None], regions, match[None], no_object_weight)
    return total


def class_consistency_sum(
    class_logits: Tensor, regions: Regions, match: Tensor, no_object_weight: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`region_class_consistency` of a batch, [B, N, C + 1] and [B, K]: the sum over the pictures and their number."""
    log_probs = in_float32(class_logits).log_softmax(2)
    own = log_probs.gather(1, match.unsqueeze(2).expand(-1, -1, log_probs.shape[2]))
    own = own.gather(2, regions.classes.unsqueeze(2)).squeeze(2)
    taught = regions.present.to(own.dtype)
    total, weight = -(own * taught).sum(1), taught.sum(1)
    if no_object_weight:
        busy = torch.zeros_like(log_probs[..., 0]).scatter_add(1, match, taught)
        idle = (busy == 0) & regions.present.any(1, keepdim=True)
        total = total - no_object_weight * (log_probs[..., -1] * idle).sum(1)
        weight = weight + no_object_weight * idle.sum(1)
    return sum_and_count(total / torch.where(weight > 0, weight, 1.0))


def semantic_mask_consistency(
    student: Tensor, teacher: Tensor, distance: str = "dice", valid: Tensor | None = None
) -> Tensor:
    """SMC: how far the student's semantic masks are from the teacher's, the mean over the pictures.

    `student`, `teacher` [B, C, h, w], not negative; where a pixel's values add up to more than 1, as sums over queries
    may, they are divided by their sum, so that no loss falls below 0. `valid` bool [B, h, w], None for every pixel.
    With T the teacher's largest class at each pixel, one-hot, `distance` is "dice": 1 - (2 sum S_c T_c + 1) /
    (sum S_c + sum T_c + 1), its mean over the classes in T; "ce": -log of the student's share of T's class, the mean
    over pixels; or "mse": the mean squared difference to the teacher's masks themselves. No gradient reaches the
    teacher; 0 without valid pixels.
    Raises ValueError for shapes that do not fit or an unknown distance.
    """
    total, count = semantic_mask_consistency_sum(student, teacher, distance, valid)
    return total / count.clamp(min=1)


def semantic_mask_consistency_sum(
    student: Tensor, teacher: Tensor, distance: str = "dice", valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`semantic_mask_consistency` before its mean: the sum over the pictures and their number (int64)."""
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}; it must be one of {', '.join(DISTANCES)}")
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(f"student {list(student.shape)} and teacher {list(teacher.shape)} must be one [B, C, h, w]")
    student = in_float32(student)
    teacher = teacher.detach().to(student.dtype)
    valid = torch.ones_like(student[:, 0], dtype=torch.bool) if valid is None else valid
    seen = valid.unsqueeze(1).to(student.dtype).flatten(2)
    student, teacher = (
        maps.flatten(2) / maps.flatten(2).sum(1, keepdim=True).clamp(min=1) for maps in (student, teacher)
    )
    if distance == "mse":
        difference = (student - teacher).square() * seen
        return sum_and_count(difference.mean(1).sum(1) / seen.sum((1, 2)).clamp(min=1))
    target = F.one_hot(teacher.argmax(1), teacher.shape[1]).mT * seen
    shared = student * target
    if distance == "ce":
        share = shared.sum(1) / student.sum(1).clamp(min=SMALLEST_SQUARE)
        # a pixel without a label has the share 1 here, and the logarithm 0
        surprise = -torch.where(seen[:, 0] > 0, share, 1.0).clamp(min=SMALLEST_SQUARE).log()
        return sum_and_count(surprise.sum(1) / seen.sum((1, 2)).clamp(min=1))
    sizes = target.sum(2)
    dice = 1 - (2 * shared.sum(2) + 1) / ((student * seen).sum(2) + sizes + 1)
    return sum_and_count(mean_of_present(dice, sizes > 0))


def mask_similarity(shared: Tensor, teacher_squares: Tensor, student_squares: Tensor, similarity: str) -> Tensor:
    """d(t_k, s_j) [..., K, N] from the products <t_k, s_j> [..., K, N] and the squares [..., K] and [..., N].

    An empty mask is like no other: 0.
    """
    teacher, student = teacher_squares.unsqueeze(-1), student_squares.unsqueeze(-2)
    if similarity == "dice":
        return 2 * shared / (teacher + student).clamp(min=SMALLEST_SQUARE)
    return shared * (teacher.clamp(min=SMALLEST_SQUARE) * student.clamp(min=SMALLEST_SQUARE)).rsqrt()


def feature_similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Cosines of region features [..., N, D] and [..., K, D]: [..., K, N]; no gradient to the teacher's."""
    student = in_float32(student)
    teacher = teacher.detach().to(student.dtype)
    return F.normalize(teacher, dim=-1) @ F.normalize(student, dim=-1).mT


def contrast(
    similarities: Tensor, match: Tensor, present: Tensor, temperature: float, negatives: str = "all"
) -> Tensor:
    """InfoNCE of each picture, [B]: similarities [B, K, N], `match` int64 [B, K], `present` bool [B, K].

    The negatives of a region are "all" other masks of the student, or those "matched" with another region.
    """
    logits = similarities / temperature
    if negatives == "matched":
        busy = torch.zeros_like(similarities[:, 0]).scatter_add(1, match, present.to(similarities.dtype)) > 0
        left_out = ~busy & busy.any(1, keepdim=True)
        logits = logits.masked_fill(left_out.unsqueeze(1), -torch.inf)
    log_probs = logits.log_softmax(2)
    return mean_of_present(-log_probs.gather(2, match.unsqueeze(2)).squeeze(2), present)


def contrast_of_one(similarities: Tensor, match: Tensor, temperature: float) -> Tensor:
    """`contrast` of one picture, all of whose regions [K, N] are present: a scalar."""
    return contrast(similarities[None], match[None], torch.ones_like(match[None], dtype=torch.bool), temperature)[0]


def mean_of_present(values: Tensor, present: Tensor) -> Tensor:
    """The mean of `values` [B, K] over the present ones of each picture: [B]; 0, still connected, without any."""
    return torch.where(present, values, 0.0).sum(1) / present.sum(1).clamp(min=1)


def sum_and_count(losses: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over the pictures' losses [B] and their number."""
    return losses.sum(), torch.full((), len(losses), device=losses.device)


def in_float32(values: Tensor) -> Tensor:
    """At least float32, also where the network ran in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def by_picture(student: Pictures, teacher: Pictures, match: Pictures) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The pictures of a batch one by one; one picture, whose `match` is a vector, as a batch of one."""
    if isinstance(match, Tensor) and match.dim() == 1:
        student, teacher, match = [student], [teacher], [match]
    if not len(student) == len(teacher) == len(match) > 0:
        raise ValueError(f"{len(student)} pictures of the student, {len(teacher)} of the teacher, {len(match)} matches")
    for ours, theirs, pairs in zip(student, teacher, match, strict=True):
        if pairs.shape != theirs.shape[:1]:
            raise ValueError(f"match is {list(pairs.shape)}; the teacher has {len(theirs)} regions")
        if len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < len(ours):
            raise ValueError(f"match {pairs.tolist()} names a student region that is not among {len(ours)}")
    return list(zip(student, teacher, match, strict=True))


def check_contrast(temperature: float, similarity: str = "dice") -> None:
    """Refuse a temperature or similarity that has no meaning."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity is {similarity!r}; it must be one of {', '.join(SIMILARITIES)}")
