"""The drawn street scenes: the same bytes everywhere, all classes, any size, and colours that do not give them away."""

import hashlib
import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from scl_core.data.scenes import CLASS_NAMES, PALETTE, Dials, draw_scene
from scl_core.errors import UserError

_HASH_PROGRAM = """
import hashlib
from scl_core.data.scenes import draw_scene
for index in (3, 0, 11):
    image, label = draw_scene(7, index)
    print(hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Eighty scenes: images [80, 128, 256, 3] and labels [80, 128, 256]."""
    drawn = [draw_scene(0, index) for index in range(80)]
    return np.stack([image for image, _ in drawn]), np.stack([label for _, label in drawn])


def _digest(seed: int, index: int) -> str:
    image, label = draw_scene(seed, index)
    return hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()


def test_same_bytes_in_another_process_and_another_order(project_root):
    here = [_digest(7, index) for index in (0, 3, 11)]
    environment = os.environ | {"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", _HASH_PROGRAM],
        cwd=project_root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [here[1], here[0], here[2]]


def test_every_seed_and_index_is_another_scene():
    places = [(0, 0), (0, 1), (1, 0), (-1, 0), (0, 10**9), (2**70, 0)]
    assert len({_digest(*place) for place in places}) == len(places)


@pytest.mark.parametrize("size", [(128, 256), (64, 96), (96, 64), (37, 53), (256, 512)])
def test_size_and_type(size):
    image, label = draw_scene(1, 2, *size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert label.shape == size and label.dtype == np.uint8
    assert label.max() < len(CLASS_NAMES)
    assert image.flags.c_contiguous and label.flags.c_contiguous
    assert image.flags.writeable and label.flags.writeable


def test_another_size_shows_the_same_scene():
    for index in range(5):
        image, label = draw_scene(0, index)
        large_image, large_label = draw_scene(0, index, 256, 512)
        assert (large_label[::2, ::2] == label).mean() > 0.93
        assert abs(large_image.mean() - image.mean()) < 4


def test_every_class_is_common_enough(scenes):
    _, labels = scenes
    counts = np.stack([np.bincount(label.ravel(), minlength=len(CLASS_NAMES)) for label in labels])
    presence = dict(zip(CLASS_NAMES, (counts > 0).mean(axis=0), strict=True))
    share = dict(zip(CLASS_NAMES, counts.sum(axis=0) / counts.sum(), strict=True))
    assert counts.shape[1] == len(CLASS_NAMES)
    assert all(value > 0.4 for value in presence.values()), presence
    for name in ("pole", "traffic sign", "person"):
        assert 0.003 < share[name] < 0.03, share
    assert all(value > 0.003 for value in share.values()), share


def test_palette_tells_the_classes_apart():
    assert PALETTE.shape == (len(CLASS_NAMES), 3) and PALETTE.dtype == np.uint8
    apart = np.abs(PALETTE[:, None].astype(int) - PALETTE[None]).sum(axis=2) + 1000 * np.eye(len(PALETTE))
    assert apart.min() > 60


def _nearest_mean_colour_iou(train: tuple, test: tuple) -> np.ndarray:
    """Per-class IoU [11] of giving each pixel the class whose mean colour is nearest."""
    images, labels = train
    means = np.stack([images[labels == index].mean(axis=0) for index in range(len(CLASS_NAMES))])
    pixels = test[0].reshape(-1, 3).astype(np.float32)
    guess = ((pixels[:, None] - means.astype(np.float32)) ** 2).sum(axis=2).argmin(axis=1)
    truth = test[1].ravel()
    both = [np.sum((guess == k) & (truth == k)) / np.sum((guess == k) | (truth == k)) for k in range(len(CLASS_NAMES))]
    return np.array(both)


def test_colour_alone_does_not_give_the_class_away(scenes):
    images, labels = (part[:, ::4, ::4] for part in scenes)
    iou = _nearest_mean_colour_iou((images[:60], labels[:60]), (images[60:], labels[60:]))
    assert iou.mean() < 0.15, iou
    assert np.delete(iou, CLASS_NAMES.index("sky")).max() < 0.4, iou


def test_even_a_scene_s_own_colours_do_not_give_its_classes_away(scenes):
    """The best case for colour: the mean colours of the very picture that is judged."""
    images, labels = scenes
    scores = []
    for image, label in zip(images[:30, ::2, ::2], labels[:30, ::2, ::2], strict=True):
        present = np.unique(label)
        means = np.stack([image[label == k].mean(axis=0) for k in present])
        guess = present[((image[:, :, None] - means) ** 2).sum(axis=3).argmin(axis=2)]
        scores.append(
            np.mean([np.sum((guess == k) & (label == k)) / np.sum((guess == k) | (label == k)) for k in present])
        )
    assert np.mean(scores) < 0.35


@pytest.mark.parametrize("name", [field.name for field in fields(Dials)])
def test_each_dial_changes_the_picture(name):
    low, high = (draw_scene(0, 4, dials=replace(Dials(), **{name: value}))[0] for value in (0.0, 1.0))
    assert np.abs(low.astype(int) - high).mean() > 1


def test_dials_turn_the_right_way():
    def mean_over(measure, **dials):
        return np.mean([measure(*draw_scene(3, index, 64, 128, Dials(**dials))) for index in range(20)])

    def things(image, label):
        return np.isin(label, [CLASS_NAMES.index(name) for name in ("car", "person", "traffic sign")]).mean()

    def roughness(image, label):
        grey = image.mean(axis=2)
        return np.abs(np.diff(grey, axis=1))[label[:, 1:] == CLASS_NAMES.index("road")].mean()

    assert mean_over(things, clutter=1.0) > 1.5 * mean_over(things, clutter=0.0)
    assert mean_over(things, occlusion=1.0) > 1.1 * mean_over(things, occlusion=0.0)
    assert mean_over(roughness, noise=1.0) > 1.2 * mean_over(roughness, noise=0.0)

    def brightness_spread(light):
        means = [draw_scene(3, index, 64, 128, Dials(light=light))[0].mean() for index in range(20)]
        return np.std(means)

    assert brightness_spread(1.0) > 1.5 * brightness_spread(0.0)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="clutter is 1.5; choose a number from 0 to 1"):
        Dials(clutter=1.5)
    with pytest.raises(UserError, match="index is -1"):
        draw_scene(0, -1)
    with pytest.raises(UserError, match="size 8 x 64 is too small"):
        draw_scene(0, 0, 8, 64)
