"""PCR: both predictors by separate calls, the prototypes' life, what must not move, and a run that goes on."""

from math import ceil

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from scl_core.command_line import run_command
from scl_core.cutmix import cutmix
from scl_core.evaluate import main as evaluate
from scl_core.losses import ohem_cross_entropy, prototype_loss, structured_consistency_loss
from scl_core.losses.prototype import prototype_sums, sample_grid, update_prototypes
from scl_core.methods import StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.methods.pcr import Pcr, PcrConfig
from scl_core.models.deeplabv3plus import SegmenterOutput
from scl_core.restore import restore
from scl_core.train import main as train
from tests.methods.mixing import (
    CLASSES,
    HEIGHT,
    WIDTH,
    Pointwise,
    assert_resumed_equals_uninterrupted,
    gradients,
    random_batch,
    refusal,
)
from tests.tiny import checkpoint_tensors, metrics, tiny_options

DRAWS = StepDraws(seed=4, step=5)
MIXED = {"cutmix_probability": 1.0}


class Coarse(Pointwise):
    """Features at a third of the pictures' size, so that reading them interpolates."""

    def forward(self, images):
        features = self.first(images)[:, :, ::3, ::3]
        return SegmenterOutput(interpolate(self.classifier(features), images.shape[-2:]), features)


def method_with(ready=True, **settings):
    torch.manual_seed(0)
    method = Pcr(Coarse(), PcrConfig(**({"start": 0.2, "confidence_threshold": 0.6} | settings)), steps=10)
    for parameter in method.teacher.model.parameters():
        parameter.data.add_(0.5 * torch.randn(parameter.shape))
    if ready:
        method.prototypes.copy_(torch.rand(method.prototypes.shape))
    return method


def by_hand(method, batch, mixed):
    """What the student sees, its answers, the teacher's confident labels and the valid pixels, by separate calls."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner(a, batch.positions, DRAWS, method.config) if mixed else torch.full(a.valid.shape, -1)
    teacher = [method.teacher.model(views.weak).logits.softmax(1) for views in (a, b)]
    probs, valid = cutmix(*teacher, owner), cutmix(a.valid, b.valid, owner)
    confidence, labels = probs.max(1)
    kept = (confidence >= method.config.confidence_threshold) & valid
    labels = torch.where(kept, labels, 255)
    assert 0 < kept.sum() < valid.sum()
    output = method.student(torch.cat([batch.images, cutmix(a.strong[0], b.strong[0], owner)]))
    return output, labels, valid, owner, probs.detach()


def full_size(method, features, labels):
    """Features [B, n, D] and labels [B, n] at the step's pixels, read from the resized map."""
    rows, columns = sample_grid(HEIGHT, WIDTH, method.config.grid, DRAWS.generators((0,), "pixels")[0]).unbind(1)
    whole = interpolate(features, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)
    return whole[:, :, rows, columns].transpose(1, 2).flatten(0, 1), labels[:, rows, columns].flatten()


