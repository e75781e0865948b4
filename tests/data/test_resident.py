"""Pictures that stay on the device: the same batches as the CPU's, sent once, without a question to the host."""

from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scl_core.config import LATER_CHANGES, load_config
from scl_core.data import memory
from scl_core.data.augment import AugmentConfig
from scl_core.data.batch import Batch
from scl_core.data.folder import FolderConfig
from scl_core.data.generated import ScenesConfig
from scl_core.data.memory import is_resident, megabytes, resident_words, training_bytes
from scl_core.data.resident import ResidentLoader, ResidentPictures
from scl_core.data.sources import open_data
from tests.data.test_loaders import SCENES, flat, load

COLORS = ("images", "strong")  # what a change of colors may round otherwise
RESIDENT = ScenesConfig(**vars(SCENES) | {"resident": "true"})


def assert_alike(host: Batch, device: Batch, exact: bool = False) -> None:
    """Bitwise but for changed colors; those to 1e-5, in units of the normalised picture."""
    ours, theirs = flat(host), flat(device)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if not isinstance(value, torch.Tensor):
            assert value == theirs[key], key
        elif key.startswith(COLORS) and not exact:
            torch.testing.assert_close(theirs[key], value, rtol=0, atol=1e-5)
        else:
            assert torch.equal(value, theirs[key]), key
    assert (host.positions, host.label_positions) == (device.positions, device.label_positions)


AUGMENTS = {
    "as usual": {},
    "large": {"scale_min": 2.0, "scale_max": 5.0},
    "tiny": {"scale_min": 0.05, "scale_max": 0.2, "crop_height": 7, "crop_width": 90},
    "as it is": {"scale_min": 1.0, "scale_max": 1.0, "flip": 1.0},
    "strong": {"gray": 0.5, "jitter": 0.8, "jitter_probability": 0.5, "blur_sigma_max": 6.0, "hue": 0.5},
    "same for the teacher": {"teacher_photometric": "same", "photometric_labeled": False},
}


@pytest.mark.parametrize("name", AUGMENTS)
def test_batches_are_those_of_the_host(name):
    augment = AugmentConfig(**AUGMENTS[name])
    hosts, devices = (load(config, augment=augment, num_strong=2, steps=6) for config in (SCENES, RESIDENT))
    assert isinstance(devices, ResidentLoader) and not isinstance(hosts, ResidentLoader)
    for host, device in zip(hosts, devices, strict=True):
        weak = ("weak_a", "weak_b")
        if augment.teacher_photometric == "same":
            assert all(torch.equal(flat(device)[f"weak_{s}"], flat(device)[f"strong0_{s}"]) for s in "ab")
            for side in (host.unlabeled_a, host.unlabeled_b, device.unlabeled_a, device.unlabeled_b):
                side.weak = torch.zeros(1)  # it is a strong view, compared as that
        assert_alike(host, device)
        assert all(not flat(device)[side].isnan().any() for side in weak)


def test_without_a_change_of_colors_every_bit_is_the_hosts():
    still = AugmentConfig(jitter=0.0, hue=0.0, blur=0.0)
    for host, device in zip(*(load(config, augment=still) for config in (SCENES, RESIDENT)), strict=True):
        assert_alike(host, device, exact=True)


def test_pictures_of_their_own_sizes_and_class_uniform_crops(tiny_folder):
    settings = {"root": str(tiny_folder), "val_fraction": 0.0}
    augment = AugmentConfig(class_uniform=0.5, crop_height=40, crop_width=33)
    host, device = (
        load(FolderConfig(**settings, resident=resident), augment=augment, steps=5, batch_unlabeled=2)
        for resident in ("false", "true")
    )
    for one, other in zip(host, device, strict=True):
        assert_alike(one, other)


def test_a_store_that_was_thought_too_small_grows():
    loader = load(RESIDENT)
    loader._expected = (1, 1)
    for host, device in zip(load(), loader, strict=True):
        assert_alike(host, device)


