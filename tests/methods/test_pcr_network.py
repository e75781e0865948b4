"""PCR on its paper's decoder: wide features, dropout drawn for each picture, the auxiliary head, a run of its own."""

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from scl_core.command_line import run_command
from scl_core.losses import ohem_cross_entropy
from scl_core.methods import StepDraws
from scl_core.methods.pcr import Pcr, PcrConfig
from scl_core.models import build_segmenter
from scl_core.restore import restore
from scl_core.train import main as train
from tests.methods.mixing import CLASSES, assert_resumed_equals_uninterrupted, random_batch, refusal
from tests.tiny import checkpoint_tensors, tiny_options

DRAWS = StepDraws(seed=4, step=5)
OWN = {"method__name": "pcr", "method__paper_head": "true"}


def method_with(encoder="resnet18", **settings):
    torch.manual_seed(0)
    segmenter = build_segmenter(encoder, CLASSES, decoder_channels=16, width=0.25 if "mobile" in encoder else 1.0)
    config = PcrConfig(**({"paper_head": True, "start": 0.0, "grid": 4, "confidence_threshold": 0.0} | settings))
    method = Pcr(Pcr.own_network(segmenter, config), config, steps=10)
    method.prototypes.copy_(torch.rand(method.prototypes.shape))
    return method


def test_the_papers_head_gives_both_predictors_features_twice_as_wide():
    torch.manual_seed(0)
    segmenter = build_segmenter("mobilenet_v2", CLASSES, decoder_channels=16, width=0.25)
    method = Pcr(segmenter, PcrConfig(paper_head=True, start=0.0, grid=4, confidence_threshold=0.0), steps=10)
    assert method.student.encoder is segmenter.encoder and method.prototypes.shape == (CLASSES, 4, 32)
    method.prototypes.copy_(torch.rand(method.prototypes.shape))
    sum(method(random_batch(), DRAWS).values()).backward()
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    images = torch.randn(1, 3, 32, 48)
    low, deep = method.student.eval().encoder(images)
    logits, features = method.student(images)
    high = interpolate(method.student.pyramid(deep), size=low.shape[-2:], mode="bilinear", align_corners=True)
    torch.testing.assert_close(features, torch.cat([high, method.student.low_level(low)], 1))
    answers = method.student.classifier(method.student.head(features))
    torch.testing.assert_close(logits, interpolate(answers, size=(32, 48), mode="bilinear", align_corners=True))
    assert [layer.kernel_size for layer in method.student.modules() if isinstance(layer, torch.nn.Conv2d)][-3:] == [
        (3, 3), (3, 3), (1, 1),
    ]  # fmt: skip


def test_a_run_with_the_papers_head_starts_from_one_of_its_own_kind(tmp_path):
    own = OWN | {"method__start": 1.0, "train__steps": 1}
    assert run_command(train, tiny_options(tmp_path / "first", **own)) == 0
    assert restore(tmp_path / "first").network("student").head
    options = tiny_options(tmp_path / "next", model__weights=tmp_path / "first", train__learning_rate=0, **own)
    assert run_command(train, options) == 0
    first, found = (checkpoint_tensors(tmp_path / name, 1) for name in ("first", "next"))
    assert torch.equal(found["student:head.0.0.weight"], first["teacher:head.0.0.weight"])


