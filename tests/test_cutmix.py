from math import exp, log, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scl_core.cutmix import box_owner, cutmix, sample_boxes, shown_pixels, shuffled_owner, toggled_owner

pictures = st.tuples(st.integers(1, 40), st.integers(1, 40))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    pictures,
    st.integers(0, 40),
    st.floats(0, 1),
    st.sampled_from(["union", "sum"]),
    st.integers(min_value=0, max_value=9),
)
def test_boxes_lie_inside_the_picture_and_are_repeatable(size, num_boxes, area, mode, seed):
    boxes = sample_boxes(*size, num_boxes, area, mode, seeded(seed))
    assert boxes.shape == (num_boxes, 4) and boxes.dtype == torch.int64
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (height >= 1).all() and (width >= 1).all()
    assert (top + height <= size[0]).all() and (left + width <= size[1]).all()
    assert torch.equal(boxes, sample_boxes(*size, num_boxes, area, mode, seeded(seed)))


@pytest.mark.parametrize("num_boxes", [1, 3, 8, 32])
@pytest.mark.parametrize("size", [(128, 256), (180, 240)])
def test_union_covers_the_share_on_average(num_boxes, size):
    generator = seeded()
    owners = (box_owner(sample_boxes(*size, num_boxes, 0.5, "union", generator), *size) for _ in range(500))
    covered = torch.stack([(owner >= 0).double().mean() for owner in owners]).mean()
    assert abs(float(covered) - 0.5) < 0.02


@pytest.mark.parametrize("num_boxes", [1, 3, 8, 32])
def test_sum_adds_up_to_the_share(num_boxes):
    boxes = torch.stack([sample_boxes(180, 240, num_boxes, 0.5, "sum", seeded(seed)) for seed in range(100)])
    areas = (boxes[..., 2] * boxes[..., 3]).double() / (180 * 240)
    assert abs(float(areas.sum(1).mean()) - 0.5) < 0.01
    assert areas.std() < 0.1 * areas.mean(), "the boxes have one target area"


def test_32_boxes_of_sum_one_half_cover_less():
    generator = seeded()
    owners = [box_owner(sample_boxes(128, 128, 32, 0.5, "sum", generator), 128, 128) for _ in range(100)]
    covered = torch.stack([(owner >= 0).double().mean() for owner in owners]).mean()
    assert 0.36 < float(covered) < 0.40


def test_aspects_are_log_uniform_and_places_reach_the_border():
    boxes = torch.cat([sample_boxes(400, 400, 8, 0.5, "union", seeded(seed)) for seed in range(200)]).double()
    ratio = (boxes[:, 2] / boxes[:, 3]).log() / torch.tensor(2.0).log()
    assert ratio.min() < -0.9 and ratio.max() > 0.9 and ratio.abs().max() < 1.1
    quartiles = ratio.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    assert torch.allclose(quartiles, torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64), atol=0.08)
    assert (boxes[:, 0] == 0).any() and (boxes[:, 0] + boxes[:, 2] == 400).any()


def test_a_box_in_the_middle_of_its_range_by_hand(monkeypatch):
    """French et al.: a share of 0.36 for three boxes, sides 0.6 of the picture's times the root of a third."""
    half = torch.full((3, 3), 0.5, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *size, **options: half)
    boxes = sample_boxes(100, 200, 3, 0.36, "sum")
    assert boxes.tolist() == [[33, 66, 35, 69]] * 3


def masks_rule(height, width, num_boxes, low, high, draws):
    """French et al.'s sizes box by box, as their masks are described: a share, a side of it, a part of the picture."""
    sizes = []
    for ratio, place in zip(draws[0].tolist(), draws[1].tolist(), strict=True):
        share = low + place * (high - low)
        tall = exp(ratio * log(share))
        sizes.append(
            [round(side * sqrt(1 / num_boxes) * extent) for side, extent in ((tall, height), (share / tall, width))]
        )
    return sizes


@pytest.mark.parametrize("num_boxes", [1, 3, 8])
def test_boxes_with_areas_of_their_own_have_the_sizes_of_the_authors_masks(num_boxes):
    boxes = sample_boxes(512, 640, num_boxes, 0.5, "sum", seeded(7), smallest_area=0.25)
    draw = seeded(7)
    ratio = torch.rand(3, num_boxes, generator=draw, dtype=torch.float64)[0]
    place = torch.rand(num_boxes, generator=draw, dtype=torch.float64)
    expected = torch.tensor(masks_rule(512, 640, num_boxes, 0.25, 0.5, (ratio, place)))
    assert (boxes[:, 2:] - expected).abs().max() <= 1  # the width follows from the rounded height
    areas = (boxes[:, 2] * boxes[:, 3]) / (512 * 640) * num_boxes
    assert ((areas > 0.245) & (areas < 0.505)).all()


