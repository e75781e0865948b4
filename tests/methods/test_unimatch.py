"""UniMatch: its losses on a batch by separate calls, feature dropout, its settings, a run that goes on."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from scl_core.cutmix import cutmix
from scl_core.errors import UserError
from scl_core.losses import ohem_cross_entropy, pseudo_label_loss, structured_consistency_loss
from scl_core.losses.confidence import pseudo_labels
from scl_core.methods import StepDraws
from scl_core.methods.unimatch import UniMatch, UniMatchConfig, drop_channels
from scl_core.methods.weak_to_strong import draw_owner_at_times
from scl_core.models import build_segmenter
from scl_core.train import weighted_sum
from tests.methods.mixing import (
    CLASSES,
    HEIGHT,
    WIDTH,
    assert_resumed_equals_uninterrupted,
    gradients,
    random_batch,
    refusal,
    small_network,
)

DRAWS = StepDraws(seed=4, step=1)


def method_with(network=None, **settings):
    settings = {"confidence_threshold": 0.4, "cutmix_probability": 1.0} | settings
    return UniMatch(network or real_network(), UniMatchConfig(**settings), steps=10)


def plain_method(**settings):
    """On a network without batch norm, whose passes do not depend on what else is in them."""
    return method_with(small_network(), feature_weight=0.0, **settings)


def real_network():
    torch.manual_seed(0)
    network = build_segmenter("mobilenet_v2", CLASSES, decoder_channels=8, width=0.25)
    torch.nn.init.normal_(network.classifier.weight, std=1.0)
    return network


def of_view(method, batch, view):
    """Strong logits, mixed weak logits, owner and valid pixels of one strong view."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner_at_times(a, batch.positions, DRAWS, method.config, view)
    strong = method.student(cutmix(a.strong[view], b.strong[view], owner)).logits
    weak = cutmix(method.student(a.weak).logits, method.student(b.weak).logits, owner)
    return strong, weak.detach(), owner, cutmix(a.valid, b.valid, owner)


def test_worked_total():
    values = {"supervised": 1.0, "strong_1": 0.8, "strong_2": 0.6, "feature": 0.4}
    terms = {name: torch.tensor(value) for name, value in values.items()}
    weights = method_with().weights(1)
    assert weights.keys() == terms.keys()
    assert weighted_sum(terms, weights).item() == pytest.approx(0.775)


@pytest.mark.parametrize("view", [0, 1])
def test_each_strong_view_has_its_own_mix_and_colors(view):
    method, batch = plain_method(), random_batch()
    strong, weak, _, valid = of_view(method, batch, view)
    expected = pseudo_label_loss(strong, *pseudo_labels(weak), 0.4, valid)
    got = method(batch, DRAWS)[f"strong_{view + 1}"]
    assert expected > 0 and got.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(gradients(got, method.student), gradients(expected, method.student), strict=True):
        torch.testing.assert_close(one, other)


def test_structured_term_is_the_mean_over_the_strong_views():
    method, batch = plain_method(structured_weight=1.0, num_boxes=3), random_batch()
    losses = []
    for view in (0, 1):
        strong, weak, owner, valid = of_view(method, batch, view)
        losses.append(
            structured_consistency_loss(
                strong.softmax(1), weak.softmax(1), owner, 3, 3, valid=valid, box_reduction="mean"
            ).item()
        )
    assert losses[0] != losses[1]
    assert method(batch, DRAWS)["structured"].item() == pytest.approx(sum(losses) / 2, rel=1e-4)
    assert method.weights(1)["structured"] == 0.5


