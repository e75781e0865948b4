"""Encoders: torchvision's names, shapes and counts; the dilated encoder sees what the strided one sees."""

from functools import partial

import pytest
import torch

from scl_core.models.encoders import ENCODERS, make_encoder
from scl_core.models.mobilenet import MobileNetV2, multiple_of_8

ResNet18 = partial(make_encoder, "resnet18")

MOBILENET_SHAPES = {
    "features.0.0.weight": (32, 3, 3, 3),
    "features.0.1.running_mean": (32,),
    "features.1.conv.0.0.weight": (32, 1, 3, 3),
    "features.1.conv.1.weight": (16, 32, 1, 1),
    "features.1.conv.2.num_batches_tracked": (),
    "features.2.conv.0.0.weight": (96, 16, 1, 1),
    "features.2.conv.1.0.weight": (96, 1, 3, 3),
    "features.2.conv.2.weight": (24, 96, 1, 1),
    "features.2.conv.3.bias": (24,),
    "features.7.conv.2.weight": (64, 192, 1, 1),
    "features.14.conv.1.1.weight": (576,),
    "features.17.conv.2.weight": (320, 960, 1, 1),
    "features.18.0.weight": (1280, 320, 1, 1),
    "features.18.1.running_var": (1280,),
}
RESNET_SHAPES = {
    "conv1.weight": (64, 3, 7, 7),
    "bn1.running_var": (64,),
    "layer1.0.conv1.weight": (64, 64, 3, 3),
    "layer1.1.bn2.num_batches_tracked": (),
    "layer2.0.conv1.weight": (128, 64, 3, 3),
    "layer2.0.downsample.0.weight": (128, 64, 1, 1),
    "layer2.0.downsample.1.bias": (128,),
    "layer3.1.conv2.weight": (256, 256, 3, 3),
    "layer4.0.downsample.0.weight": (512, 256, 1, 1),
    "layer4.1.bn2.weight": (512,),
}
BOTTLENECK_SHAPES = {
    "conv1.weight": (64, 3, 7, 7),
    "layer1.0.conv1.weight": (64, 64, 1, 1),
    "layer1.0.conv2.weight": (64, 64, 3, 3),
    "layer1.0.conv3.weight": (256, 64, 1, 1),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer1.2.bn3.running_mean": (256,),
    "layer2.0.conv1.weight": (128, 256, 1, 1),
    "layer2.0.downsample.1.weight": (512,),
    "layer3.5.conv2.weight": (256, 256, 3, 3),
    "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    "layer4.2.bn3.num_batches_tracked": (),
}
RESNET101_SHAPES = {"layer3.22.conv3.weight": (1024, 256, 1, 1)}
DEEP_STEM_SHAPES = {
    "conv1.0.weight": (64, 3, 3, 3),
    "conv1.1.running_var": (64,),
    "conv1.3.weight": (64, 64, 3, 3),
    "conv1.4.bias": (64,),
    "conv1.6.weight": (128, 64, 3, 3),
    "bn1.weight": (128,),
    "layer1.0.conv1.weight": (64, 128, 1, 1),
    "layer1.0.downsample.0.weight": (256, 128, 1, 1),
    "layer1.1.conv1.weight": (64, 256, 1, 1),
}


@pytest.mark.parametrize(
    ("encoder", "shapes", "entries", "parameters"),
    [
        ("mobilenet_v2", MOBILENET_SHAPES, 312, 2_223_872),
        ("resnet18", RESNET_SHAPES, 120, 11_176_512),
        ("resnet50", BOTTLENECK_SHAPES, 318, 25_557_032 - 2_049_000),
        ("resnet101", BOTTLENECK_SHAPES | RESNET101_SHAPES, 624, 44_549_160 - 2_049_000),
    ],
)
def test_names_shapes_and_counts_are_torchvisions(encoder, shapes, entries, parameters):
    """The published counts of the two larger ones include a classifier of 2,048 x 1,000 weights and 1,000 biases."""
    with torch.device("meta"):
        encoder = make_encoder(encoder, 16)
    stored = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    assert {name: stored.get(name) for name in shapes} == shapes
    assert len(stored) == entries
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters


