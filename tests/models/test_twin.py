"""A second network: the same encoder, another head, and nothing shared."""

import pytest
import torch
from torch import nn

from scl_core.errors import UserError
from scl_core.models import UserSegmenter, build_segmenter
from scl_core.models.twin import with_other_head


def same_weights(first, second):
    return [torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)]


def test_the_encoders_are_equal_and_the_heads_are_not():
    network = build_segmenter("mobilenet_v2", 3, decoder_channels=64, width=0.25)
    with torch.no_grad():
        network(torch.randn(2, 3, 32, 32))  # moves running statistics, as loaded weights would
    twin = with_other_head(network)
    assert all(same_weights(network.encoder, twin.encoder))
    for name in ("pyramid", "low_level", "decoder", "classifier"):
        convolutions = [part for part in getattr(network, name).modules() if isinstance(part, nn.Conv2d)]
        others = [part for part in getattr(twin, name).modules() if isinstance(part, nn.Conv2d)]
        for first, second in zip(convolutions, others, strict=True):
            assert not torch.equal(first.weight, second.weight)
            assert second.weight.std().item() == pytest.approx(first.weight.std().item(), rel=0.5)
    assert twin.decoder[0][1].running_mean.abs().max() == 0 < network.decoder[0][1].running_mean.abs().max()
    assert not {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in twin.parameters()}


class WithBackbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.neck, self.classifier = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)


def test_a_users_network_keeps_its_backbone():
    network = UserSegmenter("mine:net", WithBackbone(), 2)
    twin = with_other_head(network).network
    assert torch.equal(network.network.backbone.weight, twin.backbone.weight)
    assert not torch.equal(network.network.neck.weight, twin.neck.weight)
    assert not torch.equal(network.network.classifier.weight, twin.classifier.weight)


def test_a_users_network_without_a_backbone_keeps_all_but_its_last_layer():
    network = UserSegmenter("mine:net", nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)), 2)
    twin = with_other_head(network).network
    assert torch.equal(network.network[0].weight, twin[0].weight)
    assert not torch.equal(network.network[2].weight, twin[2].weight)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))


def test_a_network_that_cannot_be_drawn_anew_is_refused():
    with pytest.raises(UserError, match="Scale has no layer that can be drawn anew"):
        with_other_head(Scale())
