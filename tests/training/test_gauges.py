import pytest
import torch
from torch import nn

from scl_core.command_line import run_command
from scl_core.runs import RunFolder
from scl_core.train import main as train
from scl_core.training.gauges import gradient_terms, label_counts
from tests.tiny import assert_bitwise_equal, checkpoint_tensors, metrics, tiny_options

ON = {"train__gradient_terms_every": 1, "train__watch_every": 1}
OFF = {"train__watch_every": 0}


def test_norms_and_cosines_against_a_backward_pass_for_each_term():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, weights = torch.randn(5, 3).double(), {"supervised": 1.0, "consistency": 3.0, "structured": 0.0}

    def terms():
        out = layer(x)
        return {"supervised": out.square().mean(), "consistency": out[:, 0].sin().sum(), "structured": out.sum()}

    slow = {}
    for name in weights:
        layer.zero_grad()
        (weights[name] * terms()[name]).backward()
        slow[name] = torch.cat([p.grad.flatten() for p in layer.parameters()])
    layer.zero_grad(set_to_none=True)
    fast = gradient_terms(terms(), weights, list(layer.parameters()))
    assert all(p.grad is None for p in layer.parameters())
    for name in weights:
        assert fast[f"gradient/{name}"] == pytest.approx(float(slow[name].norm()))
    cosine = torch.cosine_similarity(slow["supervised"], slow["consistency"], dim=0)
    assert fast["cosine/consistency"] == pytest.approx(float(cosine))
    assert fast["gradient/structured"] == 0.0 and fast["cosine/structured"] is None


def test_ignored_pixels_have_no_class():
    assert label_counts(torch.tensor([[[0, 2], [255, 2]]]), 3).tolist() == [1, 0, 2]


@pytest.mark.parametrize("method", ["scl", "cutmix_seg", "mean_teacher", "cps", "unimatch", "scl in micro batches"])
def test_measuring_changes_no_bit_of_the_training(tmp_path, method):
    parts = {"train__accumulate": 2, "train__batch_labeled": 4} if "micro" in method else {}
    for name, settings in {"on": ON | parts, "off": OFF | parts}.items():
        options = tiny_options(tmp_path / name, train__steps=3, method__name=method.split()[0], **settings)
        assert run_command(train, options) == 0
    assert_bitwise_equal(checkpoint_tensors(tmp_path / "on", 3), checkpoint_tensors(tmp_path / "off", 3))
    rows = metrics(tmp_path / "on")
    assert all(row["gradient/supervised"] > 0 for row in rows)
    assert not any("/" in key for row in metrics(tmp_path / "off") for key in row)


def test_rows_between_two_measurements_have_nulls(tmp_path):
    options = {"train__gradient_terms_every": 2, "train__watch_every": 3, "method__ramp": 0.0}
    assert run_command(train, tiny_options(tmp_path / "run", **options)) == 0
    rows = RunFolder.open(tmp_path / "run").metrics()
    assert [row["gradient/structured"] is None for row in rows] == [True, False] * 3
    assert [row["targets/classes"] is None for row in rows] == [True, True, False] * 2
    shares = [value for key, value in rows[2].items() if key.startswith("targets/share/")]
    assert sum(shares) == pytest.approx(1.0) and len(shares) == 11
    assert 0 < rows[2]["targets/entropy"] <= 1 and 1 <= rows[2]["targets/classes"] <= 11


@pytest.mark.two_process
def test_two_ranks_measure_what_one_does_and_train_the_same_bits(tmp_path):
    options = {"train__steps": 1, "train__learning_rate": 0.0, "method__teacher_bn": "recalibrate", "method__ramp": 0.0}
    assert run_command(train, tiny_options(tmp_path / "one", **options, **ON)) == 0
    for name, settings in {"on": ON, "off": OFF}.items():
        assert run_command(train, [*tiny_options(tmp_path / name, **options, **settings), "--processes", "2"]) == 0
    one, on, off = (checkpoint_tensors(tmp_path / name, 1) for name in ("one", "on", "off"))
    assert_bitwise_equal(on, off)  # the optimizer's momentum is the gradient
    (row,), (other,) = metrics(tmp_path / "one"), metrics(tmp_path / "on")
    measured = [key for key in row if "/" in key]
    assert len(measured) > 8
    assert [other[key] for key in measured] == pytest.approx([row[key] for key in measured], rel=2e-3, abs=2e-3)
    recalibrated = [key for key in one if key.startswith("teacher:") and "running" in key]
    assert len(recalibrated) > 10
    for key in recalibrated:
        torch.testing.assert_close(on[key], one[key], rtol=1e-3, atol=1e-4)
