from math import log

import pytest
import torch
from torch.nn.functional import cross_entropy

from scl_core.losses.supervised import allowed_classes, relaxed_cross_entropy, relaxed_cross_entropy_sum


def random_case(pictures=2, classes=4, size=6, ignored=0.2):
    logits = torch.randn(pictures, classes, size, size, dtype=torch.float64) * 2
    labels = torch.randint(0, classes, (pictures, size, size))
    labels[torch.rand(labels.shape) < ignored] = 255
    return logits, labels


def by_double_loop(logits, labels, window, strict=()):
    probs = logits.softmax(1)
    height, width = labels.shape[1:]
    terms = []
    for picture in range(len(labels)):
        for y in range(height):
            for x in range(width):
                if labels[picture, y, x] == 255:
                    continue
                rows = slice(max(y - window // 2, 0), y + window // 2 + 1)
                columns = slice(max(x - window // 2, 0), x + window // 2 + 1)
                classes = set(labels[picture, rows, columns].flatten().tolist()) - {255}
                own = labels[picture, y, x].item()
                classes = {own} if own in strict else classes
                terms.append(-log(sum(probs[picture, c, y, x].item() for c in classes)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("window", [1, 3, 5, 9])
def test_against_a_double_loop(window):
    logits, labels = random_case()
    assert relaxed_cross_entropy(logits, labels, window).item() == pytest.approx(
        by_double_loop(logits, labels, window), rel=1e-12
    )


def test_strict_classes_against_a_double_loop():
    logits, labels = random_case()
    got = relaxed_cross_entropy(logits, labels, 3, strict_classes=(1, 3)).item()
    assert got == pytest.approx(by_double_loop(logits, labels, 3, strict=(1, 3)), rel=1e-12)
    assert got > relaxed_cross_entropy(logits, labels, 3).item()


def test_window_one_is_plain_cross_entropy():
    logits, labels = random_case()
    expected = cross_entropy(logits, labels, ignore_index=255)
    assert relaxed_cross_entropy(logits, labels, 1).item() == pytest.approx(expected.item(), rel=1e-12)


def test_two_pixels_by_hand():
    # probabilities (1/4, 1/4, 1/2) at both pixels; with window 3 each may be class 0 or 1, probability 1/2
    logits = torch.tensor([1.0, 1.0, 2.0]).log().view(1, 3, 1, 1).expand(1, 3, 1, 2)
    labels = torch.tensor([[[0, 1]]])
    assert relaxed_cross_entropy(logits, labels, 1).item() == pytest.approx(log(4))
    assert relaxed_cross_entropy(logits, labels, 3).item() == pytest.approx(log(2))


def test_an_ignored_pixel_is_never_supervised_and_adds_no_class():
    logits = torch.randn(1, 3, 1, 3, requires_grad=True)
    labels = torch.tensor([[[0, 255, 1]]])
    loss = relaxed_cross_entropy(logits, labels, 3)
    loss.backward()
    assert loss.item() == pytest.approx(cross_entropy(logits, labels, ignore_index=255).item())
    assert (logits.grad[..., 1] == 0).all() and (logits.grad[..., 0] != 0).any()


@pytest.mark.parametrize("window", [1, 3])
def test_gradient(window):
    logits, labels = random_case(size=4)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: relaxed_cross_entropy(z, labels, window), logits)


@pytest.mark.parametrize("window", [1, 3])
def test_nothing_supervised_gives_zero_with_a_connected_gradient(window):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = relaxed_cross_entropy(logits, torch.full((1, 4, 4), 255), window)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_certain_predictions_give_no_nan():
    # the softmax underflows to exactly 0 here: a logarithm of it times 0 would be NaN, for a right prediction
    labels = torch.tensor([[[0, 1]]])
    right = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    loss = relaxed_cross_entropy(right, labels, 3)
    loss.backward()
    assert loss.item() == 0.0 and right.grad.isfinite().all()
    third = torch.tensor([-200.0, -200.0, 200.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
    assert relaxed_cross_entropy(third, labels, 3).item() == pytest.approx(400 - log(2))


def test_half_precision_is_computed_in_float32():
    logits, labels = random_case()
    got = relaxed_cross_entropy(logits.half(), labels, 3)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(relaxed_cross_entropy(logits.half().double(), labels, 3).item(), rel=1e-5)


def test_sums_of_parts_make_the_whole_however_many_pixels_each_has():
    logits, labels = random_case()
    labels[0, :4] = 255
    total, count = map(
        sum, zip(*[relaxed_cross_entropy_sum(logits[i : i + 1], labels[i : i + 1]) for i in (0, 1)], strict=True)
    )
    assert count.dtype == torch.int64 and count == (labels != 255).sum()
    assert (total / count).item() == pytest.approx(relaxed_cross_entropy(logits, labels).item(), rel=1e-12)


def test_another_ignore_index_and_small_label_types():
    logits, labels = random_case()
    moved = torch.where(labels == 255, -1, labels)
    expected = relaxed_cross_entropy(logits, labels, 3)
    assert torch.equal(relaxed_cross_entropy(logits, moved, 3, ignore_index=-1), expected)
    assert torch.equal(relaxed_cross_entropy(logits, labels.to(torch.uint8), 3), expected)


@pytest.mark.parametrize("window", [0, 2, -1])
def test_a_window_without_a_centre_is_refused(window):
    with pytest.raises(ValueError, match="window"):
        relaxed_cross_entropy(*random_case(), window)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="logits"):
        relaxed_cross_entropy(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 5, dtype=torch.long))


@pytest.mark.parametrize("window", [1, 3, 5])
def test_the_allowed_classes_are_those_of_the_window_pixel_by_pixel(window):
    labels = torch.randint(0, 4, (2, 6, 7), generator=torch.Generator().manual_seed(1))
    labels[labels == 3] = 255
    found, reach = allowed_classes(labels, window, 3), window // 2
    for picture, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(6), torch.arange(7)).tolist():
        rows = slice(max(row - reach, 0), row + reach + 1)
        near = set(labels[picture, rows, max(column - reach, 0) : column + reach + 1].flatten().tolist()) - {255}
        wanted = set() if labels[picture, row, column] == 255 else near
        assert set(found[picture, :, row, column].nonzero().flatten().tolist()) == wanted


def test_the_loss_accepts_just_the_allowed_classes():
    labels = torch.randint(0, 4, (1, 6, 7), generator=torch.Generator().manual_seed(2))
    logits = torch.randn(1, 4, 6, 7, generator=torch.Generator().manual_seed(3))
    accepted = (logits.softmax(1) * allowed_classes(labels, 3, 4, strict_classes=(2,))).sum(1)
    loss = relaxed_cross_entropy(logits, labels, 3, strict_classes=(2,))
    assert loss == pytest.approx(float(-accepted.log().mean()), rel=1e-5)
