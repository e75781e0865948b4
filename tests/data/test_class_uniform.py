"""Class-uniform sampling on small trees: places, their cache, how often each class comes, and crops that contain it."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scl_core.data import centroids
from scl_core.data.augment import AugmentConfig, draw_geometry, labeled_sample
from scl_core.data.centroids import centroids_of, find_centroids
from scl_core.data.cityscapes import CityscapesConfig
from scl_core.data.class_uniform import open_class_uniform
from scl_core.data.folder import FolderConfig
from scl_core.data.generated import ScenesConfig
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.errors import UserError
from scl_core.seeding import generator_for


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_pair(root, name: str, mask: np.ndarray) -> None:
    """A picture whose red channel is its mask, so that a crop shows where it came from."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.dstack([mask * 20] * 3)).save(root / "images" / f"{name}.png")
    Image.fromarray(mask).save(root / "masks" / f"{name}.png")


@pytest.fixture
def rare(tmp_path):
    """Nine pictures of road; one pixel of `ball` in one of them, a line of `edge` in two."""
    root = tmp_path / "rare"
    for number in range(9):
        mask = np.zeros((40, 60), np.uint8)
        if number == 4:
            mask[33, 51] = 1
        if number in (2, 7):
            mask[:, 3] = 2
        write_pair(root, f"{number}", mask)
    (root / "classes.txt").write_text("road\nball\nedge\nnever\n")
    return root


def load(config, augment, steps=30, batch=4, rank=0, world=1, first_step=1):
    train = SimpleNamespace(batch_labeled=batch, batch_unlabeled=1, steps=steps, workers=0)
    place = SimpleNamespace(rank=rank, size=world, device=torch.device("cpu"))
    return training_loader(open_data(config), config, augment, train, 0, place, first_step, False, 0)


def settings(root, **more):
    return FolderConfig(root=str(root), val_fraction=0.0, **more)


def by_slow_search(label, tile):
    rows = []
    for top in range(0, label.shape[0], tile):
        for left in range(0, label.shape[1], tile):
            pixels = {}
            for y in range(top, min(top + tile, label.shape[0])):
                for x in range(left, min(left + tile, label.shape[1])):
                    pixels.setdefault(int(label[y, x]), []).append((y, x))
            for number in sorted(pixels.keys() - {255}):
                centre = np.mean(pixels[number], axis=0)
                rows.append((number, min(((y - centre[0]) ** 2 + (x - centre[1]) ** 2) for y, x in pixels[number])))
    return rows


@given(st.integers(1, 40), st.integers(1, 40), st.integers(16, 50), st.integers(0, 99))
def test_places_against_a_slow_search(height, width, tile, seed):
    label = np.random.default_rng(seed).choice([0, 1, 2, 7, 255], (height, width)).astype(np.uint8)
    label[: height // 2] = 3
    expected, got = by_slow_search(label, tile), find_centroids(label, tile)
    assert got[:, 0].tolist() == [number for number, _ in expected]
    assert all(label[row, column] == number for number, row, column in got)
    for (number, row, column), (_, distance) in zip(got, expected, strict=True):
        top, left = row - row % tile, column - column % tile
        part = np.argwhere(label[top : top + tile, left : left + tile] == number) + (top, left)
        assert ((part.mean(0) - (row, column)) ** 2).sum() == pytest.approx(distance)


def test_a_picture_smaller_than_a_tile_and_the_partial_tiles_at_its_border_have_places():
    assert find_centroids(np.zeros((5, 5), np.uint8), 1024).tolist() == [[0, 2, 2]]
    label = np.full((20, 33), 255, np.uint8)
    label[19, 32] = 4
    assert find_centroids(label, 16).tolist() == [[4, 19, 32]]
    assert find_centroids(np.full((20, 33), 255, np.uint8), 16).shape == (0, 3)


def test_places_are_kept_until_a_mask_changes(rare, monkeypatch):
    first = centroids_of(open_data(settings(rare)).lists["labeled"], 1024)
    with monkeypatch.context() as patch:
        patch.setattr(centroids, "find_centroids", None)  # the second time it is not called
        assert np.array_equal(centroids_of(open_data(settings(rare)).lists["labeled"], 1024), first)
    mask = np.zeros((40, 60), np.uint8)
    mask[5, 5] = 3
    write_pair(rare, "0", mask)
    assert 3 in centroids_of(open_data(settings(rare)).lists["labeled"], 1024)[:, 1]
    for file in centroids.cache_folder().iterdir():
        file.write_bytes(b"damaged")
    assert 3 in centroids_of(open_data(settings(rare)).lists["labeled"], 1024)[:, 1]


def test_every_class_comes_alike_and_every_place_in_turn(rare):
    source = open_data(settings(rare))
    labeled = source.lists["labeled"]
    uniform = open_class_uniform(source, labeled, AugmentConfig(class_uniform=0.5), settings(rare), 1000)
    numbers = [number for number in range(600) if uniform.aims(number)]
    assert len(numbers) == 300
    aims = [uniform.aim(0, 1, number) for number in numbers]
    classes = Counter(int(labeled.label(aim.index)[aim.row, aim.column]) for aim in aims)
    assert classes == {0: 100, 1: 100, 2: 100}
    edges = Counter(aim.index for aim in aims if labeled.label(aim.index)[aim.row, aim.column] == 2)
    assert edges == {2: 50, 7: 50}
    assert aims != [uniform.aim(1, 1, number) for number in numbers]


def test_the_share_shows_in_the_batches_and_the_others_come_once_per_epoch(rare):
    augment = AugmentConfig(class_uniform=0.5, crop_height=12, crop_width=12, scale_min=1, scale_max=1)
    batches = list(load(settings(rare), augment, steps=60))
    with_ball = sum(1 in label for batch in batches for label in batch.labels)
    others = load(settings(rare), AugmentConfig(crop_height=12, crop_width=12))
    plain = sum(1 in label for batch in others for label in batch.labels)
    assert with_ball >= 40 > 8 > plain
    names = [name for batch in batches for name in batch.names][0::2]  # every second sample goes to a class
    assert all(len(set(names[start : start + 9])) == 9 for start in range(0, 108, 9))


def test_ranks_and_resumed_runs_get_the_same_crops(rare):
    augment = AugmentConfig(class_uniform=0.7)
    whole = list(load(settings(rare), augment, steps=6))
    halves = [list(load(settings(rare), augment, steps=6, rank=rank, world=2)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert torch.equal(batch.images, torch.cat([half[step].images for half in halves]))
    resumed = list(load(settings(rare), augment, steps=6, first_step=4))
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(whole[3:], resumed, strict=True))


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 40), st.integers(1, 40), st.integers(0, 500))
def test_a_crop_contains_its_pixel_also_where_it_is_padded(height, width, crop_height, crop_width, step):
    row, column = (step * 7) % height, (step * 13) % width
    generator = generator_for(0, step, 0)
    crop = (crop_height, crop_width)
    geometry = draw_geometry(AugmentConfig(), (height, width), crop, generator, (row, column))
    scaled_row = min(int((row + 0.5) * geometry.scaled_height / height), geometry.scaled_height - 1)
    scaled_column = min(int((column + 0.5) * geometry.scaled_width / width), geometry.scaled_width - 1)
    assert geometry.top <= scaled_row < geometry.top + geometry.rows
    assert geometry.left <= scaled_column < geometry.left + geometry.columns
    if geometry.scaled_height >= height and geometry.scaled_width >= width:
        label = np.full((height, width), 255, np.uint8)
        label[row, column] = 9
        image = np.zeros((height, width, 3), np.uint8)
        crop_label = labeled_sample(image, label, AugmentConfig(), crop, generator_for(0, step, 0), (row, column))[1]
        assert (crop_label == 9).any()


