"""Which pixels of a labeled picture are relaxed, and until when: the settings of scl and supervised."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scl_core.config import load_config
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.errors import UserError
from scl_core.losses import relaxed_cross_entropy
from scl_core.methods import StepDraws
from scl_core.restore import build_method
from scl_core.training.plan import Plan
from tests.tiny import tiny_settings

RELAXED = {"method.relaxation_window": 3, "method.relaxation_strict_classes": "4, 6", "method.relaxation_until": 0.5}


@pytest.mark.parametrize("name", ["scl", "supervised"])
def test_the_relaxation_ends_at_its_share_and_spares_strict_classes(name):
    config = load_config((), tiny_settings() | RELAXED | {"method.name": name, "train.steps": 4})
    source = open_data(config.data)
    method = build_method(config, len(source.class_names))
    world = SimpleNamespace(rank=0, size=1, device=torch.device("cpu"))
    needs = method.num_strong > 0
    loader = training_loader(source, config.data, config.augment, config.train, 0, world, 1, needs, method.num_strong)
    batch = next(iter(loader))
    method.eval()  # labeled and mixed pictures in one pass: without batch statistics each is its own
    logits = method.student(batch.images).logits
    for step, window in ((1, 3), (2, 3), (3, 1), (4, 1)):
        got = method(batch, StepDraws(0, step))["supervised"]
        expected = relaxed_cross_entropy(logits, batch.labels, window, strict_classes=(4, 6))
        assert got.item() == pytest.approx(expected.item(), rel=1e-5), step
    assert not torch.isclose(relaxed_cross_entropy(logits, batch.labels, 3), expected)


def test_what_is_no_class_is_refused():
    with pytest.raises(UserError, match="relaxation_strict_classes: 'pole' is not the number of a class"):
        load_config((), tiny_settings() | {"method.relaxation_strict_classes": "5,pole"})
    config = load_config((), tiny_settings() | {"method.relaxation_strict_classes": "5,11"})
    with pytest.raises(UserError, match="11 is no class; there are 0 road"):
        Plan(config, Path("unused"), resumed=False).check_lists(open_data(config.data), 1)
