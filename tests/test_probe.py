"""A probe is the training's own computation taken apart: its parts are checked against the losses and by hand."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scl_core.cutmix import box_owner, cutmix, sample_boxes
from scl_core.data.batch import Views
from scl_core.data.images import denormalise
from scl_core.losses.consistency import consistency_loss
from scl_core.losses.structured import structured_consistency_loss
from scl_core.microscope.dissect import exact_parts
from scl_core.probe import (
    describe_boxes,
    make_probe,
    similarity_matrices,
    similarity_rows,
    whole_answers,
)

HEIGHT, WIDTH, CLASSES = 32, 48, 5


@dataclass(frozen=True)
class Settings:
    num_boxes: int = 6
    num_loss_boxes: int | None = 4
    max_pairs: int | None = None
    total_area: float = 0.6
    area_mode: str = "union"
    box_reduction: str = "sum"


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_views(seed: int) -> Views:
    pictures = torch.randn(2, 3, HEIGHT, WIDTH, generator=draw(seed))
    valid = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    valid[:, :, -5:] = False
    return Views(pictures, (pictures + 0.3 * torch.randn(pictures.shape, generator=draw(seed + 9)),), valid, ("x", "y"))


class SmallNetwork(torch.nn.Module):
    """Two convolutions with a batch norm, whose two modes differ; predictions differ clearly from pixel to pixel."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, CLASSES, 5, padding=2)
        )
        torch.nn.init.normal_(self.layers[2].weight, std=0.3)

    def forward(self, images):
        return SimpleNamespace(logits=self.layers(images))


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return SmallNetwork(), SmallNetwork()


def probe_with(networks, settings: Settings, seed: int = 3):
    return make_probe(*networks, some_views(0), some_views(1), settings, draw(seed), draw(7))


def by_hand(networks, settings: Settings, seed: int = 3):
    """Student and teacher probabilities [1, C, H, W], owner and valid [1, H, W] by separate calls."""
    student, teacher = (network.eval() for network in networks)
    a, b = some_views(0), some_views(1)
    boxes = sample_boxes(HEIGHT, WIDTH, settings.num_boxes, settings.total_area, settings.area_mode, draw(seed))
    owner = box_owner(boxes, HEIGHT, WIDTH)
    with torch.no_grad():
        target = cutmix(teacher(a.weak[:1]).logits.softmax(1), teacher(b.weak[:1]).logits.softmax(1), owner)
        probs = student(cutmix(a.strong[0][:1], b.strong[0][:1], owner)).logits.softmax(1)
    return probs, target, owner[None], cutmix(a.valid[:1], b.valid[:1], owner)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("max_pairs", [None, 50])
def test_the_boxes_terms_add_up_to_the_loss(networks, reduction, max_pairs):
    settings = Settings(max_pairs=max_pairs, box_reduction=reduction)
    probe = probe_with(networks, settings)
    probs, target, owner, valid = by_hand(networks, settings)
    loss = structured_consistency_loss(probs, target, owner, 6, 4, max_pairs, draw(7), valid, reduction)
    assert loss > 1e-4
    assert probe.structured == pytest.approx(float(loss), rel=1e-5)
    assert sum(box.term for box in probe.report if box.in_loss) == pytest.approx(float(loss), rel=1e-5)
    assert sum(box.loss_share for box in probe.report if box.in_loss) == pytest.approx(1)
    assert probe.consistency == pytest.approx(float(consistency_loss(probs, target, valid)), rel=1e-5)


def test_the_pictures_are_the_views_that_the_networks_saw(networks):
    probe = probe_with(networks, Settings())
    a, b = some_views(0), some_views(1)
    outside = (probe.owner < 0).numpy()
    assert np.array_equal(probe.image_a, denormalise(a.weak[0]))
    assert np.array_equal(probe.mixed[outside], denormalise(a.strong[0][0])[outside])
    assert np.array_equal(probe.mixed[~outside], denormalise(b.strong[0][0])[~outside])


def test_networks_run_in_eval_mode_and_keep_their_own(networks):
    student, teacher = networks
    student.train()
    teacher.eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    probe = probe_with(networks, Settings())
    assert (probe.mode, student.training, teacher.training) == ("eval", True, False)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_the_same_seed_gives_the_same_probe(networks):
    settings = Settings(max_pairs=20)
    one, same, other = (probe_with(networks, settings, seed) for seed in (3, 3, 4))
    assert one.structured == same.structured != other.structured
    assert torch.equal(one.owner, same.owner) and not torch.equal(one.owner, other.owner)


