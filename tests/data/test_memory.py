"""What decoded pictures take in memory, how much of it is kept, and that it changes no batch."""

import sys
from types import SimpleNamespace

import pytest

from scl_core.config import LATER_CHANGES, load_config
from scl_core.data import memory
from scl_core.data.folder import FolderConfig
from scl_core.data.generated import ScenesConfig
from scl_core.data.memory import memory_words, training_bytes
from scl_core.data.sources import open_data
from scl_core.errors import UserError

SCENES = {"height": 32, "width": 48, "labeled": 3, "unlabeled": 5, "val": 1, "test": 1}


def read_all(source):
    for name in ("labeled", "unlabeled"):
        for i in range(len(source.lists[name])):
            source.lists[name].input(i)
            if source.lists[name].has_masks:
                source.lists[name].label(i)


def test_the_bytes_said_are_those_that_are_kept(tiny_folder):
    for config in (
        FolderConfig(root=str(tiny_folder), val_fraction=0.0),
        FolderConfig(root=str(tiny_folder), val_fraction=0.0, height=20, width=30, cache="all"),
    ):
        source = open_data(config)
        read_all(source)
        assert source.cache.used_bytes == training_bytes(source) > 0


def test_none_keeps_nothing_and_auto_what_fits(tiny_folder):
    none = open_data(FolderConfig(root=str(tiny_folder), cache="none"))
    read_all(none)
    assert none.cache.used_bytes == 0 and "none is kept" in memory_words(none)
    assert "take about 1 MiB and are kept in memory" in memory_words(open_data(ScenesConfig(**SCENES)))
    large = open_data(ScenesConfig(**SCENES | {"unlabeled": 500_000}, cache_mb=64))
    assert "2,197 MiB; 64 MiB are kept in memory, the others are decoded anew" in memory_words(large)


def test_all_is_refused_where_there_is_no_room(monkeypatch):
    source = open_data(ScenesConfig(**SCENES, cache="all"))
    assert source.cache.limit_bytes == sys.maxsize and memory_words(source)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    with pytest.raises(UserError, match="data.cache all: the decoded training pictures take .* set data.cache to auto"):
        memory_words(source)


def test_memory_may_change_when_a_run_is_resumed():
    assert {"data.cache", "data.cache_mb"} <= set(LATER_CHANGES)
    assert load_config((), {"data.cache": "none"}).data.cache == "none"
