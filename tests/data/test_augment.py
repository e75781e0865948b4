"""Views: picture and label stay aligned, padding is told apart, and nothing but the generator decides."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from scl_core.data.augment import (
    AugmentConfig,
    Photometric,
    draw_geometry,
    draw_photometric,
    jittered_at_times,
    labeled_sample,
    unlabeled_sample,
)
from scl_core.data.images import denormalise, normalise
from scl_core.errors import UserError
from scl_core.seeding import generator_for

RNG = np.random.default_rng(0)
PLAIN = {"jitter": 0.0, "hue": 0.0, "blur": 0.0, "gray": 0.0}
STILL = {"scale_min": 1.0, "scale_max": 1.0, "flip": 0.0}


def blocks(height: int, width: int, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose color says its label: blocks of five classes, class k painted (50 k, 250 - 50 k, 7)."""
    coarse = RNG.integers(0, 5, (height // side + 1, width // side + 1))
    label = np.kron(coarse, np.ones((side, side), int))[:height, :width].astype(np.uint8)
    image = np.dstack([50 * label, 250 - 50 * label, np.full_like(label, 7)]).astype(np.uint8)
    return image, label


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_picture_and_label_stay_aligned(seed):
    image, label = blocks(60, 80)
    varied, target = labeled_sample(image, label, AugmentConfig(**PLAIN), (60, 80), generator_for(seed, 1, 0))
    target = target.numpy()
    inner = (ndimage.maximum_filter(target, 5) == ndimage.minimum_filter(target, 5)) & (target != 255)
    assert inner.sum() > 0.1 * (target != 255).sum() > 0
    assert np.abs(denormalise(varied)[inner][:, 0] - 50.0 * target[inner]).max() <= 2


def test_no_change_gives_the_picture_itself():
    image, label = blocks(20, 30)
    config = AugmentConfig(**PLAIN, **STILL)
    varied, target = labeled_sample(image, label, config, (20, 30), generator_for(0, 1, 0))
    assert torch.equal(varied, normalise(image))
    assert np.array_equal(target.numpy(), label) and target.dtype == torch.int64
    flipped, target = labeled_sample(
        image, label, AugmentConfig(**PLAIN, **STILL | {"flip": 1.0}), (20, 30), generator_for(0, 1, 0)
    )
    assert torch.equal(flipped, normalise(image).flip(2)) and np.array_equal(target.numpy(), label[:, ::-1])


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_padding_is_ignored_not_valid_and_zero(size, crop, seed):
    image, label = noise(*size), RNG.integers(0, 4, size, dtype=np.uint8)
    weak, (strong,), valid = unlabeled_sample(image, AugmentConfig(), crop, generator_for(seed, 1, 0), 1)
    varied, target = labeled_sample(image, label, AugmentConfig(), crop, generator_for(seed, 1, 0))
    assert weak.shape == strong.shape == varied.shape == (3, *crop) and valid.shape == target.shape == crop
    assert torch.equal(target == 255, ~valid)  # the same generator draws the same geometry, the label has no 255
    assert all((view[:, ~valid] == 0).all() and torch.isfinite(view).all() for view in (weak, strong, varied))
    geometry = draw_geometry(AugmentConfig(), size, crop, generator_for(seed, 1, 0))
    assert valid.sum() == geometry.rows * geometry.columns > 0
    assert geometry.rows == min(crop[0], geometry.scaled_height)


def test_ignored_pixels_of_the_label_stay_ignored_and_valid_in_views():
    label = np.full((10, 10), 255, np.uint8)
    assert (labeled_sample(noise(10, 10), label, AugmentConfig(), (10, 10), generator_for(0, 1, 0))[1] == 255).all()


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.6, 1.7])
def test_a_cut_is_the_same_as_scaling_all_and_then_cutting(scale, flip):
    image = noise(30, 44)
    config = AugmentConfig(scale_min=scale, scale_max=scale, flip=flip)
    geometry = draw_geometry(config, (30, 44), (25, 31), generator_for(4, 1, 0))
    scaled = Image.fromarray(image).resize((geometry.scaled_width, geometry.scaled_height), Image.Resampling.BILINEAR)
    slow = np.zeros((25, 31, 3), int) - 1
    rows, columns = geometry.rows, geometry.columns
    part = np.array(scaled)[geometry.top : geometry.top + rows, geometry.left : geometry.left + columns]
    slow[geometry.down : geometry.down + rows, geometry.right : geometry.right + columns] = part
    slow = slow[:, ::-1] if flip else slow
    fast = geometry.padded(geometry.image(image), -1.0).mul(255).permute(1, 2, 0).numpy()
    outside = slow[..., 0] < 0
    assert np.array_equal(outside, fast[..., 0] < 0) and np.array_equal(outside, ~geometry.valid().numpy())
    assert np.abs(fast - slow)[~outside].max() <= 2


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_a_label_takes_the_nearest_pixel(scale, flip):
    label = RNG.integers(0, 200, (30, 44), dtype=np.uint8)
    config = AugmentConfig(scale_min=scale, scale_max=scale, flip=flip)
    geometry = draw_geometry(config, (30, 44), (25, 31), generator_for(5, 1, 0))
    slow = np.full((25, 31), 255)
    for y in range(geometry.rows):
        for x in range(geometry.columns):
            row = int((geometry.top + y + 0.5) * 30 / geometry.scaled_height)
            column = int((geometry.left + x + 0.5) * 44 / geometry.scaled_width)
            slow[geometry.down + y, geometry.right + x] = label[row, column]
    assert (
        np.mean(geometry.label(label).numpy() == (slow[:, ::-1] if flip else slow)) > 0.97
    )  # ties may round either way


