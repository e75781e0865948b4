"""A network of the user's own: every form of answer, and every way it can be wrong."""

import sys

import pytest
import torch

from scl_core.errors import UserError
from scl_core.models import build_segmenter

MODULE = """
from types import SimpleNamespace

import torch

class Net(torch.nn.Module):
    def __init__(self, channels, form):
        super().__init__()
        self.conv, self.form = torch.nn.Conv2d(3, channels, 3, stride=2, padding=1), form

    def forward(self, x):
        logits = self.conv(x)
        forms = {
            "tensor": logits,
            "logits": {"logits": logits},
            "out": {"out": logits, "aux": logits},
            "object": SimpleNamespace(logits=logits, features=x),
            "flat": logits.mean((2, 3)),
            "text": "no logits",
        }
        return forms[self.form]

def tensor(num_classes): return Net(num_classes, "tensor")
def logits(classes): return Net(classes, "logits")
def out(pretrained=False, *, num_classes): return Net(num_classes, "out")
def object_(**settings): return Net(settings["num_classes"], "object")
def one_more(num_classes): return Net(num_classes + 1, "tensor")
def flat(num_classes): return Net(num_classes, "flat")
def text(num_classes): return Net(num_classes, "text")
def no_module(num_classes): return "net"
def fails(num_classes): raise RuntimeError("no such depth")
number = 3
"""


@pytest.fixture(autouse=True)
def users_folder(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    yield
    for name in ("own_networks", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["tensor", "logits", "out", "object_"])
def test_every_form_of_answer_becomes_logits_at_the_inputs_size(name):
    network = build_segmenter(f"own_networks:{name}", 4)
    images = torch.randn(2, 3, 9, 14)
    answer = network(images)
    assert answer.logits.shape == (2, 4, 9, 14)
    expected = images if name == "object_" else network.network.conv(images)
    torch.testing.assert_close(answer.features, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_nothing:net", "cannot import 'own_nothing'.*looked in"),
        ("own_broken:net", "cannot import 'own_broken'.*a_package_that_nobody_has"),
        ("own_networks:absent", "own_networks has no callable 'absent'"),
        ("own_networks:number", "own_networks has no callable 'number'"),
        ("own_networks:no_module", "it returned str, and not a torch.nn.Module"),
        ("own_networks:fails", "calling it failed: RuntimeError: no such depth"),
        (":net", "cannot import ''"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(name, message):
    with pytest.raises(UserError, match=f"model.encoder {name}: {message}"):
        build_segmenter(name, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_more", r"shape \[2, 5, 4, 4\], but 2 pictures of 4 classes need \[2, 4, height, width\]"),
        ("flat", r"shape \[2, 4\]"),
        ("text", "returned str"),
    ],
)
def test_a_wrong_answer_is_refused_at_the_first_forward(name, message):
    network = build_segmenter(f"own_networks:{name}", 4)
    with pytest.raises(UserError, match=message):
        network(torch.randn(2, 3, 8, 8))
