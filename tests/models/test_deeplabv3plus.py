"""The segmenter as a whole: any size, every parameter in use, one picture a step, the same result each time."""

import pytest
import torch

from scl_core.errors import UserError
from scl_core.models import build_segmenter
from scl_core.models.layers import resize

ENCODERS = ["mobilenet_v2", "resnet18"]


def small(encoder="mobilenet_v2", **settings):
    torch.manual_seed(0)
    width = 0.35 if encoder == "mobilenet_v2" else 1.0
    return build_segmenter(encoder, 5, decoder_channels=16, width=width, **settings)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (16, 16), (33, 47), (64, 50)])
@pytest.mark.parametrize("output_stride", [None, 8, 16])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_size_gives_logits_of_that_size(encoder, output_stride, size):
    network = small(encoder, output_stride=output_stride).eval()
    with torch.no_grad():
        out = network(torch.randn(2, 3, *size))
    assert out.logits.shape == (2, 5, *size)
    assert out.features.shape == (2, 16, -(-size[0] // 4), -(-size[1] // 4))
    assert out.logits.isfinite().all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradient_reaches_every_parameter(encoder):
    network = small(encoder)
    network(torch.randn(2, 3, 33, 47)).logits.square().mean().backward()
    unused = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert unused == []


def test_features_are_what_the_classifier_reads():
    network = small().eval()
    out = network(torch.randn(1, 3, 30, 41))
    torch.testing.assert_close(out.logits, resize(network.classifier(out.features), (30, 41)))
    assert torch.equal(out.logits, network.classify(out.features, (30, 41)))


def test_encode_and_decode_are_the_whole_network():
    network = small().eval()
    images = torch.randn(2, 3, 30, 41)
    assert torch.equal(network.decode(*network.encode(images), (30, 41)).logits, network(images).logits)


def test_rates_double_at_stride_8():
    def rates(stride):
        return [branch[0].dilation[0] for branch in small(output_stride=stride).pyramid.branches[1:4]]

    assert rates(16) == [6, 12, 18]
    assert rates(8) == [12, 24, 36]


def test_published_decoder_width():
    network = build_segmenter("mobilenet_v2", 5)
    assert network.low_level[0].weight.shape == (48, 24, 1, 1)
    assert network.decoder[0][0].weight.shape == (256, 304, 3, 3)


def test_resizing_keeps_the_corners():
    small_map = torch.arange(6.0).reshape(1, 1, 2, 3)
    large = resize(small_map, (7, 9))
    assert [large[0, 0, y, x].item() for y in (0, -1) for x in (0, -1)] == [0, 2, 3, 5]


def test_first_logits_are_moderate():
    out = small()(torch.randn(4, 3, 64, 64))
    assert 0.05 < out.logits.std() < 3


def test_one_seed_gives_one_network_and_one_gradient():
    def train_once():
        network = small()
        network(torch.ones(2, 3, 20, 20)).logits.square().sum().backward()
        return [parameter.grad for parameter in network.parameters()]

    assert all(torch.equal(first, second) for first, second in zip(train_once(), train_once(), strict=True))


def test_copies_of_a_channels_last_input_give_the_same():
    network = small().eval()
    images = torch.randn(2, 3, 32, 48)
    plain, last = network(images).logits, network(images.to(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(plain, last)


def test_one_picture_a_step_trains_its_image_mean_and_says_so():
    with pytest.warns(UserWarning, match="one picture a step"):
        network = small(effective_batch=1)
    pool = network.pyramid.branches[-1]
    deep = torch.randn(1, network.encoder.deep_channels, 3, 4)
    first, second = pool(deep), pool(deep.square())
    assert not torch.equal(first, second)
    network(torch.randn(1, 3, 40, 40)).logits.square().mean().backward()
    assert pool.project[0].weight.grad.any()


def test_batch_norm_on_one_picture_would_be_refused():
    """Without the above: one value a channel in the pyramid's mean."""
    with pytest.raises(UserError, match="one picture of 40x40.*single value per channel"):
        small()(torch.randn(1, 3, 40, 40))


def test_a_crop_of_one_deep_cell_is_refused_for_one_picture():
    with pytest.warns(UserWarning):
        network = small(effective_batch=1)
    with pytest.raises(UserError, match="larger crop"):
        network(torch.randn(1, 3, 8, 8))
