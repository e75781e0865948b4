"""CPS: what the two networks teach each other, what they must not, and a run that goes on."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from scl_core.command_line import run_command
from scl_core.cutmix import box_owner, cutmix, sample_boxes
from scl_core.losses import cross_pseudo_loss, ohem_cross_entropy, structured_consistency_loss
from scl_core.losses.cross_pseudo import hard_labels
from scl_core.methods import METHODS, StepDraws
from scl_core.methods.cps import Cps, CpsConfig, MeanOfTwo
from scl_core.methods.parts import draw_owner
from scl_core.restore import restore
from scl_core.train import main as train
from scl_core.train import weighted_sum
from tests.methods.mixing import (
    HEIGHT,
    WIDTH,
    assert_resumed_equals_uninterrupted,
    gradients,
    random_batch,
    refusal,
    small_network,
)
from tests.tiny import checkpoint_tensors, tiny_options

DRAWS = StepDraws(seed=4, step=1)


def method_with(norm=False, **settings):
    return Cps(small_network(norm), CpsConfig(**settings), steps=10)


def unpadded(batch):
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        views.valid = torch.ones_like(views.valid)
    return batch


def test_two_networks_of_one_encoder_are_not_the_same():
    method = method_with()
    assert torch.equal(method.student.first[0].weight, method.second.first[0].weight)
    assert not torch.equal(method.student.classifier.weight, method.second.classifier.weight)


def test_plain_is_one_mean_over_labeled_and_unlabeled_pictures():
    method, batch = method_with(cutmix=False), unpadded(random_batch())
    both = torch.cat([batch.images, batch.unlabeled_a.weak])
    expected = cross_pseudo_loss(method.student(both).logits, method.second(both).logits)
    assert method(batch, DRAWS)["cross_pseudo"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_with_equal_batches_one_mean_is_half_the_sum_of_two():
    batch = unpadded(random_batch())
    one, two = (
        method_with(cutmix=False, normalise=how)(batch, DRAWS)["cross_pseudo"].item()
        for how in ("concat_mean", "sum_of_means")
    )
    assert one == pytest.approx(two / 2, rel=1e-6)


def mixed_by_hand(method, batch):
    """Owner, both networks' logits of the mix and their labels of the whole pictures, mixed, by separate calls."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner(a, batch.positions, DRAWS, method.config)
    logits = [network(cutmix(a.weak, b.weak, owner)).logits for network in method.networks]
    labels = [
        torch.where(owner >= 0, network(b.weak).logits.argmax(1), network(a.weak).logits.argmax(1))
        for network in method.networks
    ]
    return owner, logits, labels