def test_the_pixel_may_lie_anywhere_in_the_crop():
    still = AugmentConfig(scale_min=1, scale_max=1)
    tops = {draw_geometry(still, (40, 40), (10, 10), generator_for(0, s, 0), (20, 20)).top for s in range(400)}
    assert tops == set(range(11, 21))


def test_no_class_in_any_mask_is_refused(tmp_path):
    for number in range(3):
        write_pair(tmp_path / "void", f"{number}", np.full((8, 8), 255, np.uint8))
    (tmp_path / "void" / "classes.txt").write_text("road\n")
    with pytest.raises(UserError, match=r"augment\.class_uniform: no mask"):
        load(settings(tmp_path / "void"), AugmentConfig(class_uniform=0.5))


def test_scenes_have_places_too():
    config = ScenesConfig(height=24, width=32, labeled=3, unlabeled=0, val=1, test=1)
    batch = next(iter(load(config, AugmentConfig(class_uniform=1.0))))
    assert batch.labels.shape == (4, 24, 32)


@pytest.fixture
def city(tmp_path):
    """Two fine pictures of road, one coarse picture with a train (label id 31) and a car (26), one for validation."""
    root = tmp_path / "city"
    for split, kind, name, ids in (
        ("train", "gtFine", "aachen_000000_000019", [7]),
        ("train", "gtFine", "aachen_000001_000019", [7]),
        ("train_extra", "gtCoarse", "bayreuth_000000_000192", [7, 31, 26]),
        ("train_extra", "gtCoarse", "bayreuth_000001_000192", [7]),
        ("val", "gtFine", "munster_000000_000019", [7]),
    ):
        mask = np.repeat(np.array([ids], np.uint8), 12 // len(ids), 1).repeat(8, 0)
        picture = np.dstack([mask] * 3)
        for part, end, array in (("leftImg8bit", "leftImg8bit", picture), (kind, f"{kind}_labelIds", mask)):
            folder = root / part / split / name.split("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / f"{name}_{end}.png")
    return root


def test_coarse_masks_give_boosted_classes_alone_and_only_until_their_share(city):
    config = CityscapesConfig(root=str(city), coarse_classes="16", coarse_until=0.5)
    source = open_data(config)
    assert {name: len(listed) for name, listed in source.lists.items()} == {
        "labeled": 2,
        "coarse": 2,
        "unlabeled": 2,
        "train": 2,
        "val": 1,
    }
    assert not source.lists["unlabeled"].has_masks and "[coarse] 2" in source.resolved_text()
    batches = list(load(config, AugmentConfig(class_uniform=1.0, scale_min=1, scale_max=1), steps=20))
    shown = [set(batch.labels.unique().tolist()) - {255} for batch in batches]
    assert all(16 in classes for classes in shown[:10]) and all(classes == {0} for classes in shown[10:])
    names = Counter(name for batch in batches for name in batch.names)
    assert names["bayreuth_000000_000192_leftImg8bit"] == 20 and "bayreuth_000001_000192_leftImg8bit" not in names


def test_coarse_classes_that_cannot_be_are_refused(city):
    with pytest.raises(UserError, match=r"data\.coarse_classes: 19 is no class"):
        open_data(CityscapesConfig(root=str(city), coarse_classes="19"))
    with pytest.raises(UserError, match=r"set augment\.class_uniform"):
        load(CityscapesConfig(root=str(city), coarse_classes="16"), AugmentConfig())
