"""The paper's network: the parameter count of its table, every parameter in use, its sizes, its dropout."""

import pytest
import torch
from torch import nn

from scl_core.models import build_segmenter
from scl_core.models.wide_resnet import STAGES, PreActivationBlock

# Rows of the table: blocks, channels of a block's convolutions, their kernels.
TABLE = (
    (3, (128, 128), (3, 3)),
    (3, (256, 256), (3, 3)),
    (6, (512, 512), (3, 3)),
    (3, (512, 1024), (3, 3)),
    (1, (512, 1024, 2048), (1, 3, 1)),
    (1, (1024, 2048, 4096), (1, 3, 1)),
)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def trunk_parameters() -> int:
    """Weights of the convolutions, and two numbers a channel for each batch norm, which stands before a convolution."""
    total, channels = 3 * 64 * 9, 64
    for blocks, widths, kernels in TABLE:
        for block in range(blocks):
            total += channels * widths[-1] if block == 0 else 0  # each stage widens, so its first block projects
            for width, kernel in zip(widths, kernels, strict=True):
                total += 2 * channels + channels * width * kernel**2
                channels = width
    return total


@pytest.fixture(scope="module")
def paper() -> nn.Module:
    """With 19 classes, without memory for its weights."""
    with torch.device("meta"):
        return build_segmenter("wide_resnet38", 19)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """The same trunk with real weights, under a decoder of 16 channels."""
    torch.manual_seed(0)
    return build_segmenter("wide_resnet38", 5, decoder_channels=16)


def test_the_papers_network_has_its_137_million_parameters(paper):
    pyramid = 4096 * 256 * (1 + 3 * 9 + 1) + 5 * 2 * 256
    decoder = 1280 * 256 + 128 * 48 + (304 + 256) * 256 * 9 + 2 * 2 * 256 + 256 * 19
    assert count(paper.encoder) == trunk_parameters() == 105_062_720
    assert count(paper) == trunk_parameters() + pyramid + decoder == 137_103_936
    assert count(paper.pyramid) == pyramid + 1280 * 256


def test_strides_rates_and_plain_projections(paper):
    with torch.device("meta"):
        low, deep = paper.encoder(torch.zeros(1, 3, 96, 66))
    assert low.shape == (1, 128, 48, 33) and deep.shape == (1, 4096, 12, 9)
    assert [branch[0].dilation[0] for branch in list(paper.pyramid.branches)[2:]] == [12, 24, 36]
    assert paper.pyramid.branches[0].project[0].kernel_size == (1, 1)
    assert isinstance(paper.pyramid.join, nn.Conv2d) and isinstance(paper.low_level, nn.Conv2d)
    assert paper.classifier.bias is None and paper.pyramid.join.bias is None and paper.low_level.bias is None


def test_dilation_and_dropout_stand_where_the_table_has_them(paper):
    dilations = {stage: set() for stage in ("mod2", "mod3", "mod4", "mod5", "mod6", "mod7")}
    dropouts = {}
    for name, part in paper.encoder.named_modules():
        stage = name.split(".")[0]
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) and stage in dilations:
            dilations[stage].add(part.dilation[0])
        if isinstance(part, nn.Dropout2d):
            dropouts[stage] = part.p
    assert dilations == {"mod2": {1}, "mod3": {1}, "mod4": {1}, "mod5": {2}, "mod6": {4}, "mod7": {4}}
    assert dropouts == {"mod6": 0.3, "mod7": 0.5}
    assert isinstance(paper.encoder.mod6[0].convs[-2], nn.Dropout2d)
    assert [len(getattr(paper.encoder, stage.name)) for stage in STAGES] == [3, 3, 6, 3, 1, 1]


def test_a_gradient_reaches_every_parameter(small):
    """And the answer has the input's size, the features are at half of it, whatever the size."""
    torch.manual_seed(1)
    out = small.train()(torch.randn(2, 3, 23, 18))
    assert out.logits.shape == (2, 5, 23, 18) and out.features.shape == (2, 16, 12, 9)
    assert 0.05 < out.logits.std() < 5
    out.logits.square().mean().backward()
    unused = [name for name, value in small.named_parameters() if value.grad is None or not value.grad.any()]
    small.zero_grad(set_to_none=True)
    assert unused == []


def test_evaluation_draws_nothing(small):
    small.eval()
    images = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(small(images).logits, small(images).logits)


@pytest.mark.parametrize(("channels", "stride"), [((8, 8), 1), ((8, 8), 2), ((4, 8), 1), ((2, 4, 16), 1)])
def test_a_block_is_what_its_definition_says(channels, stride):
    """BN and ReLU before every convolution; the shortcut is the input, or a projection of the activated input."""
    torch.manual_seed(0)
    block = PreActivationBlock(8, channels, stride, dilation=2, dropout=0.0).double().eval()
    x = torch.randn(2, 8, 7, 9, dtype=torch.float64)
    activated = block.bn1(x).clamp(min=0)
    y = activated
    for layer in block.convs:
        y = y.clamp(min=0) if isinstance(layer, nn.ReLU) else layer(y)
    same_shape = stride == 1 and channels[-1] == 8
    assert (block.projection is None) == same_shape
    torch.testing.assert_close(block(x), y + (x if same_shape else block.projection(activated)))


def test_dropout_drops_whole_channels_of_each_picture():
    torch.manual_seed(0)
    block = PreActivationBlock(8, (32, 64, 8), 1, 1, dropout=0.5).train()
    seen = {}
    block.convs[-1].register_forward_pre_hook(lambda _, inputs: seen.update(last=inputs[0]))
    block(torch.randn(4, 8, 6, 6))
    dropped = (seen["last"] == 0).flatten(2).all(-1)
    assert 0.3 < dropped.float().mean() < 0.7
    assert not torch.equal(dropped[0], dropped[1])