def test_dropout_drops_whole_channels_at_the_papers_places_and_only_in_training():
    method, images = method_with(decoder_dropout=0.5, auxiliary_weight=0.4), torch.randn(2, 3, 32, 48)
    network = method.student.eval()
    kept = network.draw_kept(0.5, DRAWS.generators((0, 1), "dropout"))
    assert kept.shape == (2, 4, 16) and set(kept.unique().tolist()) == {0.0, 2.0} and 0.3 < kept.mean() / 2 < 0.7
    low, middle, deep = network.encoder.three_maps(images)
    high = interpolate(network.pyramid(deep), size=low.shape[-2:], mode="bilinear", align_corners=True)
    features = torch.cat([high * kept[:, 0, :, None, None], network.low_level(low)], 1)
    first = network.head[0](features) * kept[:, 1, :, None, None]
    logits = network.classifier(network.head[1](first) * kept[:, 2, :, None, None])
    auxiliary = network.auxiliary[1](network.auxiliary[0](middle) * kept[:, 3, :, None, None])
    found = network.training_pass(images, kept)
    torch.testing.assert_close(found.features, features)
    for maps, expected in ((found.logits, logits), (found.auxiliary, auxiliary)):
        whole = interpolate(expected, size=(32, 48), mode="bilinear", align_corners=True)
        torch.testing.assert_close(maps, whole)
    plain = network(images)
    assert torch.equal(network.training_pass(images).logits, plain.logits)
    assert not torch.equal(found.logits, plain.logits)


def test_each_pictures_dropout_is_its_own_whatever_the_batch_around_it():
    network = method_with(decoder_dropout=0.1).student
    drawn = [network.draw_kept(0.1, DRAWS.generators(places, "dropout")) for places in ((0, 1, 2), (0,), (1, 2))]
    assert torch.equal(drawn[0], torch.cat(drawn[1:])) and not torch.equal(drawn[0][0], drawn[0][1])


@pytest.mark.parametrize(("step", "start"), [(1, 0.5), (6, 0.5)])
def test_the_step_drops_channels_and_has_the_auxiliary_loss_from_the_first_on(step, start):
    method, batch, draws = method_with(decoder_dropout=0.2, auxiliary_weight=0.4, start=start), random_batch(), None
    draws = StepDraws(seed=4, step=step)
    terms = method.eval()(batch, draws)
    generators, pictures = draws.generators((0, 1), "dropout-labeled"), batch.images
    if step > 5:
        generators += draws.generators((0, 1), "dropout")
        pictures = torch.cat([pictures, method.unlabeled(batch, draws).pictures])
    found = method.student.training_pass(pictures, method.student.draw_kept(0.2, generators))
    expected = {"supervised": found.logits, "auxiliary": found.auxiliary}
    for name, logits in expected.items():
        loss = ohem_cross_entropy(logits[:2], batch.labels, 0.7, 100000)
        assert (
            terms[name].item() == pytest.approx(loss.item(), rel=1e-5) == cross_entropy(logits[:2], batch.labels).item()
        )
    weights = method.weights(step)
    assert weights["auxiliary"] == 0.4 and weights["supervised"] == 1.0 and set(terms) <= set(weights)


def test_every_parameter_of_the_auxiliary_head_learns_and_no_teacher_does():
    method = method_with(decoder_dropout=0.1, auxiliary_weight=0.4)
    sum(method(random_batch(), DRAWS).values()).backward()
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert method.student.auxiliary[0][0].in_channels == 256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method__paper_head": "false", "method__decoder_dropout": 0.1}, "method.decoder_dropout 0.1 is of the"),
        ({"method__paper_head": "false", "method__auxiliary_weight": 0.4}, "set method.paper_head to true, or"),
        ({"method__auxiliary_weight": 0.4}, "method.auxiliary_weight 0.4 reads the third stage of a resnet: set"),
        ({"method__decoder_dropout": 1.0}, "method.decoder_dropout 1.0 is out of range: allowed are values from"),
        ({"model__encoder": "tests.methods.test_rc2l:own_network"}, "method.paper_head builds its"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, **(OWN | changes))


def test_run_with_dropout_and_auxiliary_loss_resumed_equals_uninterrupted(tmp_path):
    """In two micro batches, which are drawn and computed again for their gradient."""
    settings = {"method__decoder_dropout": 0.3, "method__auxiliary_weight": 0.4, "method__start": 0.0}
    settings |= {"model__encoder": "resnet18", "model__width": 1.0, "train__accumulate": 2, "method__grid": 8}
    assert "auxiliary" in assert_resumed_equals_uninterrupted(tmp_path, **OWN, **settings)