@pytest.mark.parametrize("mixed", [True, False])
def test_every_term_is_that_of_separate_calls(mixed):
    method, batch = method_with(cutmix_probability=float(mixed), structured_weight=1.0), random_batch()
    output, labels, valid, owner, probs = by_hand(method, batch, mixed)
    known, unknown = output.logits[:2], output.logits[2:]
    expected = {
        "supervised": cross_entropy(known, batch.labels),
        "pseudo_label": cross_entropy(unknown, labels, ignore_index=255),
        "prototype_labeled": prototype_loss(
            *full_size(method, output.features[:2], batch.labels), method.prototypes, 0.1
        ),
        "prototype_unlabeled": prototype_loss(*full_size(method, output.features[2:], labels), method.prototypes, 0.1),
        "structured": structured_consistency_loss(unknown.softmax(1), probs, owner, 1, 1, None, None, valid, "mean"),
    }
    found = method(batch, DRAWS)
    assert found.keys() == expected.keys() and (found["structured"] > 0) == mixed
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_the_sum_can_be_divided_by_all_valid_pixels():
    batch = random_batch()
    method = method_with(normalise="valid", **MIXED)
    output, labels, valid, _, _ = by_hand(method, batch, True)
    expected = cross_entropy(output.logits[2:], labels, ignore_index=255, reduction="sum") / valid.sum()
    assert method(batch, DRAWS)["pseudo_label"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("normalise", ["kept", "valid"])
@pytest.mark.parametrize(("step", "share"), [(5, 0.7), (10, 1.0)])
def test_the_labels_of_largest_entropy_are_left_out_at_first_and_the_loss_is_scaled(normalise, step, share):
    batch, draws = random_batch(), StepDraws(seed=4, step=step)
    plain, method = (method_with(normalise=normalise, drop_percent=drop, **MIXED) for drop in (0.0, 60.0))
    plain.prototypes.copy_(method.prototypes)
    unlabeled = method.unlabeled(batch, draws)
    labels, probs = method.teacher_labels(unlabeled), unlabeled.seen.probs
    found = method(batch, draws)
    if share == 1.0:
        assert found["pseudo_label"].item() == plain(batch, draws)["pseudo_label"].item()
        return
    logits = method.student(torch.cat([batch.images, unlabeled.pictures])).logits[2:]
    losses = cross_entropy(logits, labels, ignore_index=255, reduction="none").detach()
    entropy = -(probs * probs.log()).sum(1)
    places = sorted((labels != 255).nonzero().tolist(), key=lambda place: float(entropy[tuple(place)]))
    last = float(entropy[tuple(places[ceil(share * len(places)) - 1])]) + 1e-6  # coarse features have equals
    kept = [place for place in places if entropy[tuple(place)] <= last]
    total = sum(float(losses[tuple(place)]) for place in kept) * len(places) / len(kept)
    count = len(kept) if normalise == "kept" else int(unlabeled.valid.sum())
    assert found["pseudo_label"].item() == pytest.approx(total / count, rel=1e-5)
    assert found["prototype_unlabeled"].item() == plain(batch, draws)["prototype_unlabeled"].item()


def test_half_of_the_steps_mix():
    method, batch = method_with(), random_batch()
    mixed = [method.unlabeled(batch, StepDraws(0, step)).is_mixed for step in range(60)]
    assert 15 < sum(mixed) < 45


def test_ohem_by_default_and_none_on_request():
    batch = random_batch()
    strict = method_with(ohem_threshold=0.3, ohem_min_kept=5)
    logits = strict.student(batch.images).logits
    early = StepDraws(4, 2)
    assert strict(batch, early).keys() == {"supervised"}
    expected = ohem_cross_entropy(logits, batch.labels, 0.3, 10)
    assert strict(batch, early)["supervised"].item() == pytest.approx(expected.item(), rel=1e-6)
    expected = cross_entropy(logits, batch.labels)
    assert method_with(ohem_threshold=None)(batch, early)["supervised"].item() == pytest.approx(expected.item())


def test_gradients_are_the_students_alone_and_labels_do_not_come_from_prototypes():
    method, batch = method_with(**MIXED), random_batch()
    terms = method(batch, DRAWS)
    before = [gradient.clone() for gradient in gradients(terms["pseudo_label"], method.student)]
    method.prototypes.copy_(torch.rand(method.prototypes.shape))
    terms = method(batch, DRAWS)
    for found, expected in zip(gradients(terms["pseudo_label"], method.student), before, strict=True):
        assert torch.equal(found, expected)
    sum(method(batch, DRAWS).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    assert "prototypes" not in dict(method.named_parameters()) and method.prototypes.grad is None


def test_weight_zero_of_the_prototypes_is_the_plain_teacher_and_student():
    method, batch = method_with(prototype_weight=0.0, **MIXED), random_batch()
    output, labels, *_ = by_hand(method, batch, True)
    plain = cross_entropy(output.logits[:2], batch.labels) + cross_entropy(output.logits[2:], labels, ignore_index=255)
    weights = method.weights(5)
    total = sum(weights[name] * term for name, term in method(batch, DRAWS).items())
    for found, expected in zip(gradients(total, method.student), gradients(plain, method.student), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "pools"),
    [
        ({}, True),
        ({"update_from": "labeled"}, False),
        ({"update_on_cutmix": False}, False),
        ({"update_on_cutmix": False, "cutmix_probability": 0.0}, True),
    ],
)
def test_prototypes_move_after_the_step_by_the_features_of_the_step(settings, pools):
    method, batch = method_with(**(MIXED | settings)), random_batch()
    output, labels, *_ = by_hand(method, batch, method.config.cutmix_probability == 1.0)
    parts = [full_size(method, output.features[:2], batch.labels), full_size(method, output.features[2:], labels)]
    features, classes = (torch.cat(tensors) for tensors in zip(*parts[: 1 + pools], strict=True))
    before = method.prototypes.clone()
    expected = update_prototypes(before, *prototype_sums(features, classes, before), 0.99)
    method(batch, DRAWS)
    assert torch.equal(method.prototypes, before)
    method.after_step(5)
    torch.testing.assert_close(method.prototypes, expected)
    assert not torch.equal(method.prototypes, before)


def test_prototypes_stay_when_no_pixel_qualifies():
    method, batch = method_with(confidence_threshold=1.0), random_batch()
    batch.labels.fill_(255)
    before = method.prototypes.clone()
    terms = method(batch, DRAWS)
    assert all(terms[name].item() == 0.0 for name in terms)
    sum(terms.values()).backward()
    method.after_step(5)
    method.eval()
    method.teacher.model(batch.images)
    assert torch.equal(method.prototypes, before)


def test_first_prototypes_come_with_the_first_step_after_the_warm_start():
    method, batch = method_with(ready=False), random_batch()
    method(batch, StepDraws(4, 2))
    assert not method.prototypes.any()
    method(batch, StepDraws(4, 3))
    first = method.prototypes.clone()
    assert first.shape == (CLASSES, 4, 8) and first.flatten(1).any(1).all()
    method(batch, StepDraws(4, 4))
    assert torch.equal(method.prototypes, first)


def test_the_teacher_is_the_student_until_its_average_begins():
    method = method_with()
    for step, decay in ((1, 0.0), (2, 0.0), (3, 0.0), (4, 0.5), (5, 2 / 3), (12, 0.9)):
        old, new = (network.classifier.weight.clone() for network in (method.teacher.model, method.student))
        method.after_step(step)
        torch.testing.assert_close(method.teacher.model.classifier.weight, decay * old + (1 - decay) * new)
        method.student.classifier.weight.data.add_(torch.randn(new.shape))


def test_without_a_warm_up_the_average_begins_where_the_warm_start_ends():
    method = method_with(ema_time=0.5, ema_warmup=False)
    for step, decay in ((1, 0.0), (2, 0.0), (3, 0.8), (4, 0.8)):
        old, new = (network.classifier.weight.clone() for network in (method.teacher.model, method.student))
        method.after_step(step)
        torch.testing.assert_close(method.teacher.model.classifier.weight, decay * old + (1 - decay) * new)
        method.student.classifier.weight.data.add_(torch.randn(new.shape))


def test_prototypes_survive_saving_and_loading():
    method, other = method_with(), method_with(ready=False)
    other.load_tensors(method.tensors(), 5)
    assert torch.equal(other.prototypes, method.prototypes)


def test_prototypes_of_others_are_refused():
    method = method_with()
    with pytest.raises(ValueError, match="prototypes for 3 classes, 2 each, of 8 channels; .* 3 classes, 4 each"):
        method.load_tensors(method_with(num_prototypes=2).tensors(), 1)
    with pytest.raises(ValueError, match="no prototypes"):
        method.load_tensors({"student": method.student.state_dict()}, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_prototypes": 0}, "method.num_prototypes 0 is out of range"),
        ({"temperature": 0}, "method.temperature 0.0 is out of range"),
        ({"confidence_threshold": 1.5}, "method.confidence_threshold 1.5 is out of range"),
        ({"drop_percent": 100}, "method.drop_percent 100.0 is out of range"),
        ({"normalise": "all"}, "method.normalise 'all' is not one of kept, valid"),
        ({"evaluate_mean": "true"}, "unknown setting method.evaluate_mean of method pcr"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    settings = {name if "__" in name else f"method__{name}": value for name, value in changes.items()}
    assert message in refusal(capsys, tmp_path, method__name="pcr", **settings)


def test_run_resumed_in_the_warm_start_equals_uninterrupted(tmp_path, capsys):
    settings = {"method__start": 0.34, "method__confidence_threshold": 0.1, "method__structured_weight": 0.5}
    columns = assert_resumed_equals_uninterrupted(tmp_path, method__name="pcr", **settings)
    assert {"pseudo_label", "prototype_labeled", "prototype_unlabeled", "structured"} <= columns
    assert [row["pseudo_label"] is None for row in metrics(tmp_path / "whole")] == [True, False, False]
    assert list(restore(tmp_path / "whole").method.evaluated) == ["teacher", "student"]
    stored = checkpoint_tensors(tmp_path / "whole", 3)
    assert stored["student:beside.prototypes"].shape == (11, 4, 8)
    options = tiny_options(tmp_path / "next", model__weights=tmp_path / "whole", train__steps=1, train__learning_rate=0)
    assert run_command(train, [*options, "--method.name", "supervised"]) == 0
    started = checkpoint_tensors(tmp_path / "next", 1)
    assert torch.equal(started["student:classifier.weight"], stored["teacher:classifier.weight"])
    capsys.readouterr()
    other = tmp_path / "next" / "checkpoints" / "00000001"
    assert run_command(evaluate, [str(tmp_path / "whole"), "--checkpoint", str(other), "--device", "cpu"]) == 2
    assert "is of method supervised, and the run is of method pcr" in capsys.readouterr().err


def test_run_resumed_after_the_first_prototypes_equals_uninterrupted(tmp_path):
    assert_resumed_equals_uninterrupted(
        tmp_path,
        method__name="pcr",
        method__start=0.0,
        method__grid=8,
        method__ema_time=0.5,
        method__teacher_bn="recalibrate",
    )
