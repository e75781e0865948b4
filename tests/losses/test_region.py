"""The worked values of the region losses, and each of them against a loop over regions, masks and pixels."""

from math import exp, log

import pytest
import torch

from scl_core.losses import mask_average_pool, region_feature_contrast, region_mask_contrast
from scl_core.losses.region import (
    Regions,
    class_consistency_sum,
    class_regions,
    feature_contrast_sum,
    feature_similarity,
    mask_contrast_sum,
    mask_similarity,
    region_class_consistency,
    region_feature_contrast_sum,
    region_mask_contrast_sum,
    segment_sums,
    semantic_mask_consistency,
    semantic_mask_consistency_sum,
)

TEACHER = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]], dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.float64)
QUERIES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3]], dtype=torch.float64)
FEATURES = torch.tensor([[1.0, 3, 0, 0], [0, 0, 2, 6]], dtype=torch.float64)
MATCH = torch.tensor([0, 1])


def near(value, expected, tolerance=1e-6):
    torch.testing.assert_close(torch.as_tensor(value).double(), torch.tensor(expected).double(), atol=tolerance, rtol=0)


def similarities(student, teacher, similarity):
    return mask_similarity(teacher @ student.mT, teacher.square().sum(1), student.square().sum(1), similarity)


def random_masks(*shape):
    return torch.rand(shape, dtype=torch.float64)


def one_hot_masks(labels, num_regions):
    return torch.stack([labels == k for k in range(num_regions)])


def contrast_by_loop(similarity, match, temperature):
    losses = []
    for k, j in enumerate(match.tolist()):
        row = [exp(float(value) / temperature) for value in similarity[k]]
        losses.append(-log(row[j] / sum(row)))
    return sum(losses) / len(losses) if losses else 0.0


def dice_by_loop(student, teacher):
    rows = []
    for t in teacher.flatten(1).tolist():
        row = []
        for s in student.flatten(1).tolist():
            shared = sum(a * b for a, b in zip(t, s, strict=True))
            row.append(2 * shared / (sum(a * a for a in t) + sum(b * b for b in s)))
        rows.append(row)
    return rows


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

    @pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.313262), (0.1, 4.54e-5)])
    def test_a_perfect_student_is_not_at_zero(self, temperature, expected):
        near(region_mask_contrast(TEACHER, TEACHER, MATCH, temperature), expected)


