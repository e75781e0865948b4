"""Mask classification: MaskFormer's matching of queries with masks, and its loss (Cheng et al. 2021).

A query answers with one mask and one class, the last class being "no object". Each region is matched with one query by
the Hungarian algorithm, on a cost whose sums over pixels are segment sums, O(N P).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from scl_core.losses.region import Regions, in_float32

FOCAL_ALPHA = 0.25


def label_regions(labels: Tensor, num_classes: int, ignore_index: int = 255) -> Regions:
    """The region of each class in `labels` int64 [B, h, w]; ignored pixels belong to none and take no part."""
    kept = labels != ignore_index
    labels = labels.masked_fill(~kept, num_classes)
    classes = torch.arange(num_classes, device=labels.device).expand(len(labels), -1)
    return Regions(classes, present_classes(labels, num_classes), kept, labels=labels)


def present_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Which classes each picture of int64 [B, H, W] has, bool [B, C]; labels from C on are no class."""
    flat = labels.flatten(1).clamp(max=num_classes)
    found = torch.zeros(len(flat), num_classes + 1, dtype=torch.bool, device=labels.device)
    return found.scatter(1, flat, True)[:, :num_classes]


@torch.no_grad()
def matching_cost(
    class_logits: Tensor, mask_logits: Tensor, regions: Regions, focal_weight: float = 20.0, dice_weight: float = 1.0
) -> Tensor:
    """What it costs to match region k with query j: -probability + 20 focal + 1 dice, [B, K, N].

    `class_logits` [B, N, C + 1], `mask_logits` [B, N, h, w] at the size of the regions. The focal part is the mean over
    the kept pixels, dice is 1 - (2 sum s t + 1) / (sum s + sum t + 1). No gradient.
    """
    probs = in_float32(class_logits).softmax(2)
    picked = probs.gather(2, regions.classes.unsqueeze(1).expand(-1, probs.shape[1], -1)).mT
    logits, kept = in_float32(mask_logits), regions.kept.unsqueeze(1)
    masks = logits.sigmoid() * kept
    inside, outside = (part * kept for part in focal_parts(logits))
    focal = regions.sums(inside - outside) + outside.sum((2, 3)).unsqueeze(1)
    pixels = kept.sum((1, 2, 3)).clamp(min=1).view(-1, 1, 1)
    area = regions.sizes()[0].to(masks.dtype).unsqueeze(2)
    dice = 1 - (2 * regions.sums(masks) + 1) / (masks.sum((2, 3)).unsqueeze(1) + area + 1)
    return focal_weight * focal / pixels + dice_weight * dice - picked


def hungarian_match(cost: Tensor, present: Tensor) -> Tensor:
    """The query of each present region so that the summed cost is least and no query has two: int64 [B, K].

    `cost` [B, K, N], `present` bool [B, K]; absent regions have 0. Raises ValueError when a picture has more regions
    than there are queries. A cost that is not finite counts as 0: the losses tell of it.
    """
    from scipy.optimize import linear_sum_assignment  # here, because every training imports this file and few need it

    match = torch.zeros(present.shape, dtype=torch.int64)
    rows_of, costs = present.cpu(), cost.detach().cpu().double().nan_to_num(0.0, 0.0, 0.0)
    for picture, there in enumerate(rows_of):
        if int(there.sum()) > cost.shape[2]:
            raise ValueError(f"{int(there.sum())} regions cannot be matched with {cost.shape[2]} queries")
        _, columns = linear_sum_assignment(costs[picture, there].numpy())
        match[picture, there] = torch.from_numpy(columns).to(torch.int64)
    return match.to(cost.device)


def mask_losses_sum(
    mask_logits: Tensor, labels: Tensor, present: Tensor, match: Tensor, ignore_index: int = 255
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal and dice loss of the matched masks at the labels' size: both sums over the masks, and the masks' number.

    `mask_logits` [B, N, h, w], `labels` int64 [B, H, W], `present` bool and `match` int64 [B, C]. Of a mask: the mean
    focal loss (gamma 2, alpha 0.25) over the pixels with a label, and the dice loss over them.
    """
    pictures, classes = present.nonzero(as_tuple=True)
    logits = in_float32(mask_logits[pictures, match[pictures, classes]])
    count = torch.full((), len(pictures), device=labels.device)
    if not len(pictures):
        return logits.sum(), logits.sum(), count
    logits = F.interpolate(logits[None], size=labels.shape[1:], mode="bilinear", align_corners=True)[0].flatten(1)
    labels = labels[pictures].flatten(1)
    known, target = labels != ignore_index, labels == classes.unsqueeze(1)
    inside, outside = focal_parts(logits)
    focal = (torch.where(target, inside, outside) * known).sum(1) / known.sum(1).clamp(min=1)
    masks = logits.sigmoid() * known
    dice = 1 - (2 * (masks * target).sum(1) + 1) / (masks.sum(1) + target.sum(1) + 1)
    return focal.sum(), dice.sum(), count


def query_classes_sum(
    class_logits: Tensor, present: Tensor, match: Tensor, no_object_weight: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the queries' classes, "no object" for all that are not matched: weighted sum, summed weights.

    `class_logits` [B, N, C + 1]; `present` bool and `match` int64 [B, C]. A picture without any region (all of it
    ignored) teaches nothing, for nothing is known of what is in it.
    """
    num_objects = class_logits.shape[2] - 1
    target = torch.full(class_logits.shape[:2], num_objects, dtype=torch.int64, device=class_logits.device)
    pictures, classes = present.nonzero(as_tuple=True)
    target[pictures, match[pictures, classes]] = classes
    weight = torch.where(target < num_objects, 1.0, no_object_weight) * present.any(1, keepdim=True)
    losses = -in_float32(class_logits).log_softmax(2).gather(2, target.unsqueeze(2)).squeeze(2)
    return (losses * weight).sum(), weight.sum()


def focal_parts(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The focal loss of each pixel if it is inside the mask, and if it is outside (Lin et al. 2017, gamma 2)."""
    probs = logits.sigmoid()
    inside = FOCAL_ALPHA * (1 - probs).square() * F.softplus(-logits)
    return inside, (1 - FOCAL_ALPHA) * probs.square() * F.softplus(logits)