def test_answers_to_whole_pictures_serve_every_draw_of_boxes(networks):
    student, teacher = networks
    a, b, settings = some_views(0), some_views(1), Settings(max_pairs=20)
    known = whole_answers(teacher, a, b, settings)
    for seed in (3, 4):
        given, fresh = (
            make_probe(student, teacher, a, b, settings, draw(seed), draw(7), whole=whole) for whole in (known, None)
        )
        assert torch.equal(given.teacher, fresh.teacher) and given.structured == fresh.structured


def test_describe_boxes_counts_pixels_one_by_one():
    boxes = torch.tensor([[0, 0, 4, 5], [2, 2, 3, 3], [0, 0, 1, 1], [2, 3, 2, 2]])
    owner = box_owner(boxes, 8, 9)
    valid = torch.ones(8, 9, dtype=torch.bool)
    valid[3] = False
    for number, box in enumerate(describe_boxes(boxes, owner, num_loss_boxes=2, max_pairs=3, valid=valid)):
        seen = sum(bool(owner[y, x] == number and valid[y, x]) for y in range(8) for x in range(9))
        assert (box.number, box.visible, box.in_loss) == (number, seen, number >= 2)
        assert box.share == pytest.approx(seen / (box.height * box.width))
        assert box.pairs == (min(3, seen**2) if number >= 2 else 0)


def test_no_boxes_give_no_report(networks):
    probe = probe_with(networks, Settings(num_boxes=0, num_loss_boxes=None))
    assert (probe.report, probe.structured) == ([], 0.0)
    assert not exact_parts(probe).shares.any() and exact_parts(probe).loss == 0


def last_shown(probe):
    return max((box for box in probe.report if box.in_loss), key=lambda box: box.visible)


def test_matrices_of_every_pixel_hold_the_boxs_loss(networks):
    probe = probe_with(networks, Settings())
    box = last_shown(probe)
    found = similarity_matrices(probe, box.number, most=10_000)
    assert found.stride == 1 and len(found.places) == box.visible
    assert np.square(found.student - found.teacher).mean() == pytest.approx(box.loss, rel=1e-4)


@pytest.mark.parametrize("order", ["raster", "class", "cluster"])
def test_matrices_compare_the_pixels_that_they_name(networks, order):
    probe = probe_with(networks, Settings())
    box = last_shown(probe)
    found = similarity_matrices(probe, box.number, most=20, order=order)
    assert 2 <= len(found.places) <= 20 and found.stride > 1
    for i in (0, len(found.places) - 1):
        for j in range(len(found.places)):
            one, two = (probe.student[:, y, x].double() for y, x in (found.places[i], found.places[j]))
            assert found.student[i, j] == pytest.approx(float(one @ two / one.norm() / two.norm()), abs=1e-5)
    assert all(probe.shown(box.number)[y, x] for y, x in found.places)
    assert order != "class" or np.all(np.diff(found.classes) >= 0)


def test_a_row_is_the_pixels_line_of_the_matrix(networks):
    probe = probe_with(networks, Settings())
    box = last_shown(probe)
    row, column = probe.shown(box.number).nonzero()[-1].tolist()
    teacher, student = similarity_rows(probe, box.number, row, column)
    whole = similarity_matrices(probe, box.number, most=10_000)
    rows, columns = whole.places.T
    for found, matrix in ((teacher, whole.teacher), (student, whole.student)):
        assert found.shape == (box.height, box.width)
        assert np.isfinite(found).sum() == box.visible
        assert np.allclose(found[rows - box.top, columns - box.left], matrix[-1], atol=1e-5)


def test_a_row_of_a_pixel_that_the_box_does_not_show_is_refused(networks):
    probe = probe_with(networks, Settings())
    row, column = (probe.owner < 0).nonzero()[0].tolist()
    with pytest.raises(ValueError, match="does not show"):
        similarity_rows(probe, 5, row, column)


def test_pixel_shares_are_the_matrix_rows_and_add_up_to_the_boxes(networks):
    probe = probe_with(networks, Settings())
    found = exact_parts(probe).shares
    for box in probe.report:
        inside = found[probe.shown(box.number).numpy()]
        assert inside.sum() == pytest.approx(box.loss if box.in_loss else 0.0, rel=1e-4)
    box = last_shown(probe)
    whole = similarity_matrices(probe, box.number, most=10_000)
    difference = np.square(whole.student.astype(float) - whole.teacher).sum(1) / box.visible**2
    rows, columns = whole.places.T
    assert np.allclose(found[rows, columns], difference, rtol=1e-3, atol=1e-9)


def test_settings_without_a_number_of_loss_boxes_take_all(networks):
    probe = probe_with(networks, replace(Settings(), num_loss_boxes=None))
    assert all(box.in_loss and box.loss is not None for box in probe.report)
