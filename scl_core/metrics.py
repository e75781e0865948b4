"""How good a prediction is: the confusion matrix of its pixels, IoU per class and their mean; how varied it is."""

from collections.abc import Sequence
from math import exp, log

import torch
from torch import Tensor
from torch.nn import functional as F

BAND_PIXELS = 3
"""Half the width of the band along the borders of the labels, in pixels of the mask."""


def confusion_matrix(
    prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int = 255, void_prediction: bool = False
) -> Tensor:
    """Count the pixels of each label and prediction: int64 [C, C], rows are labels, columns predictions.

    `prediction` and `label`: integers of one shape. Pixels whose label is `ignore_index` are not counted. Values that
    count must lie in 0 .. C - 1; with `void_prediction` predictions may lie outside and fill a last column, [C, C + 1],
    where they are a miss of the label's class. Raises ValueError for a value outside, shapes that differ, or floats.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"the prediction is {list(prediction.shape)}, the label {list(label.shape)}")
    for name, tensor in {"prediction": prediction, "label": label}.items():
        if tensor.is_floating_point():
            raise ValueError(f"the {name} holds {tensor.dtype}; class indices must be integers")
    counted = label != ignore_index
    rows, columns = label[counted].long(), prediction[counted].long()
    _require_classes("label", rows, num_classes)
    if void_prediction:
        outside = (columns < 0) | (columns >= num_classes)
        columns = columns.masked_fill(outside, num_classes)
    else:
        _require_classes("prediction", columns, num_classes)
    width = num_classes + void_prediction
    return (rows * width + columns).bincount(minlength=num_classes * width).view(num_classes, width)


def per_class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, float64 [C]; NaN where neither label nor prediction has the class.

    `confusion`: [C, C] or [C, C + 1] of `confusion_matrix`, also a sum of several. Raises ValueError for another shape.
    """
    if confusion.dim() != 2 or confusion.shape[1] - confusion.shape[0] not in (0, 1):
        raise ValueError(f"a confusion matrix is [C, C] or [C, C + 1], not {list(confusion.shape)}")
    hits = confusion.diagonal()
    labels, predictions = confusion.sum(1), confusion[:, : len(confusion)].sum(0)
    return hits.double() / (labels + predictions - hits).double()


def mean_iou(confusion: Tensor) -> float:
    """The mean of `per_class_iou` over the classes that are not NaN; NaN when all are."""
    return float(per_class_iou(confusion).nanmean())


def prediction_counts(probs: Tensor, valid: Tensor) -> Tensor:
    """What is predicted and how certainly, over the valid pixels: float64 [C + 1] on the CPU.

    `probs`: probabilities [B, C, H, W]; `valid`: bool [B, H, W]. The first C are the numbers of pixels whose most
    probable class is each; the last is the sum of their entropies, as shares of log C: 0 certain, 1 undecided.
    """
    probs = probs.detach().to(torch.promote_types(probs.dtype, torch.float32))
    classes = probs.argmax(1).masked_fill(~valid, -1)
    counts = [(classes == index).sum().cpu().double() for index in range(probs.shape[1])]
    entropy = torch.special.entr(probs).sum(1).masked_fill(~valid, 0.0).sum() / log(max(probs.shape[1], 2))
    return torch.stack([*counts, entropy.cpu().double()])


def effective_classes(counts: Sequence[float]) -> float:
    """exp of the entropy of a histogram: how many equally frequent classes are as varied; 0 for an empty one."""
    total = sum(counts)
    return exp(-sum(count / total * log(count / total) for count in counts if count > 0)) if total > 0 else 0.0


def boundary_band(label: Tensor, pixels: int = BAND_PIXELS, ignore_index: int = 255) -> Tensor:
    """Where another class lies at most `pixels` rows and columns away: bool [H, W] of a label [H, W].

    Ignored pixels are no class: they are in no band and make none. Raises ValueError for less than 1 pixel.
    """
    if pixels < 1:
        raise ValueError(f"a band of {pixels} pixels is none")
    values = label.to(torch.float32)[None]
    ignored = values == ignore_index
    highest = _window_maximum(values.masked_fill(ignored, -torch.inf), pixels)
    lowest = -_window_maximum((-values).masked_fill(ignored, -torch.inf), pixels)
    return ((highest > lowest) & ~ignored)[0]


def _window_maximum(values: Tensor, pixels: int) -> Tensor:
    """The largest value of the window around each pixel, [1, H, W]: along rows, then along columns."""
    wide = F.max_pool2d(values, (1, 2 * pixels + 1), 1, (0, pixels))
    return F.max_pool2d(wide, (2 * pixels + 1, 1), 1, (pixels, 0))


def _require_classes(name: str, values: Tensor, num_classes: int) -> None:
    outside = values[(values < 0) | (values >= num_classes)]
    if len(outside):
        raise ValueError(
            f"the {name} holds class {int(outside[0])} ({len(outside)} pixels); classes are 0 to {num_classes - 1}"
        )
