"""What FixMatch and UniMatch share: CutMix at times, the partner's labels in eval mode, targets mixed like pictures."""

import pytest
import torch

from scl_core.cutmix import at_cells, box_owner, sample_boxes
from scl_core.errors import UserError
from scl_core.methods import StepDraws
from scl_core.methods.fixmatch import FixMatchConfig
from scl_core.methods.pcr import PcrConfig
from scl_core.methods.weak_to_strong import Weak, draw_owner_at_times, drawn_area, partner_target, target
from scl_core.models.deeplabv3plus import SegmenterOutput
from tests.methods.mixing import random_batch, random_views, small_network

PLACES = (0, 1)


def owners(count=60, view=0, **settings):
    views = random_views(0)
    draws = (StepDraws(0, step) for step in range(count))
    return torch.cat([draw_owner_at_times(views, PLACES, draw, FixMatchConfig(**settings), view) for draw in draws])


def test_half_of_the_views_are_mixed_with_shares_between_the_bounds():
    shares = (owners() >= 0).float().mean((1, 2))
    mixed = shares[shares > 0]
    assert 0.35 < len(mixed) / len(shares) < 0.65
    assert mixed.min() < 0.1 and 0.3 < mixed.max() < 0.46


def test_fixed_share_and_every_view_on_request():
    shares = (owners(smallest_area=None, total_area=0.5, cutmix_probability=1.0) >= 0).float().mean((1, 2))
    assert abs(shares - 0.5).max() < 0.08


def some_target(count):
    output = SegmenterOutput(torch.randn(count, 3, 16, 24), torch.randn(count, 5, 8, 12))
    return target(output, torch.rand(count, 16, 24) < 0.8, FixMatchConfig(structured_on="features"))


def maps_of(wanted):
    return [wanted.labels, wanted.confidence, wanted.valid, wanted.seen.probs, wanted.seen.features]


def test_no_view_is_mixed_at_probability_zero():
    owner = owners(2, cutmix_probability=0.0)
    own, partner = some_target(4), some_target(4)
    assert (owner == -1).all()
    assert all(map(torch.equal, maps_of(Weak(own, partner).mixed(owner)), maps_of(own)))


def test_draws_depend_on_view_and_place_but_not_on_the_other_places():
    settings, views, draws = FixMatchConfig(cutmix_probability=1.0), random_views(0), StepDraws(0, 1)
    both = draw_owner_at_times(views, PLACES, draws, settings, 0)
    assert torch.equal(both[1:], draw_owner_at_times(views, (1,), draws, settings, 0))
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both, draw_owner_at_times(views, PLACES, draws, settings, 1))


def test_targets_are_mixed_like_the_pictures():
    own, partner = some_target(2), some_target(2)
    owner = owners(1, cutmix_probability=1.0)
    mixed = Weak(own, partner).mixed(owner)
    for got, outer, inner in zip(maps_of(mixed), maps_of(own), maps_of(partner), strict=True):
        inside = at_cells(owner, tuple(got.shape[-2:])) >= 0
        expected = torch.where(inside.unsqueeze(1) if got.dim() == 4 else inside, inner, outer)
        assert torch.equal(got, expected) and not torch.equal(got, outer)
    assert torch.equal(mixed.seen.probs.argmax(1), mixed.labels)


def test_partner_is_labeled_in_eval_mode_and_leaves_no_trace():
    network, views = small_network(norm=True).train(), random_batch().unlabeled_b
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = partner_target(network, views, FixMatchConfig())
    assert network.training and network.first[1].training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not found.seen.probs.requires_grad
    network.eval()
    assert torch.equal(found.labels, network(views.weak).logits.argmax(1))


def test_sides_by_another_law_are_those_of_the_drawn_share():
    settings = FixMatchConfig(box_sides="ratio", cutmix_probability=1.0)
    views = random_batch().unlabeled_a
    draws = StepDraws(3, 1)
    owner = draw_owner_at_times(views, (0, 1), draws, settings, 0)
    for position, generator in enumerate(draws.generators((0, 1), "boxes")):
        _, area = drawn_area(settings, draws, position, 0)
        expected = box_owner(sample_boxes(16, 24, 1, area, "union", generator, sides="ratio"), 16, 24)
        assert torch.equal(owner[position], expected)
    with pytest.raises(UserError, match="method.box_sides ratio draws one box, and method.num_boxes is 2"):
        FixMatchConfig(box_sides="ratio", num_boxes=2)
    with pytest.raises(UserError, match="method.box_sides width draws one box"):
        PcrConfig(box_sides="width", num_boxes=2)


def test_smallest_share_above_the_largest_is_refused():
    with pytest.raises(UserError, match="method.smallest_area 0.5 is more than method.total_area 0.4"):
        FixMatchConfig(smallest_area=0.5)
