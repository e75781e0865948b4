"""CutMix-Seg: its losses on a batch by separate calls, what it must not move, its settings, a run that goes on."""

import pytest
import torch

from scl_core.cutmix import cutmix, sample_boxes, toggled_owner
from scl_core.losses import consistency_loss, structured_consistency_loss
from scl_core.methods import StepDraws
from scl_core.methods.cutmix_seg import CutmixSeg, CutmixSegConfig
from scl_core.methods.mean_teacher import MeanTeacher, MeanTeacherConfig
from scl_core.methods.parts import draw_owner
from tests.methods.mixing import (
    assert_resumed_equals_uninterrupted,
    gradients,
    random_batch,
    refusal,
    small_network,
)

DRAWS = StepDraws(seed=4, step=1)


def method_with(network=None, **settings):
    method = CutmixSeg(network or small_network(), CutmixSegConfig(**settings), steps=10)
    for seed, parameter in enumerate(method.teacher.model.parameters()):
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return method


def by_hand(method, batch):
    """Student and teacher probabilities of the mix, its owner and its valid pixels, by separate calls."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner(a, batch.positions, DRAWS, method.config)
    student = method.student(cutmix(a.strong[0], b.strong[0], owner)).logits.softmax(1)
    teacher = [method.teacher.model(views.weak).logits.softmax(1) for views in (a, b)]
    return student, cutmix(*teacher, owner), owner, cutmix(a.valid, b.valid, owner)


def test_one_box_of_half_the_picture_by_default():
    shares = [
        (draw_owner(random_batch().unlabeled_a, (0, 1), StepDraws(0, step), CutmixSegConfig()) == 0).float().mean()
        for step in range(30)
    ]
    assert all(abs(float(share) - 0.5) < 0.08 for share in shares)


@pytest.mark.parametrize("confidence", ["share", "pixel", "off"])
def test_consistency_is_that_of_separate_calls(confidence):
    method, batch = method_with(confidence=confidence, confidence_threshold=0.7), random_batch()
    student, teacher, _, valid = by_hand(method, batch)
    kept = (teacher.amax(1) >= 0.7) & valid
    assert 0 < kept.sum() < valid.sum()
    expected = {
        "share": consistency_loss(student, teacher, valid) * kept.sum() / valid.sum(),
        "pixel": consistency_loss(student, teacher, kept) * kept.sum() / valid.sum(),
        "off": consistency_loss(student, teacher, valid),
    }[confidence]
    assert method(batch, DRAWS)["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_boxes_it_is_the_plain_mean_teacher():
    method, batch = method_with(num_boxes=0, confidence="off"), random_batch()
    plain = MeanTeacher(method.student, MeanTeacherConfig(), steps=10)
    plain.teacher.model.load_state_dict(method.teacher.model.state_dict())
    assert method(batch, DRAWS)["consistency"].item() == pytest.approx(plain(batch, DRAWS)["consistency"].item())


def test_boxes_toggle_on_request_and_several_have_no_probe():
    settings = {"num_boxes": 3, "total_area": 0.9, "confidence": "off"}
    method, plain, batch = method_with(box_overlap="toggle", **settings), method_with(**settings), random_batch()
    student, teacher, owner, valid = by_hand(method, batch)
    height, width = owner.shape[1:]
    drawn = [sample_boxes(height, width, 3, 0.9, "union", each) for each in DRAWS.generators((0, 1), "boxes")]
    assert torch.equal(owner, torch.stack([toggled_owner(boxes, height, width) for boxes in drawn]))
    found = method(batch, DRAWS)["consistency"].item()
    assert found == pytest.approx(consistency_loss(student, teacher, valid).item(), rel=1e-5)
    assert found != pytest.approx(plain(batch, DRAWS)["consistency"].item(), rel=1e-3)
    assert method.probe(batch, DRAWS) is None
    one = method_with(box_overlap="toggle", structured_weight=1.0)
    assert one.probe(batch, DRAWS).report and one(batch, DRAWS)["structured"] > 0
    whole = method_with(box_overlap="toggle", structured_weight=1.0, structured_region="whole", num_boxes=2)
    assert whole(batch, DRAWS)["structured"] > 0


def test_structured_term_is_the_public_loss_of_the_same_mix():
    settings = {"num_boxes": 4, "num_loss_boxes": 3, "box_reduction": "sum"}
    method, batch = method_with(structured_weight=0.5, **settings), random_batch()
    student, teacher, owner, valid = by_hand(method, batch)
    expected = structured_consistency_loss(student, teacher, owner, 4, 3, valid=valid, box_reduction="sum")
    assert expected > 0
    assert method(batch, DRAWS)["structured"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert method.weights(1)["structured"] == 0.5
    plain = method_with(**settings)
    assert "structured" not in plain(batch, DRAWS).keys() | plain.weights(1).keys()
    assert plain(batch, DRAWS)["consistency"] == method(batch, DRAWS)["consistency"]


def test_teacher_gets_no_gradient_and_every_weight_of_the_student_does():
    method = method_with(structured_weight=1.0, confidence="off")
    sum(method(random_batch(), DRAWS).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad.any() for parameter in method.student.parameters())


def test_supervised_term_does_not_feel_the_unlabeled_part_in_a_pass_of_its_own():
    method, batch = method_with(joint_forward=False), random_batch()
    own = method(batch, DRAWS)["supervised"]
    alone = method.supervised_loss(method.student(batch.images).logits, batch.labels, 1)
    assert torch.equal(own, alone)
    for one, other in zip(gradients(own, method.student), gradients(alone, method.student), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("decay", "same_as"), [(1.0, "before"), (0.0, "student")])
def test_decay_one_freezes_the_teacher_and_zero_copies_the_student(decay, same_as):
    method = method_with(ema_decay=decay, ema_warmup=False)
    expected = {
        "before": [parameter.clone() for parameter in method.teacher.model.parameters()],
        "student": list(method.student.parameters()),
    }[same_as]
    method.after_step(1)
    assert all(map(torch.equal, method.teacher.model.parameters(), expected))


def test_unlabeled_weights_wait_and_rise():
    method = CutmixSeg(small_network(), CutmixSegConfig(start=0.5, ramp=0.3, structured_weight=2.0), steps=10)
    assert set(method(random_batch(), StepDraws(0, 5))) == {"supervised"}
    assert set(method(random_batch(), StepDraws(0, 6))) == {"supervised", "consistency", "structured"}
    assert method.weights(5)["consistency"] == 0 < method.weights(6)["consistency"] < method.weights(10)["consistency"]


def test_probe_shows_the_boxes_of_the_step():
    method, batch = method_with(num_boxes=3), random_batch()
    probe = method.probe(batch, DRAWS)
    assert torch.equal(probe.owner, draw_owner(batch.unlabeled_a, (0, 1), DRAWS, method.config)[0])


def test_void_labels_and_one_picture_give_finite_terms():
    batch = random_batch(count=1)
    batch.labels.fill_(255)
    terms = method_with(structured_weight=1.0)(batch, DRAWS)
    assert terms["supervised"] == 0 and all(term.isfinite() and term >= 0 for term in terms.values())


@pytest.mark.parametrize("changes", [{}, {"method__structured_weight": 1, "method__max_pairs": 50}])
def test_resumed_equals_uninterrupted_bitwise(tmp_path, changes):
    columns = assert_resumed_equals_uninterrupted(tmp_path, method__name="cutmix_seg", **changes)
    assert ("structured" in columns) == bool(changes) and "consistency" in columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__confidence_threshold": 1.5}, "method.confidence_threshold"),
        ({"method__confidence": "soft"}, "share, pixel, off"),
        ({"method__num_loss_boxes": 2}, "method.num_loss_boxes 2 is more than method.num_boxes 1"),
        (
            {"method__box_overlap": "toggle", "method__num_boxes": 2, "method__structured_weight": 1},
            "method.box_overlap toggle leaves no pixel to one of several boxes",
        ),
        ({"method__on_labeled": "true"}, "unknown setting method.on_labeled of method cutmix_seg"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, method__name="cutmix_seg", **changes)