def test_perturbed_view_without_dropout_learns_its_own_labels():
    """With no channel dropped the loss is the cross entropy of the weak logits with their own labels."""
    method, batch = method_with(feature_dropout=0.0, confidence_threshold=0.0), random_batch()
    term = method(batch, DRAWS)["feature"]
    fresh, a = real_network(), batch.unlabeled_a
    weak = fresh(torch.cat([batch.images, a.weak])).logits[2:]
    losses = cross_entropy(weak, weak.argmax(1), reduction="none")
    assert term.item() == pytest.approx(losses[a.valid].mean().item(), rel=1e-4)
    dropped = method_with(confidence_threshold=0.0)(batch, DRAWS)["feature"]
    assert dropped.item() != pytest.approx(term.item(), rel=1e-2)


def test_channels_are_dropped_whole_by_each_pictures_own_draws():
    features = torch.rand(3, 400, 4, 5) + 0.1
    generators = DRAWS.generators((0, 1, 2), "dropout")
    dropped = drop_channels(features, 0.25, generators)
    kept = dropped.flatten(2).any(2)
    torch.testing.assert_close(dropped[kept], features[kept] / 0.75)
    assert not dropped[~kept].any()
    assert all(0.65 < share < 0.85 for share in kept.float().mean(1).tolist())
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(dropped[2:], drop_channels(features[2:], 0.25, DRAWS.generators((2,), "dropout")))
    assert torch.equal(drop_channels(features, 0.0, generators), features)


def test_every_weight_takes_part_and_the_network_stays_in_train_mode():
    method = method_with(structured_weight=1.0)
    sum(method(random_batch(), DRAWS).values()).backward()
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    assert all(module.training for module in method.student.modules())


def test_number_of_strong_views_is_told_to_the_loader():
    method = plain_method(strong_views=3)
    assert (UniMatch.num_strong, method.num_strong) == (2, 3)
    assert sum(weight for name, weight in method.weights(1).items() if "strong" in name) == pytest.approx(0.25)


def test_user_network_trains_without_feature_perturbation_alone():
    plain_method()(random_batch(), DRAWS)
    with pytest.raises(UserError, match="method.feature_weight 0.5 needs a network with encode and decode"):
        method_with(small_network())


def test_void_labels_and_one_picture_give_finite_terms():
    batch = random_batch(count=1)
    batch.labels.fill_(255)
    terms = plain_method(structured_weight=1.0)(batch, DRAWS)
    assert terms["supervised"] == 0 and all(term.isfinite() and term >= 0 for term in terms.values())


def test_probe_shows_the_first_strong_view():
    method, batch = plain_method(), random_batch()
    probe = method.probe(batch, DRAWS)
    assert torch.equal(probe.owner, draw_owner_at_times(batch.unlabeled_a, (0, 1), DRAWS, method.config, 0)[0])


@pytest.mark.parametrize("changes", [{}, {"method__structured_weight": 1, "method__strong_views": 3}])
def test_resumed_equals_uninterrupted_bitwise(tmp_path, changes):
    columns = assert_resumed_equals_uninterrupted(
        tmp_path, method__name="unimatch", method__confidence_threshold=0.3, **changes
    )
    assert ("strong_3" in columns) == ("structured" in columns) == bool(changes) and "feature" in columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__strong_views": 1}, "method.strong_views 1 is out of range: allowed are values from 2 to 4"),
        ({"method__feature_dropout": 1.0}, "method.feature_dropout"),
        ({"method__unlabeled_weight": 1.0}, "unknown setting method.unlabeled_weight of method unimatch"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    error = refusal(capsys, tmp_path, method__name="unimatch", **changes)
    assert message in error
    assert "2" in error or "0.9" in error or "unknown" in error  # the allowed values are named


def test_ohem_supervises_hard_pixels_alone():
    batch = random_batch()
    logits = torch.randn(2, CLASSES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    method = plain_method(ohem_threshold=0.7, ohem_min_kept=10)
    expected = ohem_cross_entropy(logits, batch.labels, 0.7, 20)
    assert method.labeled_loss(logits, batch.labels) == pytest.approx(expected.item())
    assert plain_method().labeled_loss(logits, batch.labels) < expected
