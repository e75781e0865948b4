"""What holds for every entry of METHODS: a new one is tested here by being entered there."""

from dataclasses import fields

import pytest
import torch

from scl_core.config import load_config
from scl_core.errors import UserError
from scl_core.methods import METHODS
from scl_core.training.gauges import gradient_terms
from tests.conftest import build_tiny_folder
from tests.methods.mixing import assert_resumed_equals_uninterrupted
from tests.methods.stepping import CROP, method_settings, prepare
from tests.tiny import assert_bitwise_equal

EVERY = pytest.mark.parametrize("name", METHODS)
OWN_LABELED_LOSS = {"rc2l": "MaskFormer's"}
"""Methods whose labeled loss is not the control's, and whose it is."""
ROUNDING = 1e-9  # the exact structured loss may be this far below 0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of three classes with as many pictures as a batch of four needs."""
    return build_tiny_folder(tmp_path_factory.mktemp("every") / "data", 5, 6, CROP, CROP)


def settings_of(name):
    return {field.name: field for field in fields(METHODS[name].config_class)}


def state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def gradients(module):
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.requires_grad}


@EVERY
@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.filterwarnings("ignore:one picture a step")
def test_terms_are_finite_and_every_trained_parameter_takes_part(name, pictures, root):
    prepared = prepare(name, root, labeled=pictures, unlabeled=pictures)
    terms = prepared.backward()
    assert "supervised" in terms and set(prepared.method.weights(1)) >= {"supervised"}
    assert all(term.ndim == 0 and term.isfinite() and term >= -ROUNDING for term in terms.values()), terms
    assert all(gradient.isfinite().all() for gradient in gradients(prepared.method).values())


@EVERY
def test_no_gradient_reaches_a_teacher(name, root):
    method = prepare(name, root).method
    frozen = [key for key, parameter in method.named_parameters() if not parameter.requires_grad]
    assert all(key.startswith("teacher.") for key in frozen)
    assert bool(frozen) == (method.teacher is not None)
    prepared = prepare(name, root)
    prepared.backward()
    assert all(parameter.grad is None for parameter in prepared.method.parameters() if not parameter.requires_grad)


@EVERY
def test_nothing_labeled_is_no_loss_and_no_nan(name, root):
    prepared = prepare(name, root)
    prepared.batch.labels.fill_(255)
    terms = prepared.backward()
    assert all(term.isfinite() for term in terms.values())
    assert terms["supervised"] == 0 or name in OWN_LABELED_LOSS  # MaskFormer's asks every query for "no object"
    assert all(gradient.isfinite().all() for gradient in gradients(prepared.method).values())


@EVERY
def test_one_seed_one_result(name, root):
    found = []
    for _ in range(2):
        prepared = prepare(name, root)
        optimizer = torch.optim.SGD([p for p in prepared.method.parameters() if p.requires_grad], lr=0.01)
        for step in (1, 2):
            optimizer.zero_grad()
            terms = prepared.backward(step)
            optimizer.step()
            prepared.method.after_step(step)
        found.append(state(prepared.method) | {f"term.{key}": value.detach() for key, value in terms.items()})
    assert_bitwise_equal(*found)


@EVERY
def test_labeled_pictures_alone_teach_what_they_teach_the_control(name, root):
    """In eval mode, where batch norm does not see which pictures share a pass."""
    if name in OWN_LABELED_LOSS:
        pytest.skip(f"its labeled loss is {OWN_LABELED_LOSS[name]}, tested with the method")
    plain = {"ohem_threshold": None} if "ohem_threshold" in settings_of(name) else {}
    prepared, control = prepare(name, root, **plain), prepare("supervised", root)
    control.method.student.load_state_dict(prepared.method.student.state_dict())
    control.batch = prepared.batch
    for each in (prepared, control):
        each.method.eval()
    weight = prepared.method.weights(1)["supervised"]
    prepared.backward(weights={"supervised": weight})
    control.backward(weights={"supervised": weight})
    theirs, expected = gradients(prepared.method.student), gradients(control.method.student)
    for key, gradient in expected.items():
        torch.testing.assert_close(theirs[key], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in METHODS if "joint_forward" in settings_of(name)])