class TestAgainstLoops:
    @pytest.mark.parametrize("similarity", ["dice", "cosine"])
    def test_mask_contrast(self, similarity):
        student, teacher, match = random_masks(5, 3, 4), random_masks(3, 3, 4), torch.tensor([4, 0, 2])
        rows = torch.tensor(dice_by_loop(student, teacher), dtype=torch.float64)
        if similarity == "cosine":
            rows = torch.stack([torch.cosine_similarity(t[None], student.flatten(1)) for t in teacher.flatten(1)])
        got = region_mask_contrast(student, teacher, match, 0.3, similarity)
        assert got.item() == pytest.approx(contrast_by_loop(rows, match, 0.3), rel=1e-10)

    def test_feature_contrast(self):
        student, teacher, match = torch.randn(5, 6).double(), torch.randn(3, 6).double(), torch.tensor([4, 0, 2])
        rows = torch.stack([torch.cosine_similarity(t[None], student) for t in teacher])
        got = region_feature_contrast(student, teacher, match, 0.3)
        assert got.item() == pytest.approx(contrast_by_loop(rows, match, 0.3), rel=1e-10)

    def test_mask_average_pool(self):
        features, masks = torch.randn(2, 3, 4, 5).double(), random_masks(2, 6, 4, 5)
        got = mask_average_pool(features, masks)
        for b in range(2):
            for n in range(6):
                total = sum(masks[b, n, y, x] * features[b, :, y, x] for y in range(4) for x in range(5))
                torch.testing.assert_close(got[b, n], total / (masks[b, n].sum() + 1e-6))
            torch.testing.assert_close(mask_average_pool(features[b], masks[b]), got[b])

    @pytest.mark.parametrize("with_masks", [False, True])
    def test_the_forms_that_training_uses_are_the_plain_ones(self, with_masks):
        labels = torch.randint(0, 5, (2, 4, 5))  # region 4 is none
        labels[labels == 2] = 0  # of the other four one is absent
        masks = torch.stack([one_hot_masks(picture, 4) for picture in labels]).double()
        present = masks.flatten(2).any(2)
        classes = torch.tensor([3, 1, 0, 2]).expand(2, -1)
        regions = Regions(
            classes, present, labels < 4, labels=None if with_masks else labels, masks=masks if with_masks else None
        )
        student, features, logits = (
            random_masks(2, 6, 4, 5),
            torch.randn(2, 3, 4, 5).double(),
            torch.randn(2, 6, 5).double(),
        )
        match = torch.stack([torch.randperm(6)[:4] for _ in range(2)])
        pooled = regions.pool(features)
        torch.testing.assert_close(pooled, mask_average_pool(features, masks))
        ours = torch.randn(2, 6, 3).double()
        for b in range(2):
            one = Regions(
                classes[b : b + 1],
                present[b : b + 1],
                None,
                *(None if m is None else m[b : b + 1] for m in (regions.labels, regions.masks)),
            )
            there, pairs = present[b], match[b][present[b]]
            for got, expected in (
                (
                    mask_contrast_sum(student[b : b + 1], one, match[b : b + 1], 0.2, "dice"),
                    region_mask_contrast_sum(student[b], masks[b][there], pairs, 0.2),
                ),
                (
                    feature_contrast_sum(ours[b : b + 1], pooled[b : b + 1], one, match[b : b + 1], 0.2),
                    region_feature_contrast_sum(ours[b], pooled[b][there], pairs, 0.2),
                ),
                (
                    class_consistency_sum(logits[b : b + 1], one, match[b : b + 1], 0.1),
                    (region_class_consistency(logits[b], classes[b][there], pairs, 0.1), torch.tensor(1)),
                ),
            ):
                torch.testing.assert_close(got, expected)

    @pytest.mark.parametrize("distance", ["dice", "mse", "ce"])
    def test_semantic_masks(self, distance):
        student, teacher, valid = random_masks(2, 3, 4, 5), random_masks(2, 3, 4, 5), torch.rand(2, 4, 5) < 0.7
        valid[1] &= teacher[1].argmax(0) != 2  # one class is absent
        losses = [semantic_by_loop(student[b], teacher[b], valid[b], distance) for b in range(2)]
        got = semantic_mask_consistency(student, teacher, distance, valid)
        assert got.item() == pytest.approx(sum(losses) / 2, rel=1e-10)

    def test_class_regions(self):
        probs, valid = random_masks(2, 4, 5, 6), torch.rand(2, 5, 6) < 0.9
        found = class_regions(probs, valid, min_confidence=0.35, min_area=4)
        for b in range(2):
            for c in range(4):
                pixels = [
                    (y, x)
                    for y in range(5)
                    for x in range(6)
                    if valid[b, y, x]
                    and int(probs[b, :, y, x].argmax()) == c
                    and float(probs[b, c, y, x] / probs[b, :, y, x].sum()) >= 0.35
                ]
                assert bool(found.present[b, c]) == (len(pixels) >= 4)
                expected = pixels if len(pixels) >= 4 else []
                assert (found.labels[b] == c).nonzero().tolist() == [list(pixel) for pixel in expected]
        assert torch.equal(found.kept, found.labels < 4)
        assert found.classes.tolist() == [[0, 1, 2, 3]] * 2


def semantic_by_loop(student, teacher, valid, distance):
    student, teacher = (maps / maps.sum(0).clamp(min=1) for maps in (student, teacher))
    pixels = [(y, x) for y in range(valid.shape[0]) for x in range(valid.shape[1]) if valid[y, x]]
    label = {pixel: int(teacher[:, pixel[0], pixel[1]].argmax()) for pixel in pixels}
    if distance == "mse":
        return sum(float((student[:, y, x] - teacher[:, y, x]).square().mean()) for y, x in pixels) / len(pixels)
    if distance == "ce":
        return sum(-log(student[label[y, x], y, x] / student[:, y, x].sum()) for y, x in pixels) / len(pixels)
    losses = []
    for c in sorted(set(label.values())):
        shared = sum(float(student[c, y, x]) for y, x in pixels if label[y, x] == c)
        sizes = sum(float(student[c, y, x]) for y, x in pixels) + sum(label[pixel] == c for pixel in pixels)
        losses.append(1 - (2 * shared + 1) / (sizes + 1))
    return sum(losses) / len(losses)