def unimatch_rule(side, area, draws):
    """UniMatch's box as its code draws it: tries until a box fits."""
    for ratio, top, left in draws:
        ratio = 0.3 + ratio * (1 / 0.3 - 0.3)
        tall, wide, top, left = (
            int(value) for value in (sqrt(area * ratio) * side, sqrt(area / ratio) * side, top * side, left * side)
        )
        if top + tall <= side and left + wide <= side:
            return [top, left, tall, wide]


@pytest.mark.parametrize("area", [0.02, 0.2, 0.4])
def test_sides_by_ratio_are_the_first_that_fit(area):
    for seed in range(40):
        draws = torch.rand(64, 3, generator=seeded(seed), dtype=torch.float64).tolist()
        found = sample_boxes(321, 321, 1, area, "union", seeded(seed), sides="ratio")
        assert found.tolist() == [unimatch_rule(321, area, draws)]
    assert sample_boxes(50, 70, 1, 1.0, "union", seeded(), sides="ratio")[0, 2:].min() > 0


def test_sides_by_width_are_half_the_picture_and_uniform():
    boxes = torch.cat([sample_boxes(513, 401, 1, 0.5, "union", seeded(seed), sides="width") for seed in range(600)])
    areas, wide = boxes[:, 2] * boxes[:, 3] / (513 * 401), boxes[:, 3].double() / 401
    assert ((areas - 0.5).abs() < 0.002).all() and wide.min() >= 0.5 - 1 / 401
    quartiles = wide.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    torch.testing.assert_close(quartiles, torch.tensor([0.625, 0.75, 0.875], dtype=torch.float64), atol=0.03, rtol=0)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([513, 401])).all()
    assert (boxes[:, 0] == 0).any() and (boxes[:, 0] + boxes[:, 2] == 513).any()


@pytest.mark.parametrize("sides", ["width", "ratio"])
def test_sides_of_one_box_are_refused_for_several_and_nothing_is_drawn_without_any(sides):
    with pytest.raises(ValueError, match="all but log take one box"):
        sample_boxes(8, 8, 2, 0.5, sides=sides)
    assert sample_boxes(8, 8, 0, 0.5, sides=sides).shape == (0, 4)
    with pytest.raises(ValueError, match="'square'"):
        sample_boxes(8, 8, 1, 0.5, sides="square")


def test_a_range_of_areas_draws_every_share_and_needs_the_sum():
    boxes = torch.cat([sample_boxes(512, 512, 3, 0.5, "sum", seeded(seed), 0.25) for seed in range(400)])
    shares = 3 * boxes[:, 2].double() * boxes[:, 3] / 512**2
    quartiles = torch.quantile(shares, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    torch.testing.assert_close(quartiles, torch.tensor([0.3125, 0.375, 0.4375], dtype=torch.float64), atol=0.01, rtol=0)
    for mode, smallest in (("union", 0.25), ("sum", 0.6), ("sum", -0.1)):
        with pytest.raises(ValueError, match="smallest_area"):
            sample_boxes(8, 8, 3, 0.5, mode, None, smallest)


@pytest.mark.parametrize("area", [-0.1, 1.01, float("nan")])
def test_an_impossible_area_is_refused(area):
    with pytest.raises(ValueError, match="total_area"):
        sample_boxes(8, 8, 4, area)


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match="'xor'"):
        sample_boxes(8, 8, 4, 0.5, "xor")
    with pytest.raises(ValueError, match="0 x 8"):
        sample_boxes(0, 8)
    with pytest.raises(ValueError, match="-1 boxes"):
        sample_boxes(8, 8, -1)


@given(pictures, st.integers(0, 12), st.integers(0, 9))
def test_owner_is_the_last_box_over_each_pixel(size, num_boxes, seed):
    boxes = sample_boxes(*size, num_boxes, 0.8, "sum", seeded(seed))
    owner = box_owner(boxes, *size)
    assert owner.shape == size and owner.dtype == torch.int64
    for y in range(size[0]):
        for x in range(size[1]):
            over = [n for n, (t, le, h, w) in enumerate(boxes.tolist()) if t <= y < t + h and le <= x < le + w]
            assert owner[y, x] == (over[-1] if over else -1)


def test_owner_of_two_overlapping_boxes_by_hand():
    owner = box_owner(torch.tensor([[0, 0, 2, 3], [1, 1, 2, 2]]), 3, 4)
    assert owner.tolist() == [[0, 0, 0, -1], [0, 1, 1, -1], [-1, 1, 1, -1]]


@pytest.mark.parametrize("box", [[0, 0, 4, 1], [-1, 0, 1, 1], [0, 3, 1, 2], [0, 0, 0, 1]])
def test_a_box_outside_the_picture_is_refused(box):
    with pytest.raises(ValueError, match="box 0"):
        box_owner(torch.tensor([box]), 3, 4)


