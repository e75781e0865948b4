"""Features instead of probabilities, and a frozen network of another width as the teacher of structure."""

from math import sqrt

import pytest
import torch
from torch.nn.functional import cosine_similarity

from scl_core.command_line import run_command
from scl_core.cutmix import cutmix
from scl_core.methods import METHODS, StepDraws
from scl_core.methods.parts import draw_owner
from scl_core.methods.scl import Scl, SclConfig
from scl_core.microscope.replay import replay_step
from scl_core.models import build_segmenter
from scl_core.models.frozen import frozen_network
from scl_core.train import main as train
from tests.conftest import build_tiny_folder
from tests.methods.foreign import FOREIGN, WIDTH
from tests.methods.mixing import assert_resumed_equals_uninterrupted, random_batch, refusal, small_network
from tests.methods.stepping import CROP, prepare
from tests.tiny import tiny_options

DRAWS = StepDraws(seed=4, step=3)
MIXING = [name for name, method in METHODS.items() if hasattr(method.config_class, "structured_teacher")]
BOXES = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of three classes for `prepare`."""
    return build_tiny_folder(tmp_path_factory.mktemp("foreign") / "data", 5, 6, CROP, CROP)


def method_with(**settings):
    method = Scl(small_network(), SclConfig(**{"num_boxes": BOXES, "ramp": 0.0} | settings), steps=10).double()
    for seed, parameter in enumerate(method.teacher.model.parameters()):
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return method


def batch64():
    return random_batch()._each(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def mixed_of(network, a, b, owner):
    """A network's answers to two whole pictures, the cells of `b` where the pixel nearest to a cell shows a box."""
    of_a, of_b = network(a), network(b)
    rows, columns = of_a.shape[-2:]
    shown = owner[:, nearest(owner.shape[1], rows)][:, :, nearest(owner.shape[2], columns)]
    return torch.where((shown >= 0)[:, None], of_b, of_a), shown


def nearest(extent, cells):
    return [round(cell * (extent - 1) / (cells - 1)) for cell in range(cells)]


def loop(student, teacher, shown):
    """Eq. 8, a mean over the boxes, pair by pair: vectors [B, C, h, w] and [B, E, h, w], boxes [B, h, w], -1 none."""
    total = 0.0
    for n in range(len(shown)):
        for box in range(BOXES):
            cells = (shown[n] == box).nonzero().tolist()
            similarities = [
                [[cosine_similarity(maps[n, :, y, x], maps[n, :, v, u], dim=0) for v, u in cells] for y, x in cells]
                for maps in (student, teacher)
            ]
            pairs = [
                (s - t) ** 2
                for ours, theirs in zip(*similarities, strict=True)
                for s, t in zip(ours, theirs, strict=True)
            ]
            total = total + sum(pairs) / max(len(pairs), 1)
    return total / BOXES / len(shown)


