"""What the tests of both RC2L methods share: their terms, what may be empty or small, the terms' gradients."""

import torch

from scl_core.cutmix import cutmix
from scl_core.losses import structured_consistency_loss
from scl_core.methods import StepDraws
from scl_core.methods.parts import draw_owner
from tests.methods.mixing import gradients, random_batch

DRAWS = StepDraws(seed=4, step=1)
TERMS = ("region_mask", "region_feature", "region_class", "semantic_mask")
EMPTY_OR_SMALL = ("void labels", "all padding", "one picture", "no region", "smaller labeled crop")


def assert_terms_are(expected, method, batch, atol, rtol):
    """The four terms and the gradients of a weighted sum of them, each weight another."""
    terms = method(batch, DRAWS)
    torch.testing.assert_close({name: terms[name] for name in TERMS}, expected)
    of_terms, of_expected = (
        gradients(sum(weight * found[name] for weight, name in enumerate(TERMS, start=1)), method.student)
        for found in (terms, expected)
    )
    torch.testing.assert_close(of_terms, of_expected, atol=atol, rtol=rtol)


def assert_stays_finite(case, make_method, min_area):
    """One of `EMPTY_OR_SMALL`: finite terms and gradients, and 0 where there is nothing to learn from."""
    batch = random_batch(1 if case == "one picture" else 2)
    if case == "void labels":
        batch.labels.fill_(255)
    if case == "all padding":
        batch.unlabeled_a.valid.fill_(False)
    if case == "smaller labeled crop":
        batch.images, batch.labels = batch.images[:, :, :12], batch.labels[:, :12]
    method = make_method(min_area=10**6 if case == "no region" else min_area)
    terms = method(batch, DRAWS)
    sum(terms.values()).backward()
    assert all(term.isfinite() and term >= 0 for term in terms.values())
    assert all(parameter.grad.isfinite().all() for parameter in method.student.parameters())
    if case in ("all padding", "no region"):
        assert all(terms[name] == 0 for name in TERMS)
    assert (terms["supervised"] == 0) == (case == "void labels")


def assert_structured_is_added(method, batch):
    """For a method of two boxes whose structured term has the weight 0.5."""
    a, b = batch.unlabeled_a, batch.unlabeled_b
    owner = draw_owner(a, batch.positions, DRAWS, method.config)
    student = method.student(cutmix(a.strong[0], b.strong[0], owner)).logits.softmax(1)
    teacher = cutmix(*(method.teacher.model(views.weak).logits.softmax(1) for views in (a, b)), owner)
    valid = cutmix(a.valid, b.valid, owner)
    expected = structured_consistency_loss(student, teacher, owner, 2, 2, valid=valid, box_reduction="mean")
    terms = method(batch, DRAWS)
    torch.testing.assert_close(terms["structured"], expected)
    assert method.weights(1)["structured"] == 0.5 and terms.keys() == method.weights(1).keys()


def assert_gradient_reaches_the_student_alone(method):
    """All of it, and nothing of the teacher."""
    sum(method(random_batch(), DRAWS).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())