def test_with_cutmix_each_learns_the_others_mixed_labels():
    method, batch = method_with(skip_padding=False), random_batch()
    owner, logits, labels = mixed_by_hand(method, batch)
    assert 0 < (owner >= 0).sum() < owner.numel()
    expected = cross_entropy(logits[0], labels[1]) + cross_entropy(logits[1], labels[0])
    assert method(batch, DRAWS)["cross_pseudo"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_boxes_can_have_areas_of_their_own_in_training_and_in_the_probe():
    method, batch = method_with(total_area=0.5, smallest_box_area=0.25), random_batch()
    owner = draw_owner(batch.unlabeled_a, batch.positions, DRAWS, method.config)
    expected = [
        box_owner(sample_boxes(HEIGHT, WIDTH, 3, 0.5, "sum", generator, 0.25), HEIGHT, WIDTH)
        for generator in DRAWS.generators(batch.positions, "boxes")
    ]
    assert torch.equal(owner, torch.stack(expected))
    assert torch.equal(method.probe(batch, DRAWS).owner, owner[0])
    assert len({tuple(box) for box in sample_boxes(99, 99, 3, 0.5, "sum", None, 0.25)[:, 2:].tolist()}) > 1


@pytest.mark.parametrize(
    ("settings", "name"), [({"num_boxes": 0}, "unlabeled_a"), ({"total_area": 1.0}, "unlabeled_b")]
)
def test_without_boxes_and_with_one_over_everything_the_labels_are_those_of_one_picture(settings, name):
    method, batch = method_with(**({"num_boxes": 1} | settings)), random_batch()
    owner = draw_owner(batch.unlabeled_a, batch.positions, DRAWS, method.config)
    labels, _ = method.targets(method.student, batch.unlabeled_a, batch.unlabeled_b, owner)
    assert torch.equal(labels, hard_labels(method.student(getattr(batch, name).weak).logits))


def test_padding_counts_only_where_it_is_asked_for():
    batch = random_batch()
    values = [method_with(skip_padding=skip)(batch, DRAWS)["cross_pseudo"].item() for skip in (True, False)]
    assert values[0] != values[1]
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        views.weak[~views.valid.unsqueeze(1).expand_as(views.weak)] += 1.0
    assert method_with()(batch, DRAWS)["cross_pseudo"].item() == pytest.approx(values[0], rel=1e-6)


@pytest.mark.parametrize("cut", [True, False])
def test_no_gradient_reaches_who_gives_the_labels(cut):
    method, batch = method_with(cutmix=cut, skip_padding=False), unpadded(random_batch())
    _, logits, labels = mixed_by_hand(method, batch)
    if not cut:
        both = torch.cat([batch.images, batch.unlabeled_a.weak])
        logits = [network(both).logits for network in method.networks]
        labels = [hard_labels(z) for z in logits]
    term = method(batch, DRAWS)["cross_pseudo"]
    for own, other in ((0, 1), (1, 0)):
        alone = gradients(cross_entropy(logits[own], labels[other]), method.networks[own])
        for found, expected in zip(
            torch.autograd.grad(term, list(method.networks[own].parameters()), retain_graph=True), alone, strict=True
        ):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("cut", [True, False])
def test_nothing_labeled_leaves_the_cross_pseudo_loss_as_it_is(cut):
    method, batch = method_with(cutmix=cut), random_batch()
    before = method(batch, DRAWS)["cross_pseudo"].item()
    batch.labels.fill_(255)
    terms = method(batch, DRAWS)
    assert terms["supervised"].item() == 0.0 and terms["cross_pseudo"].item() == before


@pytest.mark.parametrize("cut", [True, False])
def test_weight_zero_trains_two_supervised_networks(cut):
    method, batch = method_with(norm=True, cutmix=cut, cross_pseudo_weight=0.0), random_batch()
    alone = [copy.deepcopy(network) for network in method.networks]
    weighted_sum(method(batch, DRAWS), method.weights(1)).backward()
    for network, twin in zip(method.networks, alone, strict=True):
        loss = cross_entropy(twin(batch.images).logits, batch.labels)
        for found, expected in zip(network.parameters(), gradients(loss, twin), strict=True):
            torch.testing.assert_close(found.grad, expected, rtol=1e-6, atol=1e-8)


def test_ohem_supervises_both_networks_on_hard_pixels():
    method, batch = method_with(ohem_threshold=0.3, ohem_min_kept=5), random_batch()
    expected = sum(
        ohem_cross_entropy(network(batch.images).logits, batch.labels, 0.3, 10) for network in method.networks
    )
    assert method(batch, DRAWS)["supervised"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_structured_term_asks_each_network_for_the_others_similarities():
    method, batch = method_with(structured_weight=2.0), random_batch()
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner, logits, _ = mixed_by_hand(method, batch)
    probs = [cutmix(*(n(views.weak).logits.softmax(1) for views in (a, b)), owner) for n in method.networks]
    valid = cutmix(a.valid, b.valid, owner)
    expected = sum(
        structured_consistency_loss(logits[own].softmax(1), probs[1 - own], owner, 3, 3, None, None, valid, "mean")
        for own in (0, 1)
    )
    assert method(batch, DRAWS)["structured"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert method.weights(1)["structured"] == 2.0


def test_mean_of_two_is_the_mean_of_probabilities():
    first, second = small_network(), small_network(seed=1)
    images = torch.randn(1, 3, 4, 5)
    found = MeanOfTwo(first, second)(images).logits.softmax(1)
    torch.testing.assert_close(found, (first(images).logits.softmax(1) + second(images).logits.softmax(1)) / 2)


def test_a_file_without_second_network_is_of_another_method():
    with pytest.raises(ValueError, match="no second network"):
        method_with().load_tensors({"student": small_network().state_dict()}, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutmix": "false", "structured_weight": 1}, "method.structured_weight needs the boxes of CutMix"),
        ({"normalise": "mean"}, "method.normalise 'mean' is not one of concat_mean, sum_of_means"),
        ({"ohem_threshold": 2}, "method.ohem_threshold 2.0 is out of range"),
        ({"partner": "none"}, "method.partner 'none' is not one of other, self"),
        ({"box_overlap": "toggle", "structured_weight": 1}, "leaves no pixel to one of several boxes"),
        ({"smallest_box_area": 0.4}, "method.smallest_box_area 0.4 is the least that areas add up to"),
        ({"smallest_box_area": 0.2, "area_mode": "union"}, "set method.area_mode to sum"),
        ({"max_pairs": -1}, "method.max_pairs -1 is out of range"),
        ({"ema_decay": 0.9}, "unknown setting method.ema_decay of method cps"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    settings = {f"method__{name}": value for name, value in changes.items()}
    assert message in refusal(capsys, tmp_path, method__name="cps", **settings)


def test_run_with_cutmix_resumed_equals_uninterrupted(tmp_path):
    settings = {"evaluate_mean": "true", "structured_weight": 0.5, "ohem_threshold": 0.7, "ohem_min_kept": 100}
    columns = assert_resumed_equals_uninterrupted(
        tmp_path, method__name="cps", **{f"method__{name}": value for name, value in settings.items()}
    )
    assert {"supervised", "cross_pseudo", "structured"} <= columns
    restored = restore(tmp_path / "whole")
    assert list(restored.method.evaluated) == ["first", "mean"]
    stored = checkpoint_tensors(tmp_path / "whole", 3)
    assert_starts_another_run(tmp_path, stored)


def assert_starts_another_run(folder, stored):
    """`model.weights` takes the first network of the run, and the second's encoder with it."""
    options = tiny_options(
        folder / "next", method__name="cps", model__weights=folder / "whole", train__steps=1, train__learning_rate=0
    )
    assert run_command(train, options) == 0
    started = checkpoint_tensors(folder / "next", 1)
    names = [name for name in stored if name.startswith("student:encoder.") and name.endswith("weight")]
    assert names and all(torch.equal(started[name], stored[name]) for name in names)
    assert torch.equal(started["student:classifier.weight"], stored["student:classifier.weight"])
    assert all(torch.equal(started[name.replace(":", ":beside.second.")], stored[name]) for name in names)


def test_plain_run_from_end_to_end(tmp_path):
    options = tiny_options(tmp_path / "run", method__name="cps", method__cutmix="false", train__steps=2)
    assert run_command(train, options) == 0
    assert list(restore(tmp_path / "run").method.evaluated) == ["first"] and "cps" in METHODS
