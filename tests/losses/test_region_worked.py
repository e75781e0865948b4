"""The worked values of the region losses."""

from math import exp, log

import pytest
import torch

from scl_core.losses import mask_average_pool, region_feature_contrast, region_mask_contrast
from scl_core.losses.region import (
    feature_similarity,
    mask_similarity,
    region_class_consistency,
    segment_sums,
    semantic_mask_consistency,
)
from tests.losses.regions import (
    FEATURES,
    MATCH,
    QUERIES,
    STUDENT,
    TEACHER,
    near,
    random_masks,
    similarities,
)


class TestWorkedValues:
    def test_similarities(self):
        near(similarities(STUDENT, TEACHER, "dice"), [[1, 0.4, 0.666667], [0, 0.8, 0]])
        near(similarities(STUDENT, TEACHER, "cosine"), [[1, 0.408248, 0.707107], [0, 0.816497, 0]])

    @pytest.mark.parametrize(
        ("similarity", "temperature", "expected"),
        [
            ("dice", 1.0, 0.729437),
            ("dice", 0.5, 0.467525),
            ("dice", 0.1, 0.019057),
            ("cosine", 1.0, 0.733023),
            ("cosine", 0.5, 0.475959),
            ("cosine", 0.1, 0.027598),
        ],
    )
    def test_mask_contrast(self, similarity, temperature, expected):
        near(region_mask_contrast(STUDENT, TEACHER, MATCH, temperature, similarity), expected)

    def test_mask_contrast_of_each_region(self):
        for row, expected in enumerate([0.817726, 0.641147]):
            near(region_mask_contrast(STUDENT, TEACHER[row : row + 1], MATCH[row : row + 1], 1.0), expected)

    def test_the_matched_mask_is_pulled_and_the_others_are_pushed(self):
        values = similarities(STUDENT, TEACHER[:1], "cosine").requires_grad_()
        (-values.log_softmax(1)[0, 0]).backward()
        near(values.grad[0], [-0.565115, 0.240647, 0.324468])
        student = STUDENT.clone().requires_grad_()
        loss = region_mask_contrast(student, TEACHER[:1], MATCH[:1], 1.0, "cosine")
        expected = torch.autograd.grad(
            (similarities(student, TEACHER[:1], "cosine") * values.grad).sum(), student, retain_graph=True
        )[0]
        torch.testing.assert_close(torch.autograd.grad(loss, student)[0], expected)

    def test_mask_average_pool(self):
        near(mask_average_pool(FEATURES, TEACHER), [[2, 0], [0, 4]], 5e-6)
        near(mask_average_pool(FEATURES, STUDENT), [[2, 0], [1, 2.666667], [1, 0]], 5e-6)
        soft = torch.tensor([[0.9, 0.5, 0.1, 0.0]], dtype=torch.float64)
        near(mask_average_pool(FEATURES, soft), [[1.6, 0.133333]], 5e-6)
        near(mask_average_pool(FEATURES, 1000 * soft), [[1.6, 0.133333]], 5e-6)
        constant = torch.tensor([[3.0], [-2.0]], dtype=torch.float64).expand(2, 4)
        near(mask_average_pool(constant, STUDENT), [[3, -2]] * 3, 5e-6)

    def test_feature_contrast(self):
        student, teacher = mask_average_pool(FEATURES, STUDENT), mask_average_pool(FEATURES, TEACHER)
        near(feature_similarity(student, teacher), [[1, 0.351123, 1], [0, 0.936329, 0]])
        near(region_feature_contrast(student, teacher, MATCH, 0.5), 0.544613)
        for row, expected in enumerate([0.821164, 0.268063]):
            near(region_feature_contrast(student, teacher[row : row + 1], MATCH[row : row + 1], 0.5), expected)

    def test_class_consistency(self):
        near(region_class_consistency(QUERIES.log(), torch.tensor([0, 1]), MATCH), 0.289909)
        # the third query, which has no region, is taught "no object": (.356675 + .223144 + .1 * 1.203973) / 2.1
        near(region_class_consistency(QUERIES.log(), torch.tensor([0, 1]), MATCH, 0.1), 0.333436)

    def test_semantic_masks(self):
        student = torch.tensor([[0.65, 0.57, 0.16], [0.34, 0.24, 0.74]], dtype=torch.float64).view(1, 2, 1, 3)
        teacher = torch.tensor([[1.0, 1, 0], [0, 0, 1]], dtype=torch.float64).view(1, 2, 1, 3)
        near(semantic_mask_consistency(student, teacher, "mse"), 0.095633)
        near(semantic_mask_consistency(student, teacher, "dice"), 0.233812)
        shares = [0.65 / 0.99, 0.57 / 0.81, 0.74 / 0.90]
        near(semantic_mask_consistency(student, teacher, "ce"), -sum(map(log, shares)) / 3)
        for ours, theirs, expected in zip(student[0, :, 0], teacher[0, :, 0], [0.214612, 0.253012], strict=True):
            near(1 - (2 * (ours * theirs).sum() + 1) / (ours.sum() + theirs.sum() + 1), expected)

    def test_segment_sums(self):
        masks = torch.tensor([[0.9, 0.6, 0.2, 0.1], [0.1, 0.3, 0.7, 0.8]], dtype=torch.float64)
        labels = torch.tensor([0, 0, 1, 1])
        shared = segment_sums(masks, labels, 2)
        near(shared.mT, [[1.5, 0.3], [0.4, 1.5]])
        areas = torch.tensor([2.0, 2.0], dtype=torch.float64)
        dice = mask_similarity(shared, areas, masks.square().sum(1), "dice")
        near(dice.mT, [[0.931677, 0.186335], [0.247678, 0.928793]])
        losses = [float(-dice.log_softmax(1)[k, k]) for k in range(2)]
        near(losses, [0.408524, 0.389297])

    def test_without_negatives_there_is_nothing_to_learn(self):
        student = random_masks(1, 4).requires_grad_()
        features = random_masks(1, 3).requires_grad_()
        loss = region_mask_contrast(student, TEACHER[:1], MATCH[:1]) + region_feature_contrast(
            features, random_masks(1, 3), MATCH[:1]
        )
        loss.backward()
        assert loss.item() == 0.0
        assert not student.grad.any() and not features.grad.any()

    def test_an_empty_mask_adds_one_to_each_denominator(self):
        # row 1 of the cosine's table without and with a mask of zeros
        pair, empty = STUDENT[:2], torch.zeros(1, 4, dtype=torch.float64)
        row = exp(1) + exp(0.408248)
        near(region_mask_contrast(pair, TEACHER[:1], MATCH[:1], 1.0, "cosine"), -log(exp(1) / row))
        three = torch.cat([STUDENT, empty])
        near(region_mask_contrast(STUDENT, TEACHER[:1], MATCH[:1], 1.0, "cosine"), 0.832674)
        near(region_mask_contrast(three, TEACHER[:1], MATCH[:1], 1.0, "cosine"), 0.981081)

    @pytest.mark.parametrize(("temperature", "expected"), [(1.0, 3.622), (0.5, 2.667), (0.1, 0.00448), (0.07, 6e-5)])
    def test_a_hundred_queries_have_a_floor_that_only_low_temperatures_lower(self, temperature, expected):
        student = torch.zeros(100, 4, dtype=torch.float64)
        student[0] = TEACHER[0]
        found = region_mask_contrast(student, TEACHER[:1], MATCH[:1], temperature)
        assert found.item() == pytest.approx(expected, rel=0.05 if temperature < 0.1 else 2e-3)

    @pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.313262), (0.1, 4.54e-5)])
    def test_a_perfect_student_is_not_at_zero(self, temperature, expected):
        near(region_mask_contrast(TEACHER, TEACHER, MATCH, temperature), expected)