def test_resumed_batches_are_bitwise_those_of_an_uninterrupted_run_and_ranks_make_the_batch_of_one():
    whole, later = list(load(RESIDENT)), list(load(RESIDENT, first_step=3))
    for one, other in zip(whole[2:], later, strict=True):
        assert_alike(one, other, exact=True)
    halves = [next(iter(load(RESIDENT, rank=rank, world=2))) for rank in range(2)]
    for key, value in flat(whole[0]).items():
        parts = [flat(half)[key] for half in halves]
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(torch.cat(parts), value, rtol=0, atol=1e-5)


def test_each_iteration_sends_each_picture_once():
    loader = load(RESIDENT, steps=12)
    for _ in range(2):  # the second starts on an empty device
        sent = [arrival.start for recipe in loader._recipes for arrival in recipe.arrivals if arrival.values.dim() == 2]
        assert len(sent) == len(set(sent)) == SCENES.labeled + SCENES.unlabeled
        loader._steps.start_anew()
    with closing(iter(loader)) as batches:
        assert_alike(next(iter(load(steps=12))), next(batches))


class Sent(TorchDispatchMode):
    """Notes what a GPU's host waits for: numbers that it asks for, copies not made beside it, tensors left with it."""

    def __init__(self):
        super().__init__()
        self.waited = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        asks = name.startswith(("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "is_nonzero"))
        copies = name in ("_to_copy", "copy_") and kwargs.get("device", tensors[-1].device) != tensors[0].device
        left = len({tensor.device for tensor in tensors}) > 1
        if asks or left or (copies and not kwargs.get("non_blocking")):
            self.waited.append(name)
        return func(*args, **kwargs)


def test_an_accelerator_makes_its_batches_without_waiting_for_the_host():
    """On torch's device without memory, which stands in for a GPU."""
    loader = load(RESIDENT, num_strong=2)
    recipe = next(iter(loader._recipes))
    pictures = ResidentPictures(*loader._expected, torch.device("meta"))
    with Sent() as sent:
        batch = pictures.batch(recipe.to("meta"))
    tensors = {key: value for key, value in flat(batch).items() if isinstance(value, torch.Tensor)}
    assert {value.device.type for value in tensors.values()} == {"meta"} and len(tensors) == 10
    assert tensors["strong1_b"].shape == (4, 3, 24, 32) and sent.waited == []


def test_a_wait_would_be_noticed():
    with Sent() as sent:
        torch.ones(3).to("meta")
        torch.ones(3, device="meta").copy_(torch.ones(3))
        torch.ones(3).nonzero()
    assert sent.waited == ["_to_copy", "copy_", "nonzero"]


def test_auto_takes_a_gpu_with_room_and_says_so(monkeypatch):
    source, gpu, cpu = open_data(SCENES), torch.device("cuda", 0), torch.device("cpu")
    needed = training_bytes(source)
    free = SimpleNamespace(bytes=int(needed / memory.RESIDENT_SHARE) + 8)
    monkeypatch.setattr(memory.torch.cuda, "mem_get_info", lambda device: (free.bytes, 2 * free.bytes))
    assert is_resident(source, SCENES, gpu) and not is_resident(source, SCENES, cpu)
    assert f"about {megabytes(needed)} stay on cuda:0" in resident_words(source, SCENES, gpu)
    free.bytes = 4
    assert not is_resident(source, SCENES, gpu) and "more than" in resident_words(source, SCENES, gpu)
    assert is_resident(source, RESIDENT, gpu) and is_resident(source, RESIDENT, cpu)
    off = ScenesConfig(**vars(SCENES) | {"resident": "false"})
    assert not is_resident(source, off, gpu) and "data.resident false" in resident_words(source, off, gpu)
    assert resident_words(source, SCENES, cpu) is None


def test_the_setting_reads_true_and_may_change_when_a_run_is_resumed():
    assert load_config((), {"data.resident": True}).data.resident == "true" and "data.resident" in LATER_CHANGES
