"""Several looks at one picture against the plain loop: one tile at a time, each written out."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from scl_core import inference
from scl_core.data.images import normalise
from scl_core.data.scenes import draw_scene
from scl_core.inference import predict_classes, predict_logits, predict_probs
from scl_core.models import build_segmenter
from scl_core.protocol import WHOLE, Protocol

CPU = torch.device("cpu")
PICTURE = draw_scene(0, 3, 50, 74)[0]
SIZE = (61, 80)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_segmenter("mobilenet_v2", 11, decoder_channels=16, width=0.25)
    with torch.no_grad():  # running statistics of its own, so that eval mode differs from training
        for _ in range(3):
            network(torch.randn(4, 3, 32, 32))
    return network.train()


@torch.no_grad()
def plain_logits(network, picture, size, protocol):
    """Scale by scale, mirror by mirror, tile by tile."""
    network.eval()
    sum_of_scales = torch.zeros(11, *size)
    for scale in protocol.scales:
        height, width = round(picture.shape[0] * scale), round(picture.shape[1] * scale)
        scaled = normalise(np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)))
        side = protocol.tile or max(height, width)
        step = round(side * (1 - protocol.overlap))
        total, seen = torch.zeros(11, height, width), torch.zeros(height, width)
        top = 0
        while True:
            left = 0
            while True:
                y, x = max(0, min(top, height - side)), max(0, min(left, width - side))
                part = scaled[None, :, y : y + side, x : x + side]
                for logits in [network(part).logits[0]] + [network(part.flip(3)).logits[0].flip(2)] * protocol.flip:
                    total[:, y : y + side, x : x + side] += logits
                    seen[y : y + side, x : x + side] += 1
                if left + side >= width:
                    break
                left += step
            if top + side >= height:
                break
            top += step
        sum_of_scales += F.interpolate((total / seen)[None], size=size, mode="bilinear", align_corners=True)[0]
    network.train()
    return sum_of_scales / len(protocol.scales)


@pytest.mark.parametrize(
    "protocol",
    [
        WHOLE,
        Protocol(flip=True),
        Protocol(scales=(0.5, 1.0, 2.0), flip=True),
        Protocol(tile=32),
        Protocol(tile=40, overlap=0.0),
        Protocol(tile=48, overlap=0.7, flip=True),
        Protocol(scales=(0.5, 1.0, 2.0), flip=True, tile=32, overlap=0.33),
    ],
    ids=str,
)
@pytest.mark.parametrize("at_once", [1, 3000])
def test_against_the_plain_loop(network, protocol, at_once, monkeypatch):
    monkeypatch.setattr(inference, "PIXELS_AT_ONCE", {"cpu": at_once})
    expected = plain_logits(network, PICTURE, SIZE, protocol)
    got = predict_logits(network, PICTURE, SIZE, CPU, protocol)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(predict_probs(network, PICTURE, SIZE, CPU, protocol), expected.softmax(0))
    agree = predict_classes(network, PICTURE, SIZE, CPU, protocol) == expected.argmax(0)
    assert agree.float().mean() > 0.999
    assert network.training


def test_a_mirrored_look_makes_the_answer_symmetric(network):
    both = Protocol(flip=True)
    straight = predict_logits(network, PICTURE, SIZE, CPU, both)
    turned = predict_logits(network, np.ascontiguousarray(PICTURE[:, ::-1]), SIZE, CPU, both)
    torch.testing.assert_close(turned.flip(2), straight, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(predict_logits(network, PICTURE, SIZE, CPU), straight, atol=1e-3)


def test_a_picture_smaller_than_a_tile_is_one_tile(network):
    small = PICTURE[:20, :30]
    whole = predict_logits(network, small, (20, 30), CPU)
    assert torch.equal(predict_logits(network, small, (20, 30), CPU, Protocol(tile=64)), whole)
