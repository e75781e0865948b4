"""The region losses against a loop over regions, masks and pixels, and what must hold for all of them."""

from math import log

import pytest
import torch

from scl_core.losses import mask_average_pool, region_feature_contrast, region_mask_contrast
from scl_core.losses.region import (
    Regions,
    class_consistency_sum,
    class_regions,
    feature_contrast_sum,
    mask_contrast_sum,
    region_class_consistency,
    region_feature_contrast_sum,
    region_mask_contrast_sum,
    semantic_mask_consistency,
    semantic_mask_consistency_sum,
)
from tests.losses.regions import (
    FEATURES,
    MATCH,
    STUDENT,
    TEACHER,
    contrast_by_loop,
    dice_by_loop,
    one_hot_masks,
    random_masks,
)


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


def test_matched_negatives_are_the_other_regions_masks_alone():
    """Against a contrast of the matched masks only; a picture without regions and one with a single region are 0."""
    torch.manual_seed(0)
    masks, features = torch.rand(3, 5, 4, 6, requires_grad=True), torch.rand(3, 5, 7, requires_grad=True)
    labels = torch.randint(0, 3, (3, 4, 6))
    present = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    match = torch.tensor([[4, 1, 2], [3, 0, 0], [0, 0, 0]])
    regions = Regions(torch.arange(3).expand(3, -1), present, labels=labels)
    theirs = torch.rand(3, 3, 7)
    found = [
        mask_contrast_sum(masks, regions, match, 0.5, "dice", "matched")[0],
        feature_contrast_sum(features, theirs, regions, match, 0.5, "matched")[0],
    ]
    own, order = match[0], torch.arange(3)
    expected = [
        region_mask_contrast(masks[0][own], one_hot_masks(labels[0], 3), order, 0.5),
        region_feature_contrast(features[0][own], theirs[0], order, 0.5),
    ]
    torch.testing.assert_close(found, expected)
    of_masks, of_features = torch.autograd.grad(sum(found), [masks, features])
    assert of_masks.isfinite().all() and of_features.isfinite().all()
    assert not of_features[1:].any() and not of_features[0, [0, 3]].any() and of_features[0, own].any(1).all()