def test_cutmix_by_hand():
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    owner = torch.tensor([[-1, 0, 5], [-1, -1, 1]])
    assert cutmix(a, b, owner).tolist() == [[0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (2, 3, 4, 5), (7, 2, 3, 4, 5)])
def test_one_owner_serves_all_leading_dimensions(shape):
    a, b = torch.randn(shape), torch.randn(shape)
    owner = torch.randint(-1, 2, (4, 5))
    mixed = cutmix(a, b, owner).view(-1, 4, 5)
    for got, from_a, from_b in zip(mixed, a.view(-1, 4, 5), b.view(-1, 4, 5), strict=True):
        assert torch.equal(got, torch.where(owner >= 0, from_b, from_a))


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 3, 4, 5), (3, 2, 4, 5)])
def test_an_owner_for_each_picture(shape):
    a, b = torch.randn(shape), torch.randn(shape)
    owner = torch.randint(-1, 2, (3, 4, 5))
    mixed = cutmix(a, b, owner)
    for number in range(3):
        assert torch.equal(mixed[number], cutmix(a[number], b[number], owner[number]))


@pytest.mark.parametrize(
    ("shape", "owner_shape"),
    [((2, 4, 5), (5, 4)), ((2, 4, 5), (3, 4, 5)), ((2, 3, 4, 5), (3, 4, 5)), ((4, 5), (1, 4, 5))],
)
def test_shapes_that_do_not_fit_are_refused(shape, owner_shape):
    with pytest.raises(ValueError, match="cannot mix"):
        cutmix(torch.zeros(shape), torch.zeros(shape), torch.zeros(owner_shape, dtype=torch.long))
    with pytest.raises(ValueError, match="cannot mix"):
        cutmix(torch.zeros(1, 4, 5), torch.zeros(2, 4, 5), torch.zeros(4, 5))


def test_labels_and_booleans_can_be_mixed():
    owner = torch.tensor([[0, -1]])
    assert cutmix(torch.tensor([[1, 2]]), torch.tensor([[3, 4]]), owner).tolist() == [[3, 2]]
    assert cutmix(torch.tensor([[True, True]]), torch.tensor([[False, False]]), owner).tolist() == [[False, True]]


def test_shuffled_owner_keeps_the_sizes_and_forgets_the_places():
    owner = box_owner(sample_boxes(40, 60, 6, generator=torch.Generator().manual_seed(1)), 40, 60).repeat(2, 1, 1)
    valid = torch.ones(2, 40, 60, dtype=torch.bool)
    valid[1, :, 45:] = False
    shuffled = shuffled_owner(owner, valid, [torch.Generator().manual_seed(n) for n in (3, 4)])
    for picture in range(2):
        before, after = (
            torch.bincount(numbers[picture][valid[picture]] + 1, minlength=7) for numbers in (owner, shuffled)
        )
        assert torch.equal(before, after) and (before[1:] > 0).sum() > 3
    assert (shuffled[~valid] == -1).all()
    side_by_side = [(numbers[0, :, 1:] == numbers[0, :, :-1]).float().mean() for numbers in (owner, shuffled)]
    assert side_by_side[0] > 0.9 > 0.6 > side_by_side[1]
    alone = shuffled_owner(owner[1:], valid[1:], [torch.Generator().manual_seed(4)])
    assert torch.equal(alone[0], shuffled[1])


@given(pictures, st.integers(0, 6), st.integers(0, 9))
def test_boxes_that_toggle_show_the_second_picture_where_an_odd_number_lies(size, num_boxes, seed):
    boxes = sample_boxes(*size, num_boxes, 0.9, "union", seeded(seed))
    owner = toggled_owner(boxes, *size)
    for row in range(size[0]):
        for column in range(size[1]):
            over = [
                top <= row < top + tall and left <= column < left + wide for top, left, tall, wide in boxes.tolist()
            ]
            assert owner[row, column] == (0 if sum(over) % 2 else -1)


def test_boxes_that_toggle_undo_each_other_and_one_alone_covers():
    box = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(toggled_owner(box, 6, 8), box_owner(box, 6, 8))
    assert (toggled_owner(torch.cat([box, box]), 6, 8) == -1).all()
    with pytest.raises(ValueError, match=r"box 1, \[5, 0, 3, 1\], is not inside 6 x 8"):
        toggled_owner(torch.tensor([[0, 0, 1, 1], [5, 0, 3, 1]]), 6, 8)


@given(pictures, st.integers(0, 12), st.integers(0, 9))
def test_shown_pixels_are_those_of_the_owner_map(size, num_boxes, seed):
    boxes = sample_boxes(*size, num_boxes, 0.8, "sum", seeded(seed))
    counted = torch.bincount(box_owner(boxes, *size).flatten() + 1, minlength=num_boxes + 1)
    assert torch.equal(shown_pixels(boxes, *size), counted)
