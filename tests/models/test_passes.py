"""A pass in micro batches or in bf16 gives the loss and the gradients of the plain one."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import nn

from scl_core.config import load_config
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.distributed import World
from scl_core.methods import METHODS, StepDraws
from scl_core.models import build_segmenter
from scl_core.models.layers import recompute_blocks
from scl_core.models.passes import Passes, computing
from scl_core.restore import build_method
from scl_core.train import weighted_sum
from tests.tiny import tiny_settings

BATCH = {"train__batch_labeled": 4, "train__batch_unlabeled": 4, "augment__scale_min": 0.3, "augment__scale_max": 0.9}
OWN = {
    "cutmix_seg": {"method__confidence_threshold": 0.1},
    "pcr": {"method__start": 0.0, "method__confidence_threshold": 0.1},
    "cps": {"method__ohem_threshold": 0.5},
}


def step(name: str, passes: Passes, dtype: torch.dtype, freeze: bool = True) -> tuple[dict, dict, nn.Module]:
    """Terms and gradients of one real step; `freeze` puts batch norm in eval mode, where pictures do not meet."""
    config = load_config([], tiny_settings(method__name=name, **BATCH, **OWN.get(name, {})))
    source = open_data(config.data)
    torch.manual_seed(0)
    method = build_method(config, len(source.class_names)).to(dtype)
    for part in method.modules():
        if isinstance(part, nn.BatchNorm2d) and freeze:
            part.eval()
            part.train = lambda mode=True: None
    method.read_labeled(source.pictures("labeled"))
    batch = batch_of(name)._each(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
    with computing(passes):
        terms = method(batch, StepDraws(0, 1))
    weighted_sum(terms, dict.fromkeys(terms, 1.0)).backward()
    return terms, {key: p.grad for key, p in method.named_parameters() if p.grad is not None}, method


@cache
def batch_of(name: str):
    config = load_config([], tiny_settings(method__name=name, **BATCH))
    strong = METHODS[name].num_strong
    source = open_data(config.data)
    return next(
        iter(training_loader(source, config.data, config.augment, config.train, 0, World(), 1, strong > 0, strong))
    )


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_give_loss_and_gradients_of_the_whole(name):
    terms, gradients, _ = step(name, Passes(), torch.float64)
    cut_terms, cut_gradients, _ = step(name, Passes(micro_batches=4), torch.float64)
    torch.testing.assert_close(cut_terms, terms, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(cut_gradients, gradients, rtol=1e-6, atol=1e-10)


def test_a_cut_without_the_whole_denominator_would_be_seen():
    batch = batch_of("supervised")
    counts = [(batch.labels[k::4] != 255).sum() for k in range(4)]
    assert len(set(map(int, counts))) > 1


def test_batch_norm_sees_a_micro_batch_and_moves_once_for_each():
    network = build_segmenter("mobilenet_v2", 3, decoder_channels=8, width=0.25).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    twin = build_segmenter("mobilenet_v2", 3, decoder_channels=8, width=0.25).double()
    twin.load_state_dict(network.state_dict())
    with computing(Passes(micro_batches=2)):
        logits = network(images).logits
    logits.square().sum().backward()
    expected = [twin(images[k::2]).logits for k in range(2)]
    sum(part.square().sum() for part in expected).backward()
    torch.testing.assert_close(logits[0::2], expected[0])
    torch.testing.assert_close(network.state_dict(), twin.state_dict())
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_dropout_is_drawn_again_alike():
    torch.manual_seed(0)
    network = build_segmenter("resnet18", 3, decoder_channels=8).double().eval()
    network.decoder.append(nn.Dropout(0.5).train())
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def run(passes):
        torch.manual_seed(1)
        network.zero_grad()
        with computing(passes):
            logits = (
                network(images).logits
                if passes.micro_batches > 1
                else torch.cat([network(images[k : k + 1]).logits for k in range(2)])
            )
        logits.square().sum().backward()
        return logits.detach(), network.classifier.weight.grad.clone()

    torch.testing.assert_close(run(Passes(micro_batches=2)), run(Passes()))


@pytest.mark.parametrize("name", ["supervised", "scl", "unimatch", "rc2l"])
def test_bf16_is_near_float32_and_its_losses_are_float32(name):
    plain, _, _ = step(name, Passes(), torch.float32, freeze=False)
    half, gradients, method = step(name, Passes(torch.bfloat16), torch.float32, freeze=False)
    for key, term in half.items():
        assert term.dtype == torch.float32 and torch.isfinite(term)
        assert float(term.detach()) == pytest.approx(float(plain[key].detach()), rel=0.1, abs=0.02)
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients.values())
    assert not torch.equal(half["supervised"], plain["supervised"])


def test_bf16_is_over_when_the_step_is():
    network = build_segmenter("mobilenet_v2", 3, decoder_channels=8, width=0.25).eval()
    images = torch.randn(1, 3, 32, 32)
    before = network(images).logits
    with computing(Passes(torch.bfloat16, 2)):
        assert not torch.equal(network(images).logits, before)
    assert torch.equal(network(images).logits, before)


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "resnet18", "resnet50"])
def test_blocks_computed_again_give_the_same_gradients_and_statistics(encoder):
    plain, again = (build_segmenter(encoder, 3, decoder_channels=8).double() for _ in range(2))
    again.load_state_dict(plain.state_dict())
    assert recompute_blocks(again) > 4
    again = deepcopy(again)  # a copy, such as a teacher's, computes with its own weights
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    saved = []
    for network in (plain, again):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: (kept.append(t.nbytes), t)[1], lambda t: t):
            logits = network(images).logits
        saved.append(sum(kept))
        logits.square().mean().backward()
    torch.testing.assert_close(again.state_dict(), plain.state_dict())
    for ours, theirs in zip(again.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert saved[1] < saved[0]
