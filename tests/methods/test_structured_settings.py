"""The structured term of every method that mixes: where it takes its pixels and what it compares, by settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scl_core.cutmix import cutmix
from scl_core.errors import UserError
from scl_core.losses import structured_consistency_loss
from scl_core.methods import StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.methods.scl import Scl, SclConfig
from scl_core.microscope.dissect import exact_parts, losses_at, pixel_gradients
from scl_core.probe import similarity_matrices, similarity_rows
from scl_core.seeding import generator_for
from scl_core.structured_form import class_pair_weights
from tests.methods.foreign import FOREIGN
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
        ({"method__structured_class_pairs": "road-road=2"}, "classes by their numbers and weights as 0-0=0.1,5-*=3"),
        ({"method__structured_class_pairs": "0-0=2", "method__max_pairs": 9}, "leave max_pairs empty"),
        ({"method__structured_class_pairs": "0-0=2", "method__structured_centred": "true"}, "structured_centred to f"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, **changes)


FORMS = {
    "boxes": {"num_loss_boxes": 3},
    "drawn pairs": {"max_pairs": 9, "structured_temperature": 2.0},
    "random": {"structured_region": "random", "box_reduction": "sum"},
    "whole": {"structured_region": "whole"},
    "batch": {"structured_region": "batch"},
    "window": {"structured_region": "window", "structured_radius": 2},
    "pixel cosine": {"structured_form": "pixel_cosine"},
    "logits": {"structured_on": "logits", "structured_region": "whole"},
    "class area": {"structured_pair_weights": "class_area", "structured_region": "whole"},
    "confidence, centred": {"structured_pair_weights": "confidence", "structured_centred": True},
    "class pairs": {"structured_class_pairs": "0-0=0.1, 2-*=3"},
    "class pairs of a foreign teacher": {"structured_class_pairs": "0-0=0.1,2-*=3", "structured_teacher": FOREIGN},
    "features": {"structured_on": "features"},
    "drawn pairs of features": {"structured_on": "features", "max_pairs": 9},
    "foreign": {"structured_teacher": FOREIGN},
    "foreign to features, random": {
        "structured_teacher": FOREIGN,
        "structured_on": "features",
        "structured_region": "random",
    },
    "foreign, batch": {"structured_teacher": FOREIGN, "structured_region": "batch"},
    "foreign, window": {"structured_teacher": FOREIGN, "structured_region": "window", "structured_radius": 1},
    "foreign, class area": {"structured_teacher": FOREIGN, "structured_pair_weights": "class_area"},
}


def first_pair(batch):
    """The batch with its first unlabeled pair alone."""
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        views.weak, views.valid = views.weak[:1], views.valid[:1]
        views.strong = tuple(view[:1] for view in views.strong)
    return replace(batch, positions=batch.positions[:1])


@pytest.mark.parametrize("name", FORMS)
def test_a_probe_takes_apart_what_training_computes(name):
    method, batch = method_with(**FORMS[name]).eval(), first_pair(random_batch())
    with torch.no_grad():
        term = method(batch, DRAWS)["structured"].item()
    probe = method.probe(batch, DRAWS)
    assert term > 0 and probe.structured == pytest.approx(term, rel=1e-4)
    assert sum(box.term for box in probe.report if box.in_loss) == pytest.approx(term, rel=1e-4)
    exact = probe.exact_loss(probe.student[None], probe.teacher[None]).item()
    assert exact == pytest.approx(term, rel=1e-4) or "drawn pairs" in name
    assert losses_at(probe, 1.0)[1] == pytest.approx(exact, rel=1e-3)
    parts = exact_parts(probe)
    assert parts.shares.sum() == pytest.approx(parts.loss) and parts.class_pairs.sum() == pytest.approx(parts.loss)
    assert (parts.loss == pytest.approx(exact, rel=1e-4)) == probe.form.plain_pairs
    assert pixel_gradients(probe).max() > 0


def test_matrices_and_rows_of_a_probe_are_of_the_vectors_that_are_compared():
    method, batch = method_with(structured_on="logits", structured_region="whole"), first_pair(random_batch())
    probe = method.probe(batch, DRAWS)
    found = similarity_matrices(probe, 0, most=10_000)
    assert len(found.places) == probe.valid.sum() == probe.report[0].visible
    assert np.square(found.student - found.teacher).mean() == pytest.approx(probe.report[0].loss, rel=1e-4)
    row, column = found.places[-1]
    teacher, student = similarity_rows(probe, 0, row, column)
    assert np.allclose(student[probe.valid], found.student[-1], atol=1e-5) and np.nanmin(student) < 0
    assert teacher.shape == tuple(probe.owner.shape)


def test_pairs_of_a_window_are_counted():
    method, batch = method_with(structured_region="window", structured_radius=2), first_pair(random_batch())
    probe = method.probe(batch, DRAWS)
    places = probe.valid.nonzero()
    near = (places[:, None] - places[None]).abs().amax(2) <= 2
    assert probe.report[0].pairs == near.sum()


def test_pairs_of_classes_are_named_in_one_setting():
    weights = class_pair_weights("*-*=.5,0-2=4, 1-*=2.", 3)
    assert weights.tolist() == [[0.5, 2, 4], [2, 2, 2], [4, 2, 0.5]]
    assert class_pair_weights("0-3=0").shape == (4, 4)
    with pytest.raises(UserError, match="there is no class 3, the data's are 0 to 2"):
        class_pair_weights("0-3=0", 3)
    for text in ("0-1", "0-1=-2", "0-1=x", "", "0-1=1,,"):
        with pytest.raises(UserError, match="classes by their numbers"):
            class_pair_weights(text)
