"""Generated scenes as a data set: disjoint lists, no mask for unlabeled ones, bounded memory."""

from itertools import combinations

import numpy as np
import pytest

from scl_core.data.generated import ScenesConfig
from scl_core.data.scenes import CLASS_NAMES, draw_scene
from scl_core.data.sources import DATASETS, open_data
from scl_core.errors import UserError

SMALL = {"height": 32, "width": 48, "labeled": 2, "unlabeled": 3, "val": 2, "test": 4}


def test_lists_have_their_counts_and_share_no_scene():
    lists = open_data(ScenesConfig(**SMALL)).lists
    assert {name: len(pictures) for name, pictures in lists.items()} == {
        **{"labeled": 2, "unlabeled": 3, "train": 5, "val": 2, "test": 4}
    }
    for first, second in combinations(("labeled", "unlabeled", "val", "test"), 2):
        assert set(lists[first].names).isdisjoint(lists[second].names)
    assert lists["train"].names == lists["labeled"].names + lists["unlabeled"].names


def test_fewer_labeled_scenes_are_a_subset_of_more():
    few = open_data(ScenesConfig(**SMALL)).lists["labeled"].names
    assert open_data(ScenesConfig(**SMALL | {"labeled": 5})).lists["labeled"].names[:2] == few


def test_a_scene_is_the_drawn_one_at_input_size():
    config = ScenesConfig(**SMALL, scene_seed=7, noise=0.2)
    labeled = open_data(config).lists["labeled"]
    image, label = draw_scene(7, 1, 32, 48, config.dials())
    assert np.array_equal(labeled.image(1), image) and np.array_equal(labeled.input(1), image)
    assert np.array_equal(labeled.mask(1), label) and np.array_equal(labeled.label(1), label)


def test_unlabeled_scenes_show_no_mask():
    unlabeled = open_data(ScenesConfig(**SMALL)).lists["unlabeled"]
    assert not unlabeled.has_masks
    for read in (unlabeled.mask, unlabeled.label):
        with pytest.raises(UserError, match="scene_0000002: an unlabeled scene shows no mask"):
            read(0)


def test_memory_is_bounded():
    source = open_data(ScenesConfig(**SMALL | {"height": 512, "width": 512, "cache_mb": 1}))
    for i in range(2):
        source.lists["val"].image(i)
    assert source.cache.used_bytes == 512 * 512 * 4
    assert open_data(ScenesConfig(**SMALL, cache_mb=0)).lists["val"].image(0).shape == (32, 48, 3)


def test_whatever_changes_the_pictures_changes_the_hash():
    hashes = {
        open_data(ScenesConfig(**SMALL | change)).list_hash
        for change in ({}, {"noise": 0.6}, {"scene_seed": 1}, {"height": 64})
    }
    assert len(hashes) == 4
    assert open_data(ScenesConfig(**SMALL)).list_hash == open_data(ScenesConfig(**SMALL, cache_mb=3)).list_hash


def test_without_unlabeled_scenes_there_is_no_such_list():
    assert "unlabeled" not in open_data(ScenesConfig(**SMALL | {"unlabeled": 0})).lists


def test_every_data_set_carries_its_name_and_every_setting_a_help():
    for name, config in DATASETS.items():
        assert config().name == name
        assert all(field.metadata["help"].endswith(".") for field in config.__dataclass_fields__.values())
    assert "root" not in ScenesConfig.__dataclass_fields__
    assert len(CLASS_NAMES) == len(open_data(ScenesConfig(**SMALL)).palette)
