"""Frozen batch norm: what stays, what is still trained, and that every way of a training leaves it alone."""

import copy

import pytest
import torch
from torch import nn

from scl_core.batch_norm import FrozenBatchNorm2d, freeze_batch_norm
from scl_core.command_line import run_command
from scl_core.ema import EmaTeacher
from scl_core.errors import UserError
from scl_core.models import ModelConfig, build_from_config, build_segmenter
from scl_core.models.folded import folded
from scl_core.train import main as train
from scl_core.training.recalibration import recalibrate
from tests.models.test_folded import trained
from tests.tiny import checkpoint_tensors, tiny_options

SMALL = {"width": 0.25, "decoder_channels": 8}


def norms(module):
    return [part for part in module.modules() if isinstance(part, (nn.BatchNorm2d, FrozenBatchNorm2d))]


def test_a_frozen_norm_is_the_running_statistics_by_hand_in_training_and_moves_nothing():
    norm = nn.BatchNorm2d(3)
    norm(torch.randn(4, 3, 5, 6) * 3 + 1)
    norm.weight.data.uniform_(), norm.bias.data.uniform_()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    assert freeze_batch_norm(norm) == 1
    x = torch.randn(2, 3, 5, 6, requires_grad=True)
    found = norm.train()(x)
    column = {name: value[:, None, None] for name, value in before.items() if value.dim()}
    expected = (x - column["running_mean"]) / (column["running_var"] + norm.eps).sqrt() * column["weight"]
    torch.testing.assert_close(found, expected + column["bias"])
    found.square().sum().backward()
    assert norm.weight.grad.any() and norm.bias.grad.any() and x.grad.any()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("where", ["none", "encoder", "all"])
def test_the_setting_freezes_the_encoders_norms_or_all_and_keeps_every_name(where):
    network = build_from_config(ModelConfig(frozen_batch_norm=where, **SMALL), 3)
    frozen = {part for part in network.modules() if isinstance(part, FrozenBatchNorm2d)}
    expected = {"none": [], "encoder": norms(network.encoder), "all": norms(network)}[where]
    assert frozen == set(expected) and len(norms(network.encoder)) > 10
    assert list(network.state_dict()) == list(build_segmenter("mobilenet_v2", 3, **SMALL).state_dict())


def test_copies_averages_new_statistics_and_folding_leave_them_frozen():
    torch.manual_seed(0)
    network = trained(build_segmenter("mobilenet_v2", 3, decoder_channels=8, width=0.25))
    freeze_batch_norm(network.encoder)
    before = copy.deepcopy(network.encoder.state_dict())
    teacher = EmaTeacher(network, decay=0.5)
    recalibrate(teacher.model, iter([torch.randn(2, 3, 32, 32)]))
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.encoder.state_dict().items())
    picture = torch.randn(1, 3, 40, 56)
    looking = folded(network)
    torch.testing.assert_close(looking(picture).logits, network.eval()(picture).logits, rtol=1e-3, atol=1e-3)
    assert not norms(looking)


def without_norms(num_classes):
    return nn.Conv2d(3, num_classes, 1)


@pytest.mark.parametrize(("where", "part"), [("encoder", "encoder"), ("all", "network")])
def test_a_network_without_batch_norm_is_refused_in_one_line(where, part):
    config = ModelConfig(encoder=f"{__name__}:without_norms", frozen_batch_norm=where)
    with pytest.raises(UserError, match=f"the {part} of .* has no batch norm: set it to none"):
        build_from_config(config, 3)


@pytest.mark.parametrize("method", ["cutmix_seg", "rc2l"])
def test_a_run_keeps_the_statistics_that_it_began_with(tmp_path, method):
    first = tiny_options(tmp_path / "first", method__name="supervised", train__steps=2, train__learning_rate=0.1)
    assert run_command(train, first) == 0
    more = {"method__name": method, "model__weights": tmp_path / "first", "model__frozen_batch_norm": "encoder"}
    assert run_command(train, tiny_options(tmp_path / "next", train__steps=2, **more)) == 0
    began, ended = checkpoint_tensors(tmp_path / "first", 2), checkpoint_tensors(tmp_path / "next", 2)
    names = [name for name in began if "student:encoder." in name and "running" in name]
    assert len(names) > 10
    for name in names:
        for network in ("student:", "teacher:"):
            assert torch.equal(ended[name.replace("student:", network)], began[name])
    assert not torch.equal(ended["student:encoder.features.0.1.weight"], began["student:encoder.features.0.1.weight"])


def test_the_leaky_pyramid_lets_a_hundredth_of_what_is_negative_pass():
    leaky, plain = (
        build_segmenter("mobilenet_v2", 3, leaky_pyramid=on, decoder_channels=8, width=0.25) for on in (True, False)
    )
    plain.load_state_dict(leaky.state_dict())
    for part in leaky.pyramid.modules():
        assert not isinstance(part, nn.ReLU)
    x = torch.randn(2, leaky.encoder.deep_channels, 4, 5)
    inputs = leaky.pyramid.join[1](
        leaky.pyramid.join[0](torch.cat([branch(x) for branch in leaky.pyramid.branches], 1))
    )
    torch.testing.assert_close(leaky.pyramid(x), inputs.clamp(min=0) + 0.01 * inputs.clamp(max=0))
    assert (leaky.pyramid(x) < 0).any() and not (plain.pyramid(x) < 0).any()
    assert any(isinstance(part, nn.ReLU) for part in leaky.decoder.modules())


def test_a_method_without_the_pyramid_refuses_to_make_it_leaky(tmp_path, capsys):
    options = tiny_options(tmp_path / "run", method__name="rc2l", model__leaky_pyramid="true")
    assert run_command(train, options) == 2
    assert "model.leaky_pyramid: the network that this method makes" in capsys.readouterr().err
