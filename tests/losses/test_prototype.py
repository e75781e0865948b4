"""The prototype predictor on two dimensions by hand, its update, and pixels read without the full-size map."""

from math import exp, log

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from scl_core.losses import prototype_logits, prototype_loss, pseudo_label_loss, relaxed_cross_entropy
from scl_core.losses.prototype import (
    assign_prototypes,
    cosines,
    gather_features,
    prototype_sums,
    sample_grid,
    update_prototypes,
)

PROTOTYPES = torch.tensor([[[1, 0], [0, 1]], [[-1, 0], [1.2, 1.6]]], dtype=torch.float64)
FEATURE = torch.tensor([[3.0, 4.0]], dtype=torch.float64)


def test_predictor():
    torch.testing.assert_close(cosines(FEATURE, PROTOTYPES)[0], torch.tensor([[0.6, 0.8], [-0.6, 1.0]]).double())
    logits = prototype_logits(FEATURE, PROTOTYPES, 0.1)
    torch.testing.assert_close(logits, torch.tensor([[8.0, 10.0]]).double())
    torch.testing.assert_close(logits.softmax(1), torch.tensor([[0.119203, 0.880797]]).double(), atol=1e-6, rtol=0)
    for of_class in (torch.logsumexp, lambda values, dim: values.mean(dim)):  # the maximum over K, and neither of these
        assert not torch.allclose(of_class(cosines(FEATURE, PROTOTYPES)[0] / 0.1, 1), logits[0], atol=0.1)
    losses = [prototype_loss(FEATURE, torch.tensor([label]), PROTOTYPES, 0.1).item() for label in (0, 1)]
    assert losses == pytest.approx([2.126928, 0.126928], abs=1e-6)


def test_scale_of_feature_and_prototype_does_not_matter():
    scaled = PROTOTYPES.clone()
    scaled[1, 1] *= 7
    torch.testing.assert_close(prototype_logits(5 * FEATURE, scaled, 0.1), prototype_logits(FEATURE, PROTOTYPES, 0.1))


@pytest.mark.parametrize("classes", [19, 21])
def test_bounds(classes):
    alike = torch.ones(classes, 1, 2)
    assert prototype_loss(FEATURE.float(), torch.tensor([0]), alike, 0.1).item() == pytest.approx(log(classes))
    away = -FEATURE.expand(classes, 1, 2).clone()
    away[0] = FEATURE
    assert prototype_logits(FEATURE, away, 0.1)[0, :2].tolist() == pytest.approx([10.0, -10.0])
    least = log(1 + (classes - 1) * exp(-20))
    assert prototype_loss(FEATURE, torch.tensor([0]), away, 0.1).item() == pytest.approx(least, rel=1e-6)


def test_gradient_turns_the_feature_and_moves_no_prototype():
    feature, prototypes = FEATURE.clone().requires_grad_(), PROTOTYPES.clone().requires_grad_()
    prototype_loss(feature, torch.tensor([0]), prototypes, 0.1).backward()
    expected = torch.tensor([[0.845565, -0.634174]]).double()
    torch.testing.assert_close(feature.grad, expected, atol=1e-6, rtol=0)
    assert (feature.grad * FEATURE).sum().item() == pytest.approx(0.0, abs=1e-12)
    assert prototypes.grad is None


def test_gradient_against_differences():
    features = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    prototypes, labels = torch.randn(4, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 255, 3, 2, 255])
    assert torch.autograd.gradcheck(lambda f: prototype_loss(f, labels, prototypes, 0.5), features)


def test_doubled_and_permuted_prototypes_predict_the_same():
    features, prototypes = torch.randn(5, 3).double(), torch.randn(4, 2, 3).double()
    expected = prototype_logits(features, prototypes, 0.1)
    for others in (torch.cat([prototypes, prototypes[:, :1]], 1), prototypes.flip(1)):
        torch.testing.assert_close(prototype_logits(features, others, 0.1), expected)


def test_one_prototype_is_a_cosine_classifier():
    features, prototypes = torch.randn(5, 3), torch.randn(4, 1, 3)
    expected = torch.cosine_similarity(features[:, None], prototypes[:, 0][None], dim=2) / 0.1
    torch.testing.assert_close(prototype_logits(features, prototypes, 0.1), expected)


