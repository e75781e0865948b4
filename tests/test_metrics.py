import math
from math import isnan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scl_core.metrics import confusion_matrix, effective_classes, mean_iou, per_class_iou, prediction_counts


def by_double_loop(prediction, label, num_classes):
    counts = [[0] * num_classes for _ in range(num_classes)]
    for row_p, row_l in zip(prediction.tolist(), label.tolist(), strict=True):
        for p, la in zip(row_p, row_l, strict=True):
            if la != 255:
                counts[la][p] += 1
    return counts


@given(st.integers(1, 6), st.integers(0, 99))
def test_counts_against_a_double_loop(num_classes, seed):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(num_classes, (6, 6), generator=generator)
    label = torch.randint(num_classes, (6, 6), generator=generator)
    label[torch.rand(6, 6, generator=generator) < 0.2] = 255
    confusion = confusion_matrix(prediction, label, num_classes)
    assert confusion.dtype == torch.int64
    assert confusion.tolist() == by_double_loop(prediction, label, num_classes)


def test_iou_by_hand():
    label = torch.tensor([0, 0, 0, 1, 1, 255])
    prediction = torch.tensor([0, 0, 1, 1, 0, 1])
    confusion = confusion_matrix(prediction, label, 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    iou = per_class_iou(confusion)
    assert iou.dtype == torch.float64
    assert iou[:2].tolist() == [2 / 4, 1 / 3] and isnan(iou[2])
    assert mean_iou(confusion) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_class_that_is_only_predicted_counts_as_zero():
    confusion = confusion_matrix(torch.tensor([0, 1]), torch.tensor([0, 0]), 2)
    assert per_class_iou(confusion).tolist() == [0.5, 0.0] and mean_iou(confusion) == 0.25


def test_nothing_labeled_has_no_mean():
    confusion = confusion_matrix(torch.tensor([0]), torch.tensor([255]), 2)
    assert confusion.tolist() == [[0, 0], [0, 0]] and isnan(mean_iou(confusion))


def test_void_predictions_fill_a_last_column_and_are_misses():
    label = torch.tensor([0, 0, 0, 0, 1, 255])
    prediction = torch.tensor([0, 0, 255, -1, 1, 255])
    confusion = confusion_matrix(prediction, label, 2, void_prediction=True)
    assert confusion.tolist() == [[2, 0, 2], [0, 1, 0]]
    assert per_class_iou(confusion).tolist() == [0.5, 1.0] and mean_iou(confusion) == 0.75
    empty = confusion_matrix(prediction[:2], label[:2], 2, void_prediction=True)
    assert empty.shape == (2, 3), "the column is there though nothing fills it"


@pytest.mark.parametrize(("prediction", "label", "named"), [(2, 0, "prediction holds class 2"), (-1, 0, "class -1")])
def test_a_prediction_outside_is_refused(prediction, label, named):
    with pytest.raises(ValueError, match=named):
        confusion_matrix(torch.tensor([prediction]), torch.tensor([label]), 2)


@pytest.mark.parametrize("void_prediction", [False, True])
def test_a_label_outside_is_always_refused(void_prediction):
    with pytest.raises(ValueError, match="label holds class 254"):
        confusion_matrix(torch.tensor([0, 0]), torch.tensor([254, 255]), 2, void_prediction=void_prediction)


def test_a_prediction_under_an_ignored_label_may_be_anything():
    assert confusion_matrix(torch.tensor([9, 1]), torch.tensor([255, 1]), 2).tolist() == [[0, 0], [0, 1]]


def test_small_integer_types_and_shapes():
    label = torch.tensor([[0, 200], [255, 200]], dtype=torch.uint8)
    assert confusion_matrix(label, label, 201)[200, 200] == 2
    with pytest.raises(ValueError, match=r"\[2, 2\]"):
        confusion_matrix(label, label[0], 201)
    with pytest.raises(ValueError, match="float32"):
        confusion_matrix(label.float(), label, 201)
    with pytest.raises(ValueError, match="confusion matrix is"):
        per_class_iou(torch.zeros(2, 4))


def test_more_pixels_than_float32_can_count():
    label = torch.zeros(2**24 + 3, dtype=torch.uint8)
    confusion = confusion_matrix(label, label, 2)
    assert confusion[0, 0] == 2**24 + 3
    large = torch.tensor([[2**55, 1], [0, 2**40]])
    assert per_class_iou(large)[1].item() == 2**40 / (2**40 + 1)
    assert sum([confusion] * 5)[0, 0].item() == 5 * (2**24 + 3)


def test_prediction_counts_against_a_loop_over_the_pixels():
    torch.manual_seed(0)
    probs, valid = torch.randn(2, 4, 3, 5).mul(3).softmax(1), torch.rand(2, 3, 5) > 0.3
    counts, entropy = [0] * 4, 0.0
    for picture, row, column in valid.nonzero().tolist():
        pixel = probs[picture, :, row, column].tolist()
        counts[pixel.index(max(pixel))] += 1
        entropy -= sum(p * math.log(p) for p in pixel) / math.log(4)
    found = prediction_counts(probs, valid)
    assert found[:4].tolist() == counts and found[4].item() == pytest.approx(entropy, rel=1e-5)


def test_effective_classes():
    assert effective_classes([3, 3, 3, 0]) == pytest.approx(3)
    assert effective_classes([7, 0]) == pytest.approx(1) and effective_classes([0, 0]) == 0
    assert effective_classes([3, 1]) == pytest.approx(4 / 3**0.75)