def test_strong_equals_weak_without_photometric_change():
    weak, strong, _ = unlabeled_sample(noise(20, 30), AugmentConfig(**PLAIN), (20, 30), generator_for(0, 1, 0), 2)
    assert all(torch.equal(view, weak) for view in strong)


def test_strong_views_differ_from_weak_and_from_one_another():
    weak, (first, second), _ = unlabeled_sample(noise(20, 30), AugmentConfig(), (20, 30), generator_for(0, 1, 0), 2)
    assert not torch.equal(first, weak) and not torch.equal(first, second)


def test_more_strong_views_leave_the_first_as_it_was():
    image = noise(20, 30)
    one = unlabeled_sample(image, AugmentConfig(), (20, 30), generator_for(0, 1, 0), 1)
    two = unlabeled_sample(image, AugmentConfig(), (20, 30), generator_for(0, 1, 0), 2)
    assert torch.equal(one[0], two[0]) and torch.equal(one[1][0], two[1][0])


def test_the_teacher_sees_the_students_picture_when_asked_to():
    image = noise(20, 30)
    clean = unlabeled_sample(image, AugmentConfig(), (20, 30), generator_for(0, 1, 0), 1)
    same = unlabeled_sample(image, AugmentConfig(teacher_photometric="same"), (20, 30), generator_for(0, 1, 0), 1)
    assert torch.equal(same[0], clean[1][0]) and torch.equal(same[1][0], clean[1][0])
    assert not torch.equal(same[0], clean[0])


def test_labeled_pictures_keep_their_colors_when_asked_to():
    image, label = blocks(20, 30)
    kept, _ = labeled_sample(
        image, label, AugmentConfig(**STILL, photometric_labeled=False), (20, 30), generator_for(0, 1, 0)
    )
    changed, _ = labeled_sample(image, label, AugmentConfig(**STILL), (20, 30), generator_for(0, 1, 0))
    assert torch.equal(kept, normalise(image)) and not torch.equal(kept, changed)


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(**PLAIN, **STILL, photometric_labeled=False)])
def test_the_number_of_draws_does_not_depend_on_the_settings(config):
    generator = generator_for(0, 1, 0)
    labeled_sample(*blocks(20, 30), config, (10, 10), generator)
    reference = generator_for(0, 1, 0)
    torch.rand(4 + 7 + 1, generator=reference, dtype=torch.float64)
    assert torch.rand(1, generator=generator) == torch.rand(1, generator=reference)


def test_scales_flips_and_places_cover_their_ranges():
    drawn = [draw_geometry(AugmentConfig(), (100, 100), (80, 80), generator_for(0, step, 0)) for step in range(400)]
    scales = np.array([geometry.scaled_height / 100 for geometry in drawn])
    assert 0.5 <= scales.min() < 0.52 and 1.98 < scales.max() <= 2.0 and abs(scales.mean() - 1.25) < 0.06
    assert 0.4 < np.mean([geometry.flip for geometry in drawn]) < 0.6
    assert all(0 <= geometry.top <= geometry.scaled_height - 80 for geometry in drawn if geometry.scaled_height >= 80)
    still = AugmentConfig(**STILL)
    larger = [draw_geometry(still, (12, 12), (10, 10), generator_for(0, step, 0)) for step in range(60)]
    smaller = [draw_geometry(still, (10, 10), (12, 12), generator_for(0, step, 0)) for step in range(60)]
    assert {geometry.top for geometry in larger} == {geometry.right for geometry in smaller} == {0, 1, 2}