def test_in_a_pass_of_their_own_they_do_so_bit_for_bit(name, root):
    """A weight of 0 is no unlabeled pictures at all: the same gradients as before the unlabeled part begins."""
    alone, beside = (prepare(name, root, joint_forward="false", start=start) for start in (1.0, 0.0))
    assert set(alone.terms()) == {"supervised"} and len(beside.terms()) > 1
    weights = {"supervised": 1.0} | {key: 0.0 for key in beside.method.weights(1) if key != "supervised"}
    first, second = (prepare(name, root, joint_forward="false", start=start) for start in (1.0, 0.0))
    first.backward(weights=weights)
    second.backward(weights=weights)
    assert_bitwise_equal(gradients(first.method.student), gradients(second.method.student))


@EVERY
def test_it_learns_four_pictures_by_heart(name, tmp_path):
    """The labeled loss falls by half within 60 steps of the method's own schedule."""
    small = build_tiny_folder(tmp_path / "data", 5, 6, CROP // 2, CROP // 2)
    prepared = prepare(name, small, labeled=4, unlabeled=4, dtype=torch.float32, at_once=False)
    trained = [parameter for parameter in prepared.method.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    losses = []
    for step in range(1, 61):
        optimizer.zero_grad()
        losses.append(prepared.backward(step)["supervised"].item())
        if sum(losses[-5:]) / 5 < losses[0] / 2 and step > 20:  # the unlabeled part has begun
            return
        optimizer.step()
        prepared.method.after_step(step)
    pytest.fail(f"the labeled loss of {name} stays high: {losses}")


@EVERY
def test_resumed_equals_uninterrupted_bitwise(name, tmp_path):
    """With its second networks and prototypes, which travel in the checkpoint."""
    settings = {key.replace(".", "__"): value for key, value in method_settings(name).items() if "method" in key}
    columns = assert_resumed_equals_uninterrupted(tmp_path, **settings)
    assert "supervised" in columns


@EVERY
def test_a_value_outside_its_range_is_one_line_with_what_is_allowed(name):
    checked = 0
    for key, field in settings_of(name).items():
        low, choices = field.metadata.get("low"), field.metadata.get("choices")
        if low is None and not choices:
            continue
        with pytest.raises(UserError) as refused:
            load_config((), {"method.name": name, f"method.{key}": "nonsense" if choices else low - 1})
        message, allowed = str(refused.value), str(choices[0] if choices else low)
        assert f"method.{key}" in message and allowed in message and "\n" not in message
        checked += 1
    assert checked


@EVERY
def test_a_setting_of_another_method_is_one_line(name):
    known = settings_of(name)
    others = {key: other for other in METHODS for key in settings_of(other) if key not in known}
    for key, other in others.items():
        owners = ", ".join(method for method in METHODS if key in settings_of(method))
        said = f"unknown setting method.{key} of method {name}, it is one of {owners}; the nearest is"
        with pytest.raises(UserError, match=said):
            load_config((), {"method.name": name, f"method.{key}": "1"})
        assert other != name


@EVERY
def test_its_targets_are_counted_and_its_terms_measured_apart(name, root):
    sure = {"confidence_threshold": 0.0} if "confidence_threshold" in settings_of(name) else {}
    prepared = prepare(name, root, **sure)
    method = prepared.method
    method.watch_every = 2
    prepared.terms(1)
    assert method.take_target_counts() is None
    terms, weights = prepared.terms(2), method.weights(2)
    counts = method.take_target_counts()
    assert (counts is not None) == (method.num_strong > 0)
    if counts is not None:
        assert counts[:-1].sum() > 0 and 0 <= counts[-1] <= counts[:-1].sum() and method.take_target_counts() is None
    measured = gradient_terms(terms, weights, list(method.student.parameters()))
    assert all(measured[f"gradient/{term}"] > 0 for term in terms if term in weights), measured
