"""The mask classification network: a segmenter like the others, and what its queries answer."""

import pytest
import torch
from torch import nn

from scl_core.models import build_segmenter
from scl_core.models.queries import Attention, QuerySegmenter, group_norm, semantic_masks, sine_positions


def network():
    encoder = build_segmenter("mobilenet_v2", 3, width=0.25, decoder_channels=16).encoder
    return QuerySegmenter(encoder, 3, 16, 7, num_layers=2, heads=4)


def test_worked_semantic_masks():
    probs = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]])
    masks = torch.tensor([[[[0.9, 0.8, 0.1]], [[0.2, 0.1, 0.9]]]])
    found = semantic_masks(probs, masks)[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([[0.65, 0.57, 0.16], [0.34, 0.24, 0.74]]))
    assert found.argmax(0).tolist() == [0, 0, 1]


@pytest.mark.parametrize("size", [(32, 48), (33, 17), (1, 1)])
def test_answers_like_a_segmenter(size):
    model = network().eval()
    images = torch.randn(2, 3, *size)
    output, queries = model(images), model.queries(images)
    assert output.logits.shape == (2, 3, *size) and output.logits.isfinite().all()
    assert queries.class_logits.shape == (2, 2, 7, 4) and queries.mask_embeddings.shape == (2, 2, 7, 16)
    assert output.features.shape == queries.features.shape and output.features.shape[:2] == (2, 16)
    assert queries.masks().shape == (2, 7, *output.features.shape[2:])


def test_softmax_of_the_logits_is_the_normalised_semantic_map():
    model = network().eval()
    images = torch.randn(1, 3, 32, 48)
    queries = model.queries(images)
    semantic = torch.zeros_like(queries.semantic())
    probs, masks = queries.class_logits[:, -1].softmax(2), queries.masks().sigmoid()
    for query in range(7):
        for c in range(3):
            semantic[0, c] += probs[0, query, c] * masks[0, query]
    torch.testing.assert_close(queries.semantic(), semantic)
    at_cells = model.logits(queries, semantic.shape[2:]).softmax(1)
    torch.testing.assert_close(at_cells, semantic / semantic.sum(1, keepdim=True))


def test_every_parameter_takes_part_and_pictures_do_not_mix_in_eval_mode():
    model = network()
    output = model.queries(torch.randn(2, 3, 32, 48))
    (sum(output.masks(layer).square().sum() for layer in range(2)) + output.class_logits.square().sum()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    model.eval()
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(model(images).logits[1:], model(images[1:]).logits, atol=1e-4, rtol=1e-4)


def test_attention_is_that_of_torch():
    ours, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in (ours.query, ours.key, ours.value)]))
        theirs.out_proj.weight.copy_(ours.out.weight)
    queries, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    torch.testing.assert_close(ours(queries, memory, memory), theirs(queries, memory, memory)[0])


@pytest.mark.parametrize("width", [8, 10, 16])
def test_positions_tell_every_cell_apart(width):
    positions = sine_positions((5, 7), width, torch.zeros(1, dtype=torch.float64))
    assert positions.shape == (35, width) and positions.dtype == torch.float64
    distances = torch.cdist(positions, positions) + torch.eye(35)
    assert distances.min() > 0.05


@pytest.mark.parametrize(("width", "groups"), [(8, 1), (10, 1), (48, 6), (256, 32), (1000, 25)])
def test_groups_have_channels_enough(width, groups):
    assert group_norm(width).num_groups == groups