def test_against_a_loop():
    features, prototypes = torch.randn(7, 3, dtype=torch.float64), torch.randn(4, 2, 3, dtype=torch.float64)
    labels = torch.tensor([0, 3, 255, 1, 2, 2, 255])
    losses = []
    for feature, label in zip(features, labels.tolist(), strict=True):
        nearest = [max(float(feature @ m / (feature.norm() * m.norm())) for m in of_class) for of_class in prototypes]
        if label != 255:
            losses.append(log(sum(exp(value / 0.1) for value in nearest)) - nearest[label] / 0.1)
    found = prototype_loss(features, labels, prototypes, 0.1).item()
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def test_a_feature_of_zeros_gives_no_nan_and_no_gradient():
    feature = torch.zeros(1, 2, requires_grad=True)
    loss = prototype_loss(feature, torch.tensor([0]), PROTOTYPES.float(), 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(log(2)) and torch.equal(feature.grad, torch.zeros(1, 2))


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_labeled_gives_zero_with_a_connected_gradient(count):
    features = torch.randn(count, 2, requires_grad=True)
    loss = prototype_loss(features, torch.full((count,), 255), PROTOTYPES.float(), 0.1)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(features.grad, torch.zeros(count, 2))


def test_update_takes_raw_features_of_the_own_class():
    features = torch.tensor([[3.0, 4.0], [1.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 255])
    assert cosines(features[:1], PROTOTYPES)[0].flatten().argmax() == 3  # class 1 has the nearest
    assert assign_prototypes(features[:2], labels[:2], PROTOTYPES).tolist() == [1, 1]
    sums, counts = prototype_sums(features, labels, PROTOTYPES)
    assert counts.tolist() == [[0, 2], [0, 0]] and sums[0, 1].tolist() == [4.0, 6.0]
    moved = update_prototypes(PROTOTYPES, sums, counts, 0.99)
    torch.testing.assert_close(moved[0, 1], torch.tensor([0.02, 1.02]).double())
    stays = counts == 0
    assert torch.equal(moved[stays], PROTOTYPES[stays])


def test_sums_of_parts_add_up():
    features, labels, prototypes = (
        torch.randn(50, 3).double(),
        torch.randint(0, 4, (50,)),
        torch.randn(4, 2, 3).double(),
    )
    whole = prototype_sums(features, labels, prototypes)
    parts = [prototype_sums(features[part], labels[part], prototypes) for part in (slice(0, 13), slice(13, 50))]
    torch.testing.assert_close(sum(sums for sums, _ in parts), whole[0])
    assert torch.equal(sum(counts for _, counts in parts), whole[1]) and int(whole[1].sum()) == 50


def test_nothing_received_changes_nothing():
    sums, counts = prototype_sums(torch.zeros(0, 2).double(), torch.zeros(0, dtype=torch.int64), PROTOTYPES)
    assert torch.equal(update_prototypes(PROTOTYPES, sums, counts, 0.99), PROTOTYPES)


def test_one_pixel_in_each_quadrant():
    places = sample_grid(4, 4, 2)
    assert sorted((row // 2, column // 2) for row, column in places.tolist()) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(("side", "cell"), [(769, 24), (513, 16)])
def test_grid_of_the_papers_crops(side, cell):
    places = torch.cat([sample_grid(side, side, 32, torch.Generator().manual_seed(seed)) for seed in range(4)])
    assert len(places) == 4 * 1024 and int(places.max()) < side - 1
    first = places[:1024].view(32, 32, 2) // cell
    assert torch.equal(first, torch.stack(torch.meshgrid(*[torch.arange(32)] * 2, indexing="ij"), -1))


def test_small_and_oblong_crops_have_a_grid_too():
    assert len(sample_grid(10, 300, 32)) == 5 * 32 and sample_grid(1, 1, 32).tolist() == [[0, 0]]


def test_places_are_uniform_in_their_cell():
    places = torch.cat([sample_grid(8, 8, 2, torch.Generator().manual_seed(seed)) for seed in range(400)])
    counts = torch.bincount(places[:, 0] * 8 + places[:, 1], minlength=64)
    assert counts.min() >= 8 and counts.max() <= 45  # 25 each, give or take 5


def test_reading_equals_resizing_and_then_reading():
    features = torch.randn(2, 5, 4, 7, requires_grad=True)
    places = torch.stack(torch.meshgrid(torch.arange(13), torch.arange(31), indexing="ij"), -1).flatten(0, 1)
    found = gather_features(features, places, (13, 31))
    whole = interpolate(features, size=(13, 31), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found, whole.flatten(2).transpose(1, 2), atol=1e-5, rtol=0)
    weights = torch.randn_like(found)
    ours, theirs = (
        torch.autograd.grad((weights * maps).sum(), features)[0] for maps in (found, whole.flatten(2).transpose(1, 2))
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 1)])
def test_reading_from_tiny_maps(size):
    features = torch.randn(1, 2, *size)
    places = torch.tensor([[0, 0], [8, 6]])
    whole = interpolate(features, size=(9, 7), mode="bilinear", align_corners=True)
    torch.testing.assert_close(gather_features(features, places, (9, 7))[0].T, whole[0][:, [0, 8], [0, 6]])


def test_features_are_resized_before_they_are_normalised():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double().view(1, 2, 1, 2)  # (1, 0) and (0, 2) side by side
    middle = gather_features(features, torch.tensor([[0, 1]]), (1, 3))[0]
    assert middle.tolist() == [[0.5, 1.0]]
    cosine = cosines(middle, torch.tensor([[[1.0, 0.0]]]).double()).item()
    assert cosine == pytest.approx(0.447214, abs=1e-6)


def test_masked_mean_is_over_kept_pixels():
    confidence, losses = torch.tensor([0.95, 0.79, 0.8, 0.5]), (1.0, 2.0, 3.0, 4.0)
    logits = torch.stack([torch.zeros(4), torch.tensor([exp(loss) - 1 for loss in losses]).log()], 1)
    labels = torch.where(confidence >= 0.8, 0, 255)
    assert cross_entropy(logits, labels, ignore_index=255).item() == pytest.approx(2.0)
    maps = logits.T.view(1, 2, 1, 4)
    assert relaxed_cross_entropy(maps, labels.view(1, 1, 4), window=1).item() == pytest.approx(2.0)
    own, sure = torch.zeros(1, 1, 4, dtype=torch.int64), confidence.view(1, 1, 4)
    assert pseudo_label_loss(maps, own, sure, 0.8).item() == pytest.approx(1.0)  # over all pixels instead
    # the prototype predictor's mean: label 255 takes no part
    features, kept = FEATURE.repeat(3, 1), torch.tensor([0, 255, 1])
    mean = (2.126928 + 0.126928) / 2
    assert prototype_loss(features, kept, PROTOTYPES, 0.1).item() == pytest.approx(mean, abs=1e-6)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"must be \[N, D\]"):
        prototype_logits(torch.randn(2, 3), PROTOTYPES, 0.1)