class TestProperties:
    def test_order_of_queries_and_of_regions_changes_nothing(self):
        student, teacher, match = random_masks(5, 12), random_masks(3, 12), torch.tensor([4, 0, 2])
        ours, theirs, logits = torch.randn(5, 6).double(), torch.randn(3, 6).double(), torch.randn(5, 4).double()
        classes = torch.tensor([2, 0, 1])
        queries, places = torch.randperm(5), torch.randperm(3)
        moved = queries.argsort()[match]
        for first, second, third in (
            (match, slice(None), slice(None)),
            (moved, queries, slice(None)),
            (match[places], slice(None), places),
        ):
            losses = (
                region_mask_contrast(student[second], teacher[third], first),
                region_feature_contrast(ours[second], theirs[third], first),
                region_class_consistency(logits[second], classes[third], first, 0.1),
            )
            if first is match:
                before = losses
            torch.testing.assert_close(losses, before)

    def test_masks_of_many_sure_queries_do_not_bring_semantic_masks_below_zero(self):
        teacher = random_masks(2, 3, 4, 5)
        for distance in ("dice", "mse", "ce"):
            assert semantic_mask_consistency(20 * teacher, teacher, distance) >= 0
        sure = 7.0 * torch.nn.functional.one_hot(teacher.argmax(1), 3).permute(0, 3, 1, 2)
        assert semantic_mask_consistency(sure, teacher, "dice") == 0.0

    def test_feature_contrast_knows_no_scale(self):
        student, teacher, match = torch.randn(5, 6), torch.randn(3, 6), torch.tensor([4, 0, 2])
        scaled = region_feature_contrast(5 * student, 0.1 * teacher, match)
        torch.testing.assert_close(scaled, region_feature_contrast(student, teacher, match))

    def test_no_gradient_reaches_the_teacher(self):
        student, teacher = random_masks(3, 2, 2).requires_grad_(), random_masks(2, 2, 2).requires_grad_()
        ours, theirs = random_masks(3, 5).requires_grad_(), random_masks(2, 5).requires_grad_()
        semantic, target = random_masks(1, 3, 2, 2).requires_grad_(), random_masks(1, 3, 2, 2).requires_grad_()
        loss = region_mask_contrast(student, teacher, MATCH) + region_feature_contrast(ours, theirs, MATCH)
        for distance in ("dice", "mse", "ce"):
            loss = loss + semantic_mask_consistency(semantic, target, distance)
        loss.backward()
        assert teacher.grad is None and theirs.grad is None and target.grad is None
        assert all(tensor.grad.any() for tensor in (student, ours, semantic))

    @pytest.mark.parametrize("similarity", ["dice", "cosine"])
    def test_gradients(self, similarity):
        student, ours, logits = random_masks(3, 4), torch.randn(3, 5).double(), torch.randn(3, 3).double()
        inputs = tuple(tensor.requires_grad_() for tensor in (student, ours, logits))
        theirs = torch.randn(2, 5).double()

        def losses(student, ours, logits):
            return (
                region_mask_contrast(student, TEACHER, MATCH, 0.5, similarity),
                region_feature_contrast(ours, theirs, MATCH, 0.5),
                region_class_consistency(logits, torch.tensor([1, 0]), MATCH, 0.1),
            )

        assert torch.autograd.gradcheck(losses, inputs)

    def test_pool_passes_gradients_through_features_and_masks(self):
        features, masks = torch.randn(2, 6).double().requires_grad_(), random_masks(3, 6).requires_grad_()
        assert torch.autograd.gradcheck(mask_average_pool, (features, masks))

    def test_no_regions_give_zero_with_a_connected_gradient(self):
        none = torch.zeros(0, dtype=torch.int64)
        student, ours, logits = (random_masks(3, 4).requires_grad_() for _ in range(3))
        semantic = random_masks(1, 3, 2, 2).requires_grad_()
        loss = (
            region_mask_contrast(student, torch.zeros(0, 4), none)
            + region_feature_contrast(ours, torch.zeros(0, 4), none)
            + region_class_consistency(logits, none, none, 0.1)
            + semantic_mask_consistency(semantic, semantic, "dice", torch.zeros(1, 2, 2, dtype=torch.bool))
        )
        loss.backward()
        assert loss.item() == 0.0
        assert all(not tensor.grad.any() for tensor in (student, ours, logits, semantic))

    def test_a_batch_is_the_mean_of_its_pictures(self):
        student, teacher = random_masks(2, 5, 3, 4), [random_masks(3, 3, 4), random_masks(2, 3, 4)]
        match = [torch.tensor([4, 0, 2]), torch.tensor([1, 3])]
        alone = [region_mask_contrast(*picture) for picture in zip(student, teacher, match, strict=True)]
        torch.testing.assert_close(region_mask_contrast(student, teacher, match), sum(alone) / 2)
        ours, theirs = torch.randn(2, 5, 6), [torch.randn(3, 6), torch.randn(2, 6)]
        alone = [region_feature_contrast(*picture) for picture in zip(ours, theirs, match, strict=True)]
        torch.testing.assert_close(region_feature_contrast(ours, theirs, match), sum(alone) / 2)
        masks = random_masks(2, 3, 4, 5), random_masks(2, 3, 4, 5)
        parts = [semantic_mask_consistency_sum(masks[0][b : b + 1], masks[1][b : b + 1]) for b in range(2)]
        total, count = map(sum, zip(*parts, strict=True))
        assert count.dtype == torch.int64
        torch.testing.assert_close(semantic_mask_consistency(*masks), total / count)

    def test_masks_of_zeros_and_ones_leave_everything_finite(self):
        student = torch.stack([torch.zeros(4), torch.ones(4)]).requires_grad_()
        for similarity in ("dice", "cosine"):
            loss = region_mask_contrast(student, torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]]), MATCH, 0.1, similarity)
            loss = loss + region_feature_contrast(
                mask_average_pool(torch.ones(3, 4), student), torch.ones(1, 3), MATCH[:1]
            )
            loss.backward()
            assert loss.isfinite() and student.grad.isfinite().all()
        certain = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]], requires_grad=True)
        loss = semantic_mask_consistency(certain, 1 - certain.detach(), "ce")
        loss.backward()
        assert loss.isfinite() and certain.grad.isfinite().all()

    def test_half_precision_is_computed_in_float32(self):
        assert mask_average_pool(torch.ones(2, 4).half(), torch.ones(3, 4).half()).dtype == torch.float32
        assert region_mask_contrast(STUDENT.half(), TEACHER.half(), MATCH).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: region_mask_contrast(STUDENT, TEACHER, MATCH, 0.0), "temperature is 0.0"),
        (lambda: region_mask_contrast(STUDENT, TEACHER, MATCH, 0.1, "iou"), "similarity is 'iou'"),
        (lambda: region_mask_contrast(STUDENT[:, :3], TEACHER, MATCH), "same pixels"),
        (lambda: region_mask_contrast(STUDENT, TEACHER, torch.tensor([0])), "the teacher has 2 regions"),
        (lambda: region_mask_contrast(STUDENT, TEACHER, torch.tensor([0, 3])), "not among 3"),
        (lambda: region_feature_contrast(STUDENT, TEACHER[:, :3], MATCH), r"\[N, D\] and \[K, D\]"),
        (lambda: mask_average_pool(FEATURES, STUDENT[:, :3]), "not of the same pixels"),
        (lambda: semantic_mask_consistency(torch.ones(1, 2, 2, 2), torch.ones(1, 3, 2, 2)), "student"),
        (lambda: semantic_mask_consistency(*torch.ones(2, 1, 2, 2, 2), "kl"), "distance is 'kl'"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
