"""FixMatch: its losses by separate calls, no gradient through the labels, its settings, a run that goes on."""

import pytest
import torch

from scl_core.cutmix import cutmix
from scl_core.losses import pseudo_label_loss, structured_consistency_loss
from scl_core.losses.confidence import pseudo_labels
from scl_core.methods import StepDraws
from scl_core.methods.fixmatch import FixMatch, FixMatchConfig
from scl_core.methods.weak_to_strong import draw_owner_at_times
from scl_core.train import weighted_sum
from tests.methods.mixing import (
    assert_resumed_equals_uninterrupted,
    gradients,
    random_batch,
    refusal,
    small_network,
)

DRAWS = StepDraws(seed=4, step=1)
SURE = 0.5


def method_with(network=None, **settings):
    settings = {"confidence_threshold": SURE, "cutmix_probability": 1.0} | settings
    return FixMatch(network or small_network(), FixMatchConfig(**settings), steps=10)


def by_hand(method, batch):
    """Strong logits, mixed weak logits, owner and valid pixels by separate calls of a network without batch norm."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner_at_times(a, batch.positions, DRAWS, method.config, 0)
    strong = method.student(cutmix(a.strong[0], b.strong[0], owner)).logits
    weak = cutmix(method.student(a.weak).logits, method.student(b.weak).logits, owner)
    return strong, weak.detach(), owner, cutmix(a.valid, b.valid, owner)


def test_worked_total():
    terms = {"supervised": torch.tensor(1.0), "pseudo_label": torch.tensor(0.8)}
    assert weighted_sum(terms, method_with().weights(1)).item() == pytest.approx(0.9)


def test_pseudo_label_term_is_that_of_separate_calls():
    method, batch = method_with(), random_batch()
    strong, weak, _, valid = by_hand(method, batch)
    labels, confidence = pseudo_labels(weak)
    assert 0 < ((confidence >= SURE) & valid).sum() < valid.sum()
    expected = pseudo_label_loss(strong, labels, confidence, SURE, valid)
    assert method(batch, DRAWS)["pseudo_label"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_no_gradient_flows_through_the_labels():
    method, batch = method_with(), random_batch()
    strong, weak, _, valid = by_hand(method, batch)
    expected = pseudo_label_loss(strong, *pseudo_labels(weak), SURE, valid)
    got = gradients(method(batch, DRAWS)["pseudo_label"], method.student)
    for one, other in zip(got, gradients(expected, method.student), strict=True):
        torch.testing.assert_close(one, other)


def test_structured_term_is_the_public_loss_of_the_same_mix():
    settings = {"num_boxes": 4, "num_loss_boxes": 3, "box_reduction": "sum"}
    method, batch = method_with(structured_weight=3.0, **settings), random_batch()
    strong, weak, owner, valid = by_hand(method, batch)
    probs = strong.softmax(1), weak.softmax(1)
    expected = structured_consistency_loss(*probs, owner, 4, 3, valid=valid, box_reduction="sum")
    assert expected > 0
    terms = method(batch, DRAWS)
    assert terms["structured"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert method.weights(1) == {"supervised": 0.5, "pseudo_label": 0.5, "structured": 1.5}
    plain = method_with(**settings)
    assert "structured" not in plain(batch, DRAWS).keys() | plain.weights(1).keys()


def test_batch_norm_moves_by_the_training_passes_alone():
    """Labeled with weak, then strong; the partner's pass is in eval mode and leaves no trace."""
    network, alone = small_network(norm=True), small_network(norm=True)
    method, batch = method_with(network), random_batch()
    method(batch, DRAWS)
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner_at_times(a, batch.positions, DRAWS, method.config, 0)
    alone(torch.cat([batch.images, a.weak]))
    alone(cutmix(a.strong[0], b.strong[0], owner))
    assert network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name])


def test_network_is_evaluated_alone_or_after_its_averaged_copy():
    assert list(method_with().evaluated) == ["student"]
    assert list(method_with(ema_decay=0.9).evaluated) == ["teacher", "student"]


def test_probe_compares_the_network_with_itself():
    method, batch = method_with(num_boxes=3), random_batch()
    probe = method.probe(batch, DRAWS)
    assert torch.equal(probe.owner, draw_owner_at_times(batch.unlabeled_a, (0, 1), DRAWS, method.config, 0)[0])


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_void_labels_and_one_picture_give_finite_terms(threshold):
    batch = random_batch(count=1)
    batch.labels.fill_(255)
    method = method_with(structured_weight=1.0, confidence_threshold=threshold)
    terms = method(batch, DRAWS)
    assert terms["supervised"] == 0 and all(term.isfinite() and term >= 0 for term in terms.values())
    sum(terms.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.student.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"method__confidence_threshold": 0.3},
        {"method__structured_weight": 1, "method__max_pairs": 50, "method__ema_decay": 0.9, "method__num_boxes": 3},
    ],
)
def test_resumed_equals_uninterrupted_bitwise(tmp_path, changes):
    columns = assert_resumed_equals_uninterrupted(tmp_path, method__name="fixmatch", **changes)
    assert ("structured" in columns) == ("method__max_pairs" in changes) and "pseudo_label" in columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__cutmix_probability": 1.5}, "method.cutmix_probability"),
        ({"method__smallest_area": 0.5}, "method.smallest_area 0.5 is more than method.total_area 0.4"),
        ({"method__strong_views": 2}, "unknown setting method.strong_views of method fixmatch"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, method__name="fixmatch", **changes)