def test_scales_of_a_list_come_alike_and_nothing_between_them():
    config = AugmentConfig(scales="0.5,0.75,1,1.5,1.75,2")
    drawn = [draw_geometry(config, (100, 100), (80, 80), generator_for(0, step, 0)) for step in range(600)]
    heights, counts = np.unique([geometry.scaled_height for geometry in drawn], return_counts=True)
    assert heights.tolist() == [50, 75, 100, 150, 175, 200] and 70 < counts.min() <= counts.max() < 130
    one = draw_geometry(AugmentConfig(scales="1"), (100, 100), (80, 80), generator_for(0, 1, 0))
    other = draw_geometry(AugmentConfig(**(STILL | {"flip": 0.5})), (100, 100), (80, 80), generator_for(0, 1, 0))
    assert one == other


@pytest.mark.parametrize("scales", ["", "a", "0.5;1", "1,0", "1,-2", "nan", "1,,2", "inf"])
def test_scales_that_are_no_list_of_numbers_are_refused(scales):
    with pytest.raises(UserError, match=r"augment\.scales .*: give numbers from 0\.05 to 20 with commas"):
        AugmentConfig(scales=scales)


def test_colors_are_jittered_with_their_probability_and_the_rest_stays():
    config = AugmentConfig(jitter=0.5, gray=0.3, blur=0.6, jitter_probability=0.8)
    pairs = []
    for step in range(300):
        generator = generator_for(1, step, 0)
        drawn = [draw_photometric(config, generator) for _ in range(2)]
        pairs += zip(drawn, jittered_at_times(drawn, config, generator), strict=True)
    assert 0.15 < np.mean([before != after for before, after in pairs]) < 0.25
    for before, after in pairs:
        assert after.sigma == before.sigma and (after.saturation == 0) == (before.saturation == 0)
        still = (after.brightness, after.contrast, after.hue) == (1.0, 1.0, 0.0) and after.saturation in (0.0, 1.0)
        assert after == before or still
    never = AugmentConfig(blur=0.0, jitter_probability=0.0)
    weak, strong, _ = unlabeled_sample(noise(20, 30), never, (20, 30), generator_for(0, 1, 0), 2)
    assert all(torch.equal(view, weak) for view in strong)


def test_scales_in_the_wrong_order_are_refused():
    with pytest.raises(UserError, match=r"augment\.scale_min 2\.0 is larger than augment\.scale_max 1\.5"):
        AugmentConfig(scale_min=2.0, scale_max=1.5)


def test_probabilities_of_gray_and_blur():
    config = AugmentConfig(gray=0.3, blur=0.6, blur_sigma_max=2.0)
    drawn = [draw_photometric(config, generator_for(1, step, 0)) for step in range(500)]
    assert 0.24 < np.mean([change.saturation == 0 for change in drawn]) < 0.36
    sigmas = np.array([change.sigma for change in drawn])
    assert 0.53 < np.mean(sigmas > 0) < 0.67 and 1.9 < sigmas.max() <= 2.0 and sigmas[sigmas > 0].min() >= 0.15
    assert all(0.75 <= value <= 1.25 for change in drawn for value in (change.brightness, change.contrast))
    assert all(abs(change.hue) <= 0.1 for change in drawn)


def changed(image: np.ndarray, **change) -> np.ndarray:
    still = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "sigma": 0.0}
    return (
        Photometric(**still | change)
        .apply(torch.tensor(image, dtype=torch.float32).permute(2, 0, 1))
        .permute(1, 2, 0)
        .numpy()
    )


def luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def test_each_photometric_change_does_what_it_says():
    image = RNG.uniform(0.3, 0.6, (9, 11, 3))
    assert np.allclose(changed(image, brightness=1.2), 1.2 * image, atol=1e-5)
    contrasted = changed(image, contrast=1.2)
    assert np.allclose(contrasted, 1.2 * image - 0.2 * luma(image).mean(), atol=1e-5)
    gray = changed(image, saturation=0.0)
    assert np.allclose(gray, luma(image)[..., None], atol=1e-3)
    turned = changed(image, hue=0.1)
    assert np.allclose(luma(turned), luma(image), atol=1e-3) and np.abs(turned - image).max() > 0.02
    assert np.allclose(changed(turned, hue=-0.1), image, atol=1e-3)
    assert np.array_equal(changed(image), image.astype(np.float32))
    assert changed(np.ones((2, 2, 3)), brightness=1.5).max() == 1.0


@pytest.mark.parametrize("shape", [(21, 17, 3), (1, 40, 3), (2, 1, 3)])
@pytest.mark.parametrize("sigma", [0.15, 0.8, 1.3])
def test_blur_is_a_gaussian_with_repeated_border(sigma, shape):
    image = RNG.uniform(0, 1, shape)
    slow = ndimage.gaussian_filter(
        image, (sigma, sigma, 0), mode="nearest", radius=(*[max(1, int(np.ceil(3 * sigma)))] * 2, 0)
    )
    assert np.allclose(changed(image, sigma=sigma), slow, atol=1e-5)