def test_the_deep_stem_is_named_as_in_the_networks_that_have_one():
    with torch.device("meta"):
        stored = {
            name: tuple(tensor.shape) for name, tensor in make_encoder("resnet50", 16, 1.0, True).state_dict().items()
        }
    assert {name: stored.get(name) for name in DEEP_STEM_SHAPES} == DEEP_STEM_SHAPES
    assert "conv1.weight" not in stored


def test_the_deep_stem_halves_the_size_and_sees_more_than_one_convolution():
    stem = make_encoder("resnet18", 16, 1.0, True).conv1.eval()
    image = torch.zeros(1, 3, 33, 33)
    flat = stem(image)
    assert flat.shape == (1, 128, 17, 17)
    image[:, :, 16, 16] = 1
    moved = (stem(image) - flat).abs().sum((0, 1)) > 0
    assert moved[5:12, 5:12].any(0).sum() == moved[5:12, 5:12].any(1).sum() == moved.any(0).sum() == 5


@pytest.mark.parametrize(("stride", "dilations"), [(16, [2, 4, 8]), (8, [4, 8, 16])])
def test_multi_grid_dilates_the_blocks_of_the_last_stage_one_by_one(stride, dilations):
    with torch.device("meta"):
        plain, grid = (make_encoder("resnet50", stride, multi_grid=each) for each in (False, True))
    assert [block.conv2.dilation for block in grid.layer4] == [(each, each) for each in dilations]
    assert [block.conv2.padding for block in grid.layer4] == [(each, each) for each in dilations]
    for name in ("layer1", "layer2", "layer3"):
        assert str(getattr(grid, name)) == str(getattr(plain, name))
    assert [(key, value.shape) for key, value in grid.state_dict().items()] == [
        (key, value.shape) for key, value in plain.state_dict().items()
    ]


def test_multi_grid_keeps_the_size_of_the_map():
    encoder = make_encoder("resnet18", 16, multi_grid=True).eval()
    assert [block.conv1.dilation[0] for block in encoder.layer4] == [2, 4]
    assert encoder(torch.zeros(1, 3, 64, 96))[1].shape == (1, 512, 4, 6)


def test_only_the_layers_that_change_the_size_have_a_projection():
    names = ResNet18(16).state_dict()
    assert {name.split(".")[0] for name in names if "downsample" in name} == {"layer2", "layer3", "layer4"}


def test_channels_of_a_narrow_mobilenet_are_the_published_ones():
    published = {32: 16, 16: 8, 24: 8, 64: 24, 96: 32, 160: 56, 320: 112}
    assert {base: multiple_of_8(0.35 * base) for base in published} == published
    narrow = MobileNetV2(width=0.35)
    assert narrow.deep_channels == 1280
    assert narrow.low_channels == 8


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50", "mobilenet_v2"])
def test_dilation_computes_what_the_stride_skips(encoder, output_stride):
    torch.manual_seed(0)
    strided = ENCODERS[encoder].make(output_stride=32).double().eval()
    dilated = make_encoder(encoder, output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 75, 101, dtype=torch.float64)
    low_strided, deep_strided = strided(images)
    low_dilated, deep_dilated = dilated(images)
    skip = 32 // output_stride
    torch.testing.assert_close(low_dilated, low_strided)
    torch.testing.assert_close(deep_dilated[:, :, ::skip, ::skip], deep_strided)


@pytest.mark.parametrize("encoder", [ResNet18(16), MobileNetV2(16), MobileNetV2(8, width=0.35), ResNet18(8)])
def test_maps_round_up(encoder):
    stride = 16 if encoder.eval()(torch.zeros(1, 3, 16, 16))[1].shape[-1] == 1 else 8
    low, deep = encoder(torch.zeros(1, 3, 49, 33))
    assert low.shape == (1, encoder.low_channels, 13, 9)
    assert deep.shape == (1, encoder.deep_channels, -(-49 // stride), -(-33 // stride))
