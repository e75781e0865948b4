"""Batches of a run: the same whatever rank, world, worker and first step; faults named; signals survived."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from scl_core.data.augment import AugmentConfig
from scl_core.data.batch import Batch
from scl_core.data.folder import FolderConfig
from scl_core.data.generated import ScenesConfig
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.errors import UserError

SCENES = ScenesConfig(height=24, width=32, labeled=3, unlabeled=5, val=1, test=1)


def load(
    config=SCENES,
    source=None,
    rank=0,
    world=1,
    first_step=1,
    pairs=True,
    num_strong=1,
    augment=None,
    seed=0,
    partner="other",
    **train,
):
    """The loader of a small run; further keywords are settings of `train`."""
    settings = SimpleNamespace(
        **{"batch_labeled": 2, "batch_unlabeled": 4, "unlabeled_from": "unlabeled", "steps": 4, "workers": 0} | train
    )
    place = SimpleNamespace(rank=rank, size=world, device=torch.device("cpu"))
    source = source or open_data(config)
    strong = num_strong if pairs else 0
    return training_loader(
        source, config, augment or AugmentConfig(), settings, seed, place, first_step, pairs, strong, partner
    )


def flat(batch: Batch) -> dict[str, object]:
    """Every part of a batch under a name."""
    parts = {"images": batch.images, "labels": batch.labels, "names": batch.names}
    for side in ("a", "b"):
        views = getattr(batch, f"unlabeled_{side}")
        parts |= {f"weak_{side}": views.weak, f"valid_{side}": views.valid, f"names_{side}": views.names}
        parts |= {f"strong{i}_{side}": strong for i, strong in enumerate(views.strong)}
    return parts


def assert_same(first: Batch, second: Batch) -> None:
    ours, theirs = flat(first), flat(second)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]) if isinstance(value, torch.Tensor) else value == theirs[key], key


def test_a_picture_meets_another_one_or_itself_under_draws_of_its_own():
    other, own = (next(iter(load(partner=partner))) for partner in ("other", "self"))
    assert all(a != b for a, b in zip(other.unlabeled_a.names, other.unlabeled_b.names, strict=True))
    assert own.unlabeled_a.names == own.unlabeled_b.names == other.unlabeled_a.names
    assert torch.equal(own.unlabeled_a.weak, other.unlabeled_a.weak)
    assert not torch.equal(own.unlabeled_b.weak, own.unlabeled_a.weak)


def test_shapes_types_and_names():
    batch = next(iter(load(num_strong=2)))
    assert batch.images.shape == (2, 3, 24, 32) and batch.images.dtype == torch.float32
    assert batch.labels.shape == (2, 24, 32) and batch.labels.dtype == torch.int64
    assert len(batch.unlabeled_a.strong) == 2
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        assert views.weak.shape == views.strong[0].shape == (4, 3, 24, 32)
        assert views.valid.shape == (4, 24, 32) and views.valid.dtype == torch.bool and len(views.names) == 4
    assert all(a != b for a, b in zip(batch.unlabeled_a.names, batch.unlabeled_b.names, strict=True))
    assert (batch.label_positions, batch.positions) == ((0, 1), (0, 1, 2, 3))


def test_workers_change_nothing():
    alone, helped = list(load(steps=5)), list(load(steps=5, workers=2))
    assert len(alone) == len(helped) == 5
    for first, second in zip(alone, helped, strict=True):
        assert_same(first, second)


def test_neither_a_thread_nor_forgotten_pictures_change_anything():
    alone, threaded = load(steps=5), load(steps=5)
    threaded._in_a_thread = True  # as for an accelerator
    forgetful = load(ScenesConfig(**vars(SCENES) | {"cache": "none"}), steps=5)
    for batches in zip(alone, threaded, forgetful, strict=True):
        assert_same(batches[0], batches[1])
        assert_same(batches[0], batches[2])
    first = iter(threaded)
    next(first)
    first.close()  # leaves no thread behind that would keep Python alive
    assert threading.active_count() == 1


def test_two_ranks_make_the_batch_of_one():
    whole = list(load())
    halves = [list(load(rank=rank, world=2)) for rank in range(2)]
    for one, first, second in zip(whole, *halves, strict=True):
        whole_parts, parts = flat(one), (flat(first), flat(second))
        for key, value in whole_parts.items():
            joined = tuple(part[key] for part in parts)
            assert (
                torch.equal(value, torch.cat(joined)) if isinstance(value, torch.Tensor) else value == sum(joined, ())
            )
        assert first.positions + second.positions == one.positions == (0, 1, 2, 3)
        assert first.label_positions + second.label_positions == one.label_positions


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_gets_the_batches_of_an_uninterrupted_one(workers):
    whole, resumed = list(load()), list(load(first_step=3, workers=workers))
    assert len(resumed) == 2
    for first, second in zip(whole[2:], resumed, strict=True):
        assert_same(first, second)
    assert list(load(first_step=5)) == []


def test_a_loader_can_be_gone_through_again():
    loader = load(steps=2)
    assert len(loader) == 2
    assert_same(next(iter(loader)), next(iter(loader)))


def test_steps_and_seeds_change_the_batch():
    first, second = list(load(steps=2))
    other = next(iter(load(seed=1)))
    assert not torch.equal(first.images, second.images) and not torch.equal(first.images, other.images)


def test_every_labeled_picture_comes_once_per_epoch():
    names = [name for batch in load(steps=6, pairs=False) for name in batch.names]
    assert [sorted(names[i : i + 3]) for i in range(0, 12, 3)] == [sorted(set(names))] * 4


def test_a_method_without_pairs_gets_none_and_needs_no_unlabeled_pictures():
    config = ScenesConfig(height=24, width=32, labeled=2, unlabeled=0, val=1, test=1)
    batch = next(iter(load(config, pairs=False, batch_unlabeled=3, world=2)))
    assert batch.unlabeled_a is None and batch.unlabeled_b is None and batch.positions == ()


def test_the_control_sees_no_picture_but_the_labeled():
    labeled = set(open_data(SCENES).lists["labeled"].names)
    for batch in load(unlabeled_from="labeled"):
        assert set(batch.unlabeled_a.names) | set(batch.unlabeled_b.names) <= labeled
    assert not set(next(iter(load())).unlabeled_a.names) & labeled


@pytest.mark.parametrize("unlabeled", [0, 1])
def test_too_few_unlabeled_pictures_are_refused_with_their_count(unlabeled):
    config = ScenesConfig(height=24, width=32, labeled=2, unlabeled=unlabeled, val=1, test=1)
    with pytest.raises(UserError, match=f"has {unlabeled} unlabeled pictures, .* needs at least 2 unlabeled pictures"):
        load(config)


@pytest.mark.parametrize("batch", ["batch_labeled", "batch_unlabeled"])
def test_a_batch_that_cannot_be_shared_is_refused(batch):
    with pytest.raises(UserError, match=rf"train\.{batch}: 3 pictures cannot be shared evenly by 2 processes"):
        load(world=2, **{batch: 3})


def test_loading_draws_nothing_from_the_global_generators():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(load())
    assert torch.equal(torch.get_rng_state(), states[0]) and np.array_equal(np.random.get_state()[1], states[1])


def test_the_crop_is_as_set_or_the_input_or_the_first_picture(tiny_folder):
    assert next(iter(load(augment=AugmentConfig(crop_height=10, crop_width=12)))).images.shape[-2:] == (10, 12)
    assert next(iter(load(augment=AugmentConfig(crop_height=40)))).images.shape[-2:] == (40, 32)
    own = FolderConfig(root=str(tiny_folder))
    assert next(iter(load(own))).images.shape[-2:] == (48, 64)
    assert next(iter(load(FolderConfig(root=str(tiny_folder), height=20, width=30)))).images.shape[-2:] == (20, 30)


def test_pictures_of_several_sizes_make_one_batch(tiny_folder):
    Image.new("RGB", (300, 9)).save(tiny_folder / "images" / "005.png")
    Image.new("RGB", (1, 1)).save(tiny_folder / "images" / "006.png")
    shapes = {batch.unlabeled_a.weak.shape for batch in load(FolderConfig(root=str(tiny_folder)))}
    assert shapes == {(4, 3, 48, 64)}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_in_one_line(tiny_folder, workers):
    config = FolderConfig(root=str(tiny_folder))
    source = open_data(config)
    for path in (tiny_folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"images/0\d\d\.png: the file is truncated") as caught:
        list(load(config, source, workers=workers, augment=AugmentConfig(crop_height=48, crop_width=64)))
    assert "\n" not in str(caught.value)


def test_an_unforeseen_error_names_step_and_picture(tiny_folder, monkeypatch):
    config = FolderConfig(root=str(tiny_folder), height=48, width=64)
    source = open_data(config)
    monkeypatch.setattr(source.lists["labeled"], "image", lambda i: np.zeros((0, 0), np.uint8))
    with pytest.raises(RuntimeError, match=r"step 1, picture .*images/00\d\.png: \w+Error"):
        next(iter(load(config, source)))


PROGRAM = textwrap.dedent("""
    import os, signal
    from types import SimpleNamespace
    import torch
    from scl_core.data.augment import AugmentConfig
    from scl_core.data.loaders import training_loader
    from scl_core.data.sources import ScenesConfig, open_data

    config = ScenesConfig(height=24, width=32, labeled=2, unlabeled=4, val=1, test=1)
    train = SimpleNamespace(batch_labeled=1, batch_unlabeled=1, unlabeled_from="unlabeled", steps=10_000, workers=2)
    world = SimpleNamespace(rank=0, size=1, device=torch.device("cpu"))
    batches = iter(training_loader(open_data(config), config, AugmentConfig(), train, 0, world, 1, True, 1))
    next(batches)
    workers = [int(child) for child in open(f"/proc/self/task/{os.getpid()}/children").read().split()]
""")


def run_program(ending: str) -> subprocess.CompletedProcess:
    """Run PROGRAM and `ending` in a session of its own, with its two workers under way."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(ending)],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )


def test_workers_survive_a_signal_to_the_whole_group_and_end_with_the_trainer():
    done = run_program("""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: print("handled", flush=True))
            os.killpg(0, number)
        for _ in range(30):
            next(batches)
        print(*workers, flush=True)
        raise ValueError("the end, with workers under way")
    """)
    lines = done.stdout.split("\n")
    assert lines[:2] == ["handled", "handled"] and done.returncode == 1, done.stderr
    assert done.stderr.rstrip().endswith("ValueError: the end, with workers under way")
    for worker in lines[2].split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker), 0)


@pytest.mark.fault
def test_a_killed_worker_ends_the_run_soon():
    done = run_program("""
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(1000):
            next(batches)
    """)
    assert done.returncode == 1
    assert re.search(r"a loader worker was lost|DataLoader worker \(pid.* is killed by signal", done.stderr)


def test_stop_signals_reach_the_trainer_again_after_loading():
    before = signal.getsignal(signal.SIGTERM)
    list(load(steps=1, workers=1))
    assert signal.getsignal(signal.SIGTERM) == before
