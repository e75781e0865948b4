"""A folded network answers as the network does, and leaves it alone; atrous convolutions without their idle taps."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scl_core.models import build_segmenter
from scl_core.models.folded import folded
from scl_core.models.layers import AtrousConv


def trained(network: nn.Module) -> nn.Module:
    """The network with running statistics and weights of its own, in training mode."""
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 64, 64))
    return network.train()


@pytest.mark.parametrize("encoder, width", [("mobilenet_v2", 0.25), ("resnet18", 1.0)])
def test_folded_answers_as_the_network(encoder, width):
    torch.manual_seed(0)
    network = trained(build_segmenter(encoder, 5, decoder_channels=16, width=width))
    before, picture = copy.deepcopy(network.state_dict()), torch.randn(2, 3, 40, 56)
    looking = folded(network)
    with torch.no_grad():
        expected, got = copy.deepcopy(network).eval()(picture).logits, looking(picture).logits
    torch.testing.assert_close(got.softmax(1), expected.softmax(1), rtol=0, atol=1e-5)
    assert not looking.training and network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_folding_takes_the_batch_norms_of_mobilenet_away():
    network = build_segmenter("mobilenet_v2", 5, decoder_channels=16, width=0.25)
    norms = [part for part in folded(network).modules() if isinstance(part, nn.BatchNorm2d)]
    assert not norms and any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize("height, width", [(2, 9), (9, 2), (3, 3), (4, 4), (11, 12), (1, 1)])
@pytest.mark.parametrize("dilation", [2, 3, 6])
def test_leaving_idle_taps_out_changes_no_sum_and_no_gradient(height, width, dilation):
    torch.manual_seed(0)
    conv = AtrousConv(3, 4, 3, padding=dilation, dilation=dilation, bias=False).double()
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    twin_x, twin_weight = x.detach().clone().requires_grad_(), conv.weight.detach().clone().requires_grad_()
    expected = F.conv2d(twin_x, twin_weight, padding=dilation, dilation=dilation)
    seed = torch.randn_like(expected)
    conv(x).backward(seed), expected.backward(seed)
    for got, wanted in ((conv(x), expected), (x.grad, twin_x.grad), (conv.weight.grad, twin_weight.grad)):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
