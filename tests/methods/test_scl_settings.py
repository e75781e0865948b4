"""What the settings of scl that stand for open questions of the paper do to one step."""

import copy

import pytest
import torch

from scl_core.command_line import run_command
from scl_core.config import load_config
from scl_core.cutmix import cutmix
from scl_core.errors import UserError
from scl_core.losses.consistency import consistency_loss
from scl_core.methods.base import StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.methods.scl import Scl, SclConfig
from scl_core.runs import RunFolder
from scl_core.train import main as train
from tests.methods.mixing import CLASSES, random_batch, refusal, small_network
from tests.tiny import tiny_options

DRAWS = StepDraws(0, 5)


def scl(**settings):
    """A method in the middle of a training, its teacher apart from its student."""
    method = Scl(small_network(norm=True), SclConfig(ramp=0.0, **settings), steps=10).train()
    with torch.no_grad():
        for parameter in method.teacher.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return method


def pieces(method, batch):
    """Student, teacher, owner and validity of the mix, put together by hand."""
    owner = draw_owner(batch.unlabeled_a, batch.positions, DRAWS, method.config)
    a, b = batch.unlabeled_a, batch.unlabeled_b
    student = copy.deepcopy(method.student)
    mixed = cutmix(a.strong[0], b.strong[0], owner)
    logits = student(torch.cat([batch.images, mixed])).logits[len(batch.images) :]
    teacher = cutmix(*(method.teacher.model(view.weak).logits.softmax(1) for view in (a, b)), owner)
    return logits.softmax(1), teacher, owner, cutmix(a.valid, b.valid, owner)


def by_loop(student, teacher, weigh, counts):
    """Eq. 4 pixel by pixel; `weigh` gives a pixel's weight from the teacher's vector, `counts` whether it counts."""
    total, number = 0.0, 0
    for b in range(len(student)):
        for y in range(student.shape[2]):
            for x in range(student.shape[3]):
                if counts[b, y, x]:
                    s, t = student[b, :, y, x], teacher[b, :, y, x]
                    total += weigh(t) * float((s - t).square().sum())
                    number += 1
    return total / max(number, 1)


@pytest.mark.parametrize(
    ("settings", "weigh", "region"),
    [
        ({}, lambda t: 1.0, lambda owner: owner == owner),
        ({"confidence": "soft"}, lambda t: float(t.max()), lambda owner: owner == owner),
        ({"consistency_region": "boxes"}, lambda t: 1.0, lambda owner: owner >= 0),
        ({"consistency_region": "background"}, lambda t: 1.0, lambda owner: owner < 0),
        ({"consistency_classes": "mean"}, lambda t: 1.0 / CLASSES, lambda owner: owner == owner),
    ],
    ids=["plain", "soft confidence", "boxes", "background", "mean over classes"],
)
def test_consistency_against_a_loop_over_the_pixels(settings, weigh, region):
    method, batch = scl(**settings), random_batch()
    with torch.no_grad():
        student, teacher, owner, valid = pieces(method, batch)
        found = method(batch, DRAWS)["consistency"]
    assert float(found) == pytest.approx(by_loop(student, teacher, weigh, valid & region(owner)), rel=1e-4)


def test_a_threshold_leaves_out_unsure_pixels_but_divides_by_all():
    method, batch = scl(confidence="threshold", confidence_threshold=0.6), random_batch()
    with torch.no_grad():
        student, teacher, owner, valid = pieces(method, batch)
        found = method(batch, DRAWS)["consistency"]
    slow = by_loop(student, teacher, lambda t: float(t.max() >= 0.6), valid)
    assert float(found) == pytest.approx(slow, rel=1e-4) and slow < float(consistency_loss(student, teacher, valid))


def test_the_student_as_its_own_teacher_gives_targets_without_gradient_and_keeps_its_statistics():
    method, batch = scl(teacher="student"), random_batch()
    assert method.producer is method.student and list(method.evaluated) == ["teacher", "student"]
    alone, mean = scl(), method.student.first[1].running_mean
    for entry in method.teacher.model.parameters():
        entry.data.fill_(torch.nan)  # the average is for evaluation alone
    terms = method(batch, DRAWS)
    after = mean.clone()
    alone(batch, DRAWS)
    assert torch.equal(after, alone.student.first[1].running_mean)  # the pass for the targets moves nothing
    assert method.student.training and all(torch.isfinite(term) for term in terms.values())
    assert all(term.requires_grad for term in terms.values())


def test_labeled_pictures_can_fill_the_boxes():
    method, batch = scl(mix_from="labeled"), random_batch()
    partner = method.partner(batch)
    assert torch.equal(partner.weak, batch.images) and torch.equal(partner.strong[0], batch.images)
    batch.labels[0, :5] = 255
    assert torch.equal(method.partner(batch).valid, batch.labels != 255)
    unlike = scl()(batch, DRAWS)["structured"]
    assert method(batch, DRAWS)["structured"] != unlike


def test_labeled_pictures_for_the_boxes_must_be_as_many(capsys, tmp_path):
    error = refusal(capsys, tmp_path, method__mix_from="labeled", train__batch_labeled=3)
    assert "method.mix_from" in error and "train.batch_unlabeled" in error


def test_the_structured_loss_alone_is_said_to_be_degenerate():
    with pytest.warns(UserWarning, match="degenerate"):
        scl(consistency_weight=0.0)
    for method in (scl(structured_weight=0.0), scl()):  # consistency only is a good arm
        assert method.weights(5)["consistency"] == 2.0


def test_the_four_rows_of_table_3_come_from_two_trainings(tmp_path):
    scores = {}
    for teacher in ("student", "ema"):
        run = tmp_path / teacher
        options = tiny_options(run, method__teacher=teacher, method__ema_warmup=False, train__steps=2, method__ramp=0.0)
        assert run_command(train, options) == 0
        for row in RunFolder.open(run).evaluations():
            scores[teacher, row["network"]] = row["mean_iou"]
    assert len(scores) == 4 and all(score is not None for score in scores.values())


def test_unknown_values_name_the_setting():
    with pytest.raises(UserError, match="method.teacher 'none' is not one of ema, student"):
        load_config([], {"method.teacher": "none"})