@pytest.mark.parametrize(("on", "teacher"), [("features", None), ("probs", FOREIGN), ("features", FOREIGN)])
def test_the_term_is_eq_8_of_the_cells_pair_by_pair(on, teacher):
    method, batch = method_with(structured_on=on, structured_teacher=teacher).eval(), batch64()
    a, b = batch.unlabeled_a, batch.unlabeled_b
    for views in (a, b):  # few pixels, for the loops
        views.weak, views.strong = views.weak[..., :9, :13], (views.strong[0][..., :9, :13],)
        views.valid = views.valid[..., :9, :13]
    owner = draw_owner(a, batch.positions, DRAWS, method.config)
    output = method.student(cutmix(a.strong[0], b.strong[0], owner))
    student = output.features if on == "features" else output.logits.softmax(1)
    network = frozen_network(FOREIGN).double() if teacher else lambda x: [method.teacher.model(x).features]
    target, cells = mixed_of(lambda pictures: network(pictures)[0].detach(), a.weak, b.weak, owner)
    student = student[:, :, nearest(9, cells.shape[1])][..., nearest(13, cells.shape[2])]
    valid = cutmix(a.valid, b.valid, owner)[:, nearest(9, cells.shape[1])][..., nearest(13, cells.shape[2])]
    expected = loop(student, target, cells.masked_fill(~valid, -1))
    got = method(batch, DRAWS)["structured"]
    assert expected > 1e-3 and got.item() == pytest.approx(expected.item(), rel=1e-9)
    assert (target.shape[1], cells.shape[1:]) == ((WIDTH, (3, 4)) if teacher else (8, (9, 13)))
    weights = list(method.student.first.parameters())
    for mine, wanted in zip(*(torch.autograd.grad(loss, weights) for loss in (got, expected)), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_the_foreign_network_is_no_part_of_the_method():
    network = frozen_network(FOREIGN).float()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method = Scl(small_network(), SclConfig(structured_teacher=FOREIGN, num_boxes=2, ramp=0.0), steps=10).train()
    names = dict(method.named_parameters()).keys()
    first = method(random_batch(), DRAWS)["structured"]
    first.backward()
    method.after_step(3)
    assert dict(method.named_parameters()).keys() == names and not network.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert any(parameter.grad.any() for parameter in method.student.parameters())


def test_it_is_the_same_network_whenever_it_is_made():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = frozen_network(FOREIGN)
    frozen_network.cache_clear()
    torch.manual_seed(6)
    second = frozen_network(FOREIGN)
    assert first is not second and frozen_network(FOREIGN) is second
    assert all(map(torch.equal, first.float().state_dict().values(), second.state_dict().values()))
    torch.manual_seed(5)
    frozen_network(FOREIGN)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", MIXING)
def test_every_method_that_mixes_takes_both(name, root):
    mixed = {"cutmix_probability": 1.0} if hasattr(METHODS[name].config_class, "cutmix_probability") else {}
    settings = {"num_boxes": 3, "structured_weight": 1.0, "structured_on": "features", "structured_teacher": FOREIGN}
    prepared = prepare(name, root, **settings | mixed)
    terms = prepared.backward(weights={"structured": 1.0})
    student = dict(prepared.method.student.named_parameters())
    reached = {key for key, parameter in student.items() if parameter.grad is not None and parameter.grad.any()}
    assert terms["structured"] > 0 and any("encoder" in key for key in reached)
    assert not any("classifier" in key for key in reached)  # features come before it


def test_a_step_with_a_foreign_teacher_is_recomputed_from_the_run_folder(tmp_path):
    settings = {"method__structured_teacher": FOREIGN, "train__steps": 2, "train__evaluate_every": 2}
    options = tiny_options(tmp_path / "run", train__log_every=1, train__checkpoint_every=1, **settings)
    assert run_command(train, options) == 0
    found = replay_step(tmp_path / "run", 1)
    assert found.step == 2 and found.terms["structured"] > 0 and found.largest_difference < 1e-6


def test_resumed_is_uninterrupted(tmp_path):
    settings = {"method__structured_on": "features", "method__structured_teacher": FOREIGN}
    assert "structured" in assert_resumed_equals_uninterrupted(tmp_path, method__num_boxes=3, **settings)


def test_an_encoder_of_this_project_with_a_file_of_weights(tmp_path):
    encoder = build_segmenter("mobilenet_v2", 3).encoder.eval()
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    network, pictures = frozen_network("mobilenet_v2", str(tmp_path / "encoder.pth")), torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        expected = encoder(pictures)[1]
    assert torch.equal(network(pictures).features, expected) and sqrt(expected.var()) > 0


def test_features_may_come_in_a_dict():
    assert frozen_network("tests.methods.foreign:in_a_dict")(torch.zeros(2, 3, 5, 6)).features.shape == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"structured_teacher": "nowhere:network"}, "method.structured_teacher nowhere:network: cannot import"),
        ({"structured_teacher": "tests.methods.foreign:large"}, "has no callable 'large'"),
        ({"structured_teacher": "tests.methods.foreign:no_network"}, "it returned str, and not a torch.nn.Module"),
        ({"structured_teacher": "tests.methods.foreign:not_there"}, "calling it failed: FileNotFoundError"),
        ({"structured_teacher": "resnet19"}, "method.structured_teacher 'resnet19' does not exist: choose one of mob"),
        (
            {"structured_teacher": "resnet18", "structured_teacher_weights": "gone.pth"},
            "method.structured_teacher_weights gone.pth: no such file",
        ),
        ({"structured_teacher": FOREIGN, "max_pairs": 9}, "leave max_pairs empty"),
        ({"structured_teacher": FOREIGN, "structured_form": "pixel_cosine"}, "set structured_form to pairs"),
        ({"structured_on": "feature"}, "probs, logits, features"),
    ],
)
def test_a_mistake_is_one_line_before_the_folder_is_made(tmp_path, capsys, changes, message):
    assert message in refusal(capsys, tmp_path, **{f"method__{name}": value for name, value in changes.items()})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("with_a_vector", "returned shape [4, 4]: return features [4, E, h, w]"),
        ("with_a_name", "returned str: return features"),
        ("that_fails", "fails on pictures [4, 3, 32, 48]: RuntimeError: size must be"),
    ],
)
def test_a_wrong_answer_is_one_line(tmp_path, capsys, name, message):
    options = tiny_options(tmp_path / "run", method__structured_teacher=f"tests.methods.foreign:{name}")
    assert run_command(train, options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
