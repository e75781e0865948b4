"""The segmenter's settings: what is refused, and how."""

import dataclasses
import re
import warnings
from pathlib import Path

import pytest
import torch

from scl_core.errors import UserError
from scl_core.models import ENCODERS, ModelConfig, build_from_config, build_segmenter
from scl_core.models.weights import IMAGENET

PAGE = Path(__file__).resolve().parents[2] / "docs" / "networks.md"


def test_an_unknown_encoder_names_the_nearest_and_the_list():
    with pytest.raises(UserError, match="'resnet_18' does not exist; the nearest is resnet18.*mobilenet_v2, resnet18"):
        build_segmenter("resnet_18", 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "resnet18", "output_stride": 32}, "output_stride 32: resnet18 has 8 or 16"),
        ({"encoder": "resnet18", "width": 0.5}, "width 0.5 is a setting of mobilenet_v2"),
        ({"encoder": "wide_resnet38", "output_stride": 16}, "output_stride 16: wide_resnet38 has 8$"),
        ({"encoder": "wide_resnet38", "width": 0.5}, "width 0.5 is a setting of mobilenet_v2"),
        ({"encoder": "mobilenet_v2", "multi_grid": True}, "multi_grid is a setting of resnet18, resnet50, resnet101"),
        ({"encoder": "mobilenet_v2", "deep_stem": True}, "deep_stem is a setting of resnet18, resnet50, resnet101"),
    ],
)
def test_a_setting_the_encoder_has_not_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        build_segmenter(num_classes=3, **settings)


def test_every_setting_says_what_it_is():
    for field in dataclasses.fields(ModelConfig):
        assert field.metadata["help"]
        choices = field.metadata["choices"]
        assert not choices or field.default in choices


@pytest.mark.parametrize("encoder", ["resnet50", "resnet101"])
@pytest.mark.parametrize("output_stride", [None, 8, 16])
def test_the_larger_resnets_are_built_at_both_strides(encoder, output_stride):
    with torch.device("meta"):
        network = build_segmenter(encoder, 19, output_stride, deep_stem=True).eval()
        out = network(torch.zeros(1, 3, 65, 97))
        deep = network.encoder(torch.zeros(1, 3, 65, 97))[1]
    assert out.logits.shape == (1, 19, 65, 97)
    assert out.features.shape == (1, 256, 17, 25)
    assert deep.shape == (1, 2048, 9, 13) if output_stride == 8 else (1, 2048, 5, 7)


def test_config_builds_the_same_network_as_the_call():
    config = ModelConfig(width=0.35, decoder_channels=16, output_stride=8)
    torch.manual_seed(3)
    first = build_from_config(config, 4, effective_batch=2)
    torch.manual_seed(3)
    second = build_segmenter("mobilenet_v2", 4, 8, 16, 0.35)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("effective_batch", [None, 2, 8])
def test_more_pictures_than_one_raise_no_warning(effective_batch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_segmenter("mobilenet_v2", 4, decoder_channels=16, width=0.35, effective_batch=effective_batch)


def test_the_page_lists_every_encoder_with_its_numbers():
    row = r"\| `(\w+)` \| ([\d.]+) M \| (?:16 or )?8 \| (\d+) channels, stride (\d) \| (yes|no) \|"
    rows = {name: values for name, *values in re.findall(row, PAGE.read_text(encoding="utf-8"))}
    assert list(rows) == list(ENCODERS)
    for name, (millions, channels, stride, imagenet) in rows.items():
        with torch.device("meta"):
            network = build_segmenter(name, 19)
            low = network.encoder(torch.zeros(1, 3, 64, 64))[0]
        assert f"{sum(item.numel() for item in network.parameters()) / 1e6:.2f}" == millions
        assert low.shape[1:3] == (int(channels), 64 // int(stride))
        assert (name in IMAGENET) == (imagenet == "yes")
