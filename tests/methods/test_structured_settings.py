"""The structured term of every method that mixes: where it takes its pixels and what it compares, by settings."""

import pytest
import torch

from scl_core.cutmix import cutmix
from scl_core.losses import structured_consistency_loss
from scl_core.methods import StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.methods.scl import Scl, SclConfig
from scl_core.seeding import generator_for
from tests.methods.mixing import assert_resumed_equals_uninterrupted, random_batch, refusal, small_network

DRAWS = StepDraws(seed=4, step=3)


def method_with(**settings):
    method = Scl(small_network(), SclConfig(**{"num_boxes": 4, "ramp": 0.0} | settings), steps=10)
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


def pixels(maps, chosen):
    return torch.nn.functional.normalize(maps[:, chosen].double(), dim=0)


def test_whole_picture_is_one_region_of_its_valid_pixels():
    method, batch = method_with(structured_region="whole"), random_batch()
    student, teacher, owner, valid = by_hand(method, batch)
    expected = []
    for picture in range(2):
        one, other = (pixels(maps[picture], valid[picture]) for maps in (student, teacher))
        expected.append((one.T @ one - other.T @ other).square().mean())
    assert 0 < valid.sum() < valid.numel()
    assert method(batch, DRAWS)["structured"].item() == pytest.approx(sum(expected).item() / 2, rel=1e-4)


def test_random_sets_are_as_large_as_the_boxes_and_drawn_from_their_own_stream():
    method, batch = method_with(structured_region="random"), random_batch()
    student, teacher, owner, valid = by_hand(method, batch)
    expected = 0.0
    for picture, position in enumerate(batch.positions):
        order = torch.randperm(valid[picture].numel(), generator=generator_for(4, 3, position, "placebo"))
        places = order.argsort()  # pixels by their key
        places = places[valid[picture].flatten()[places]]
        numbers = owner[picture][valid[picture]]
        for box in range(4):
            one, other = (pixels(maps[picture].flatten(1), places[numbers == box]) for maps in (student, teacher))
            if one.numel():
                expected += (one.T @ one - other.T @ other).square().mean().item() / 4 / 2
    assert method(batch, DRAWS)["structured"].item() == pytest.approx(expected, rel=1e-4)
    assert method(batch, DRAWS)["consistency"] == method_with()(batch, DRAWS)["consistency"]


@pytest.mark.parametrize("region", ["boxes", "whole", "random"])
def test_pixel_cosine_compares_student_and_teacher_in_place(region):
    method, batch = method_with(structured_form="pixel_cosine", structured_region=region), random_batch()
    student, teacher, owner, valid = by_hand(method, batch)
    cosine = torch.cosine_similarity(student.double(), teacher.double(), dim=1)
    got = method(batch, DRAWS)["structured"].item()
    if region == "whole":
        assert got == pytest.approx(sum((1 - cosine[n])[valid[n]].mean().item() for n in range(2)) / 2, rel=1e-4)
    if region == "boxes":
        shown = [(owner[n] == box) & valid[n] for n in range(2) for box in range(4)]
        means = [(1 - cosine[n // 4])[mask].mean().item() for n, mask in enumerate(shown) if mask.any()]
        assert got == pytest.approx(sum(means) / 8, rel=1e-4)
    assert got > 0


def test_boxes_are_the_default():
    method, batch = method_with(), random_batch()
    student, teacher, owner, valid = by_hand(method, batch)
    expected = structured_consistency_loss(student, teacher, owner, 4, 4, valid=valid, box_reduction="mean")
    assert method(batch, DRAWS)["structured"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("changes", [{"method__structured_region": "random", "method__structured_weight": 1}])
def test_random_sets_resume_bitwise(tmp_path, changes):
    assert "structured" in assert_resumed_equals_uninterrupted(tmp_path, method__name="fixmatch", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__structured_region": "hole"}, "boxes, whole, random, window, batch"),
        ({"method__structured_form": "pixel_cosine", "method__max_pairs": 9}, "leave max_pairs"),
        ({"method__structured_centred": "true", "method__structured_region": "window"}, "to boxes, whole or random"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, **changes)
