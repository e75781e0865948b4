import threading
from concurrent.futures import ThreadPoolExecutor
from math import log

import pytest
import torch
from torch.nn.functional import cross_entropy

from scl_core.losses import ohem_cross_entropy
from scl_core.losses.ohem import ohem_cross_entropy_sum, smallest_with_rank


def pixels_of(probs, ignored=0):
    """Logits [1, 2, 1, n] that give class 0 these probabilities, labels 0, and `ignored` pixels more."""
    own = torch.tensor([*probs, *[0.01] * ignored], dtype=torch.float64)
    labels = torch.zeros(1, 1, len(own), dtype=torch.int64)
    labels[..., len(probs) :] = 255
    return torch.stack([own.log(), (1 - own).log()]).view(1, 2, 1, -1), labels


def by_sorting(logits, labels, threshold, min_kept):
    probs = logits.softmax(1)
    own = []
    for place in (labels != 255).nonzero().tolist():
        own.append(probs[place[0], labels[tuple(place)], place[1], place[2]].item())
    own.sort()
    cut = 1.0 if min_kept > len(own) else max(threshold, own[min_kept - 1] if min_kept else 0.0)
    kept = [q for q in own if q <= cut * (1 + 1e-6)]
    return sum(-log(q) for q in kept) / max(len(kept), 1)


@pytest.mark.parametrize(("min_kept", "expected"), [(1, 1.203973), (2, 0.745827), (4, 0.455040)])
@pytest.mark.parametrize("ignored", [0, 3])
def test_worked_values(min_kept, expected, ignored):
    loss = ohem_cross_entropy(*pixels_of([0.9, 0.8, 0.95, 0.3, 0.75], ignored), 0.7, min_kept)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("min_kept", [0, 1, 7, 30, 60])
def test_against_sorting(min_kept):
    logits = torch.randn(2, 3, 5, 6, dtype=torch.float64) * 2
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[torch.rand(labels.shape) < 0.2] = 255
    for threshold in (0.0, 0.4, 0.7, 1.0):
        expected = by_sorting(logits, labels, threshold, min_kept)
        assert ohem_cross_entropy(logits, labels, threshold, min_kept).item() == pytest.approx(expected, rel=1e-9)


def test_more_wanted_than_there_are_is_plain_cross_entropy():
    logits, labels = pixels_of([0.9, 0.8, 0.95, 0.3, 0.75], ignored=4)
    expected = cross_entropy(logits, labels, ignore_index=255)
    assert ohem_cross_entropy(logits, labels, 0.1, 6).item() == pytest.approx(expected.item(), rel=1e-12)


def test_nothing_labeled_gives_zero_with_a_connected_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((1, 4, 4), 255), 0.7, 5)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_only_hard_pixels_have_a_gradient():
    logits, labels = pixels_of([0.9, 0.3])
    logits.requires_grad_()
    ohem_cross_entropy(logits, labels, 0.7, 0).backward()
    assert (logits.grad[..., 0] == 0).all() and (logits.grad[..., 1] != 0).all()


@pytest.mark.parametrize("rank", [1, 2, 17, 40])
def test_rank_by_bits_is_the_sorted_one(rank):
    values = torch.cat([torch.rand(30), torch.zeros(3), torch.ones(3), torch.full((4,), 0.5)])
    assert smallest_with_rank(values, rank).item() == values.sort().values[rank - 1].item()


def test_rank_beyond_the_values_and_zero():
    assert smallest_with_rank(torch.tensor([0.2]), 2).item() == 1.0
    assert smallest_with_rank(torch.tensor([0.2]), 0).item() == 0.0


def test_two_halves_that_add_their_counts_keep_what_the_whole_keeps():
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    total, count = ohem_cross_entropy_sum(logits, labels, 0.1, 11)
    add = AddOverThreads(2)
    with ThreadPoolExecutor(2) as pool:
        halves = [pool.submit(ohem_cross_entropy_sum, z, y, 0.1, 11, add=add) for z, y in halved(logits, labels)]
    counts = [int(half.result()[1]) for half in halves]
    assert sum(counts) == int(count) == 11 and counts[0] != counts[1]
    assert sum(half.result()[0].item() for half in halves) == pytest.approx(total.item(), rel=1e-6)


def halved(*tensors):
    return zip(*(tensor.chunk(2) for tensor in tensors), strict=True)


class AddOverThreads:
    """What `sum_over_ranks` is to processes."""

    def __init__(self, threads):
        self.barrier, self.waiting = threading.Barrier(threads, timeout=20), {}

    def __call__(self, count):
        self.waiting[threading.get_ident()] = count
        self.barrier.wait()
        total = sum(self.waiting.values())
        self.barrier.wait()
        return total


@pytest.mark.parametrize(("threshold", "min_kept"), [(1.1, 1), (-0.1, 1), (0.7, -1)])
def test_bad_settings_are_named(threshold, min_kept):
    with pytest.raises(ValueError, match="threshold"):
        ohem_cross_entropy(*pixels_of([0.5]), threshold, min_kept)
