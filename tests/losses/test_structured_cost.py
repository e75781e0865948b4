"""What the structured loss costs beside time: bytes on the way, and on a GPU questions to the host."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scl_core.losses import structured, structured_family
from scl_core.losses.structured import structured_consistency_loss
from scl_core.structured_form import Seen, StructuredForm, compare, find_regions, value_per_region
from scl_core.training.forecast import LiveBytes

CLASSES, HEIGHT, WIDTH = 19, 200, 350
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "item")


def predictions(height, width):
    logits = torch.randn(2, CLASSES, height, width, generator=torch.Generator().manual_seed(0))
    return logits[:1].softmax(1).requires_grad_(), logits[1:].softmax(1)


@pytest.mark.parametrize(("max_pairs", "megabytes"), [(None, 100), (9000, 100)])
def test_a_box_of_70_000_pixels_takes_less_than_100_mb(max_pairs, megabytes):
    student, teacher = predictions(HEIGHT, WIDTH)
    owner = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    with LiveBytes() as memory:
        structured_consistency_loss(student, teacher, owner, 1, 1, max_pairs, torch.Generator()).backward()
    assert student.grad.nbytes <= memory.peak < megabytes * 1e6  # a P x P matrix would be 19,600 MB


class Asked(TorchDispatchMode):
    """The names of the operations inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        if self.names[-1] in ("index", "index_put_", "index_put"):
            places = args[1]
            assert not any(place is not None and place.dtype == torch.bool for place in places), "a mask is counted"
        return func(*args, **(kwargs or {}))


def operations(number: int) -> list[str]:
    """What the way of a GPU does for so many boxes side by side, forward and backward."""
    student, teacher = predictions(24, 60)
    owner = (torch.arange(60) * number // 60).expand(1, 24, 60).contiguous()
    valid = torch.rand(1, 24, 60, generator=torch.Generator().manual_seed(1)) < 0.9
    with Asked() as asked:
        structured_consistency_loss(student, teacher, owner, number, number, valid=valid).backward()
    return asked.names


def test_the_way_of_a_gpu_neither_waits_for_the_host_nor_loops_over_boxes(monkeypatch):
    monkeypatch.setattr(structured, "without_host", lambda device: True)
    few, many = operations(3), operations(12)
    assert few == many
    assert not [name for name in many if name.startswith(WAITS)]


def test_the_way_of_a_cpu_asks_so_the_test_above_can_see_it():
    assert [name for name in operations(3) if name.startswith(WAITS)] and operations(3) != operations(12)


FORMS = {
    "confidence": {"pair_weights": "confidence"},
    "class area": {"pair_weights": "class_area"},
    "centred": {"centred": True},
    "class pairs": {"class_pairs": "0-0=0.1,5-*=3"},
    "logits": {"on": "logits"},
    "features": {"on": "features"},
    "features of two widths": {"on": "features", "teacher": "frozen"},
    "window": {"region": "window", "radius": 3},
    "pixel cosine": {"form": "pixel_cosine"},
    "random": {"region": "random", "pair_weights": "confidence"},
}


def operations_of_form(name: str, number: int) -> list[str]:
    """What a form does for so many boxes side by side, forward and backward, with features of half the size."""
    form, (student, teacher) = StructuredForm(**FORMS[name]), predictions(24, 60)
    owner = (torch.arange(60) * number // 60).expand(1, 24, 60).contiguous()
    valid = torch.rand(1, 24, 60, generator=torch.Generator().manual_seed(1)) < 0.9
    features = [torch.randn(1, width, 12, 30) for width in (8, 12 if form.teacher else 8)]
    seen = Seen(student, features[0].requires_grad_()), Seen(teacher, features[1])
    settings = SimpleNamespace(num_boxes=number, num_loss_boxes=None, structured_region=form.region)
    with Asked() as asked:
        compared = compare(*seen, owner, valid, form)
        regions = find_regions(compared.owner, compared.valid, settings, [torch.Generator()])
        value_per_region(compared, regions, form).sum().backward()
    return asked.names


@pytest.mark.parametrize("name", FORMS)
def test_no_form_waits_for_the_host_on_a_gpu_or_loops_over_boxes(monkeypatch, name):
    for module in (structured, structured_family):
        monkeypatch.setattr(module, "without_host", lambda device: True)
    few, many = operations_of_form(name, 3), operations_of_form(name, 12)
    assert few == many
    assert not [operation for operation in many if operation.startswith(WAITS)]


@pytest.mark.parametrize("name", ["centred", "class pairs"])
def test_the_way_of_a_cpu_asks_in_other_forms_too(name):
    with pytest.raises(AssertionError, match="a mask is counted"):
        operations_of_form(name, 3)
