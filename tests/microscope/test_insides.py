"""Each method taken apart on a real batch, against what training computes from the same batch and draws."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scl_core.cutmix import cutmix
from scl_core.data.images import IGNORE_INDEX, denormalise
from scl_core.errors import UserError
from scl_core.losses import cross_pseudo_loss
from scl_core.losses.region import region_mask_contrast
from scl_core.methods import StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.microscope.insides import (
    agreement_by_class,
    cross_pseudo_agreement,
    cross_pseudo_inside,
    one_pair,
    prototype_inside,
    region_inside,
    strong_views_inside,
)
from tests.conftest import build_tiny_folder
from tests.methods.stepping import CROP, prepare

DRAWS = StepDraws(seed=0, step=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_tiny_folder(tmp_path_factory.mktemp("insides") / "data", 5, 6, CROP, CROP)


def prepared(name, root, **changes):
    """The method in eval mode, with the second pair of its first batch alone."""
    found = prepare(name, root, dtype=torch.float32, **changes)
    found.method.eval()
    return found.method, one_pair(found.batch, 1)


def states(method):
    return {key: value.clone() for key, value in method.state_dict().items()}


def test_one_pair_keeps_the_draws_of_its_place(root):
    found = prepare("cps", root, dtype=torch.float32)
    pair = one_pair(found.batch, 1)
    both = draw_owner(found.batch.unlabeled_a, found.batch.positions, DRAWS, found.method.config)
    assert torch.equal(draw_owner(pair.unlabeled_a, pair.positions, DRAWS, found.method.config)[0], both[1])
    with pytest.raises(UserError, match="pair 2 does not exist: this batch has 2 pairs"):
        one_pair(found.batch, 2)


@pytest.mark.parametrize("cut", [True, False])
def test_cps_shows_the_labels_of_its_loss(cut, root):
    method, batch = prepared("cps", root, cutmix="true" if cut else "false")
    inside = cross_pseudo_inside(method, batch, DRAWS)
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner(a, batch.positions, DRAWS, method.config)
    seen = cutmix(a.weak, b.weak, owner) if cut else a.weak
    assert np.array_equal(inside.picture, denormalise(seen[0]))
    with torch.no_grad():
        answers = [network(seen).logits for network in method.networks]
        term = method(batch, DRAWS)["cross_pseudo"]
    maps = [torch.tensor(labels)[None] for labels in (inside.to_first, inside.to_second)]
    assert [answer.argmax(1)[0].tolist() for answer in answers] == [inside.first.tolist(), inside.second.tolist()]
    if cut:
        kept = torch.tensor(inside.valid)[None]
        terms = [F.cross_entropy(z.permute(0, 2, 3, 1)[kept], y[kept]) for z, y in zip(answers, maps, strict=True)]
        torch.testing.assert_close(sum(terms), term)
    else:
        assert cross_pseudo_loss(*answers).isfinite() and np.array_equal(inside.to_first, inside.second)
    assert inside.agreement == pytest.approx((inside.first == inside.second)[inside.valid].mean())
    alone = agreement_by_class(inside.first[inside.valid], inside.second[inside.valid], 3)
    np.testing.assert_array_equal(cross_pseudo_agreement(method, batch, DRAWS, 3), alone)


def test_agreement_by_class_counts_pixels_that_either_gives_it():
    first, second = np.array([[0, 0, 1, 2]]), np.array([[0, 1, 1, 1]])
    np.testing.assert_allclose(agreement_by_class(first, second, 4), [1 / 2, 1 / 3, 0.0, np.nan])


def test_pcr_shows_the_pixels_and_prototypes_of_its_loss(root):
    method, batch = prepared("pcr", root, confidence_threshold=0.4)
    with pytest.raises(UserError, match="no prototypes yet"):
        prototype_inside(method, batch, DRAWS)
    method.prototypes.copy_(torch.randn(method.prototypes.shape, generator=torch.Generator().manual_seed(0)))
    inside = prototype_inside(method, batch, DRAWS)
    unlabeled = method.unlabeled(batch, DRAWS)
    with torch.no_grad():
        logits, features = method.student(unlabeled.pictures)
    vectors, prototypes = features[0].flatten(1).T, method.prototypes.flatten(0, 1)
    nearest = F.cosine_similarity(vectors[:, None], prototypes[None], dim=2).argmax(1).view(features.shape[2:])
    assert inside.chosen[0, 0] == nearest[0, 0] and inside.chosen[-1, -1] == nearest[-1, -1]
    assert np.array_equal(inside.linear, logits[0].argmax(0)) and np.array_equal(inside.prototype, inside.chosen // 4)
    labels = method.teacher_labels(unlabeled)[0]
    assert inside.kept.sum() == sum(int(labels[y, x] != IGNORE_INDEX) for y, x in inside.places) > 0
    np.testing.assert_allclose(np.diag(inside.similarities), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("rc2l", {}), ("rc2l", {"teacher_regions": "queries"}), ("rc2l_pp", {}), ("rc2l_pp", {"num_boxes": 2})],
)
def test_rc2l_shows_the_regions_and_matches_of_its_loss(name, settings, root):
    method, batch = prepared(name, root, min_area=2, **settings)
    inside = region_inside(method, batch, DRAWS)
    number = len(inside.classes)
    assert inside.regions.max() < max(number, 1) and inside.masks.shape == (number, CROP, CROP)
    assert inside.similarities.shape == (number, 12 if name == "rc2l" else 3)
    if settings.get("teacher_regions") == "queries":
        return
    assert number and len(set(inside.match)) == number
    with torch.no_grad():
        term = method(batch, DRAWS)["region_mask"]
    chances = torch.tensor(inside.similarities / method.config.mask_temperature).log_softmax(1)
    expected = -chances[torch.arange(number), torch.tensor(inside.match)].mean()
    torch.testing.assert_close(expected, term, rtol=1e-4, atol=1e-5)
    same = torch.eye(2)[:, None]
    assert region_mask_contrast(same, same, torch.arange(2)).isfinite()


@pytest.mark.parametrize("name", ["fixmatch", "unimatch"])
def test_strong_views_show_what_their_loss_learns(name, root):
    method, batch = prepared(name, root, confidence_threshold=0.4, cutmix_probability=1.0)
    inside = strong_views_inside(method, batch, DRAWS)
    assert len(inside.views) == method.num_strong and all(view.is_mixed for view in inside.views)
    with torch.no_grad():
        terms = method(batch, DRAWS)
        logits = method.student(batch.unlabeled_a.weak).logits[0]
    assert np.array_equal(inside.labels, logits.argmax(0)) and inside.confidence.max() <= 1.0
    view = inside.views[0]
    assert 0 < view.kept.mean() < 1 and np.array_equal(view.kept, view.confidence >= 0.4)
    pictures = torch.tensor(view.picture)
    assert pictures.shape == (CROP, CROP, 3) and terms["pseudo_label" if name == "fixmatch" else "strong_1"] > 0


@pytest.mark.parametrize("name", ["cps", "rc2l", "unimatch"])
def test_looking_changes_nothing(name, root):
    found = prepare(name, root, dtype=torch.float32)
    look = {"cps": cross_pseudo_inside, "rc2l": region_inside, "unimatch": strong_views_inside}[name]
    before, mode = states(found.method), found.method.student.training
    look(found.method, one_pair(found.batch, 0), DRAWS)
    assert all(torch.equal(value, before[key]) for key, value in found.method.state_dict().items())
    assert found.method.student.training == mode
