"""The mask classification network: a segmenter like the others, and what its queries answer."""

import pytest
import torch
from torch import nn

from scl_core.models import build_segmenter
from scl_core.models.passes import Passes, computing
from scl_core.models.queries import (
    Attention,
    DecoderLayer,
    PictureDropout,
    QuerySegmenter,
    group_norm,
    semantic_masks,
    sine_positions,
)


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


def attention_by_hand(part, queries, keys, values, kept):
    """Head by head, its weights times `kept` [heads, N, T] after the softmax."""
    q, k, v, found = part.query(queries), part.key(keys), part.value(values), []
    for head in range(part.heads):
        own = slice(head * 4, head * 4 + 4)
        weights = (q[:, own] @ k[:, own].T / 2).softmax(1) * kept[head]
        found.append(weights @ v[:, own])
    return part.out(torch.cat(found, 1))


def test_dropout_is_at_maskformers_six_places_of_a_layer():
    layer, key, chance = DecoderLayer(8, 2), 17, 0.3
    queries, own, memory, places = (torch.randn(n, 8) for n in (3, 3, 5, 5))
    generator = torch.Generator().manual_seed(key)
    shapes = [(2, 3, 3), (3, 8), (2, 3, 5), (3, 8), (3, 64), (3, 8)]
    kept = [(torch.rand(shape, generator=generator) >= chance) / (1 - chance) for shape in shapes]
    assert all(0 < (mask > 0).sum() < mask.numel() for mask in kept)
    x = layer.norms[0](queries)
    expected = queries + kept[1] * attention_by_hand(layer.among, x + own, x + own, x, kept[0])
    x = layer.norms[1](expected)
    expected = expected + kept[3] * attention_by_hand(layer.picture, x + own, memory + places, memory, kept[2])
    hidden = kept[4] * layer.feedforward[0](layer.norms[2](expected)).relu()
    expected = expected + kept[5] * layer.feedforward[2](hidden)
    drop = PictureDropout(chance, torch.tensor([key]))
    torch.testing.assert_close(layer(queries[None], own, memory[None], places, drop)[0], expected)


def test_each_pictures_dropout_is_its_own_and_the_same_again():
    model, images, keys = network().eval(), torch.randn(2, 3, 32, 48), torch.tensor([5, 2**61])
    both, again = (model.queries(images, keys, 0.2) for _ in range(2))
    alone, plain = model.queries(images[1:], keys[1:], 0.2), model.queries(images)
    assert torch.equal(both.class_logits, again.class_logits)
    torch.testing.assert_close(both.class_logits[1:], alone.class_logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(both.features, plain.features) and (both.class_logits - plain.class_logits).abs().max() > 0.01
    assert not torch.equal(both.class_logits[0] - plain.class_logits[0], both.class_logits[1] - plain.class_logits[1])


def test_micro_batches_draw_the_same_dropout_forward_and_backward():
    model, images, keys = network().eval().double(), torch.randn(4, 3, 32, 48).double(), torch.arange(4)
    found = []
    for passes in (Passes(), Passes(micro_batches=2)):
        with computing(passes):
            loss = model.queries(images, keys, 0.3).class_logits.square().sum()
            found.append(torch.autograd.grad(loss, [model.query_positions, model.layers[0].among.query.weight]))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("width", [8, 10, 16])
def test_positions_tell_every_cell_apart(width):
    positions = sine_positions((5, 7), width, torch.zeros(1, dtype=torch.float64))
    assert positions.shape == (35, width) and positions.dtype == torch.float64
    distances = torch.cdist(positions, positions) + torch.eye(35)
    assert distances.min() > 0.05


@pytest.mark.parametrize(("width", "groups"), [(8, 1), (10, 1), (48, 6), (256, 32), (1000, 25)])
def test_groups_have_channels_enough(width, groups):
    assert group_norm(width).num_groups == groups
