"""Drawn pairs against every pair, on one probe: the value's spread, the gradient's direction, and what each costs."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scl_core.cutmix import nearest_places
from scl_core.losses.structured import draw_pairs, structured_consistency_loss, visible_pixels
from scl_core.losses.structured_family import same_width
from scl_core.microscope.dissect import loss_boxes
from scl_core.probe import Probe, eval_mode
from scl_core.progress import Count, Tell, unheard
from scl_core.seeding import generator_for

STREAM = "pair study"


@dataclass(frozen=True)
class Kept:
    """Pairs of one box: places [n, 2, 2], for each pair row and column of its two pixels, and how many there are.

    `kept` are the draw of eq. 9 (with replacement), `dropped` as many of those it left out.
    """

    kept: np.ndarray
    dropped: np.ndarray
    distinct: int
    every: int


def kept_pairs(probe: Probe, number: int, max_pairs: int, generator: torch.Generator, most: int = 400) -> Kept:
    """The pairs of box `number` that a draw of `max_pairs` keeps, and some that it drops; at most `most` of each.

    `generator` is that of training, `generator_for(seed, step, position, "pairs")`, and draws for every loss box.
    """
    owner, valid = probe.regions.owner[0], probe.compared().valid[0]
    shown = ((owner == number) & valid).flatten().nonzero()[:, 0]
    found = sampled_pairs(owner, len(probe.boxes), loss_boxes(probe), max_pairs, generator, valid)
    pairs = found.get(number)
    every = len(shown) ** 2
    if pairs is None:
        code = torch.randint(max(every, 1), (min(most, every),), generator=torch.Generator().manual_seed(0))
        some = torch.stack([shown[code // len(shown)], shown[code % len(shown)]]) if every else shown.new_zeros(2, 0)
        return Kept(_places(some, probe), _places(some[:, :0], probe), every, every)
    keys = pairs[0] * owner.numel() + pairs[1]
    code = torch.randint(every, (4 * most,), generator=torch.Generator().manual_seed(0))
    others = torch.stack([shown[code // len(shown)], shown[code % len(shown)]])
    left_out = ~torch.isin(others[0] * owner.numel() + others[1], keys)
    return Kept(
        _places(pairs[:, :most], probe),
        _places(others[:, left_out][:, :most], probe),
        len(keys.unique()),
        every,
    )


def sampled_pairs(
    owner: Tensor,
    num_boxes: int,
    num_loss_boxes: int,
    max_pairs: int,
    generator: torch.Generator,
    valid: Tensor | None = None,
) -> dict[int, Tensor]:
    """The pairs that eq. 9 draws in one picture, `owner` int64 and `valid` bool [H, W]: the very draw of the loss.

    For each box that has more pairs than `max_pairs` (the others keep all of them): int64 [2, max_pairs], places in
    the flattened picture.
    """
    first, valid = num_boxes - num_loss_boxes, None if valid is None else valid[None]
    places, counts = visible_pixels(owner[None], valid, first, num_loss_boxes)
    boxes = enumerate(places.split(counts[0].tolist()))
    return {
        first + column: piece[draw_pairs(len(piece), max_pairs, generator).to(piece.device)]
        for column, piece in boxes
        if len(piece) ** 2 > max_pairs
    }


@dataclass(frozen=True)
class Spread:
    """Many draws of `max_pairs` pairs: their losses, the exact loss, and the cosines of gradients with the exact one.

    `over_pixels` compares gradients by the student's predictions, `over_parameters` by the network's weights (empty
    where it was not asked for). Seconds are the fastest of several, forward and backward, of the loss
    alone: other work on the machine adds to the rest.
    """

    max_pairs: int
    values: np.ndarray
    exact: float
    over_pixels: np.ndarray
    over_parameters: np.ndarray
    seconds: float
    seconds_exact: float


def study(
    probe: Probe,
    max_pairs: int,
    student: nn.Module | None = None,
    draws: int = 100,
    gradients: int = 20,
    backwards: int = 4,
    tell: Tell = unheard,
) -> Spread:
    """Draw `max_pairs` pairs `draws` times and compare with every pair.

    `gradients` of the draws are compared over the pixels, `backwards` over the parameters of `student`, the probe's own
    network, which runs once more in eval mode; without it that part is left out. Draw k starts the same for every
    `max_pairs`. `tell` hears of each draw and each backward pass.
    """
    leaf = _leaf(probe)
    count = Count(1 + draws + (0 if student is None else 2 + min(backwards, draws)), tell)
    exact, exact_gradient, seconds_exact = _timed(probe, leaf, None, range(10))
    count.step()
    values, found, seconds = [], [], []
    for index in range(draws):
        value, gradient, took = _timed(probe, leaf, max_pairs, [index], with_gradient=index < max(gradients, backwards))
        values.append(value)
        if gradient is not None:
            found.append(gradient)
            seconds.append(took)
        count.step()
    over_pixels = np.array([_cosine([gradient], [exact_gradient]) for gradient in found[:gradients]])
    over_parameters = np.zeros(0)
    if student is not None:
        over_parameters = _over_parameters(student, probe, exact_gradient, found[:backwards], count)
    return Spread(max_pairs, np.array(values), exact, over_pixels, over_parameters, _fastest(seconds), seconds_exact)


def directions(
    probe: Probe, many: Sequence[int], student: nn.Module | None = None, draws: int = 4, tell: Tell = unheard
) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosine with the exact gradient for each number of pairs in `many`: over the pixels, over the parameters.

    Over `draws` draws each; of these the first alone goes back through `student`, as in `study` (empty without it).
    """
    leaf = _leaf(probe)
    count = Count(1 + len(many) * draws + (0 if student is None else 2 + len(many)), tell)

    def gradient(pairs: int | None, index: int) -> Tensor:
        found = _timed(probe, leaf, pairs, [index])[1]
        count.step()
        return found

    exact = gradient(None, 0)
    found = [[gradient(pairs, index) for index in range(draws)] for pairs in many]
    pixels = [np.mean([_cosine([gradient], [exact]) for gradient in gradients]) for gradients in found]
    if student is None:
        return np.array(pixels), np.zeros(0)
    first = [gradients[0] for gradients in found]
    return np.array(pixels), _over_parameters(student, probe, exact, first, count)


def _timed(probe: Probe, leaf: Tensor, max_pairs: int | None, numbers: Iterable[int], with_gradient: bool = True):
    """Value, gradient by `leaf` and fastest seconds of the loss for the draws with these numbers (of the last one)."""
    seconds, gradient, student = [], None, probe.seen[0]._replace(**{_given(probe): leaf})
    for number in numbers:
        generator = None if max_pairs is None else generator_for(0, number, 0, STREAM)
        started = time.perf_counter()
        compared = probe.compared(student)
        loss = structured_consistency_loss(
            *same_width(compared.student, compared.teacher),
            probe.regions.owner,
            len(probe.boxes),
            loss_boxes(probe),
            max_pairs,
            generator,
            compared.valid,
            probe.box_reduction,
        )
        if with_gradient:
            gradient = torch.autograd.grad(loss, leaf)[0]
        seconds.append(time.perf_counter() - started)
    return loss.item(), gradient, _fastest(seconds)


def _leaf(probe: Probe) -> Tensor:
    """What the student gives of the mix, by which gradients are taken: probabilities or features, [1, C, H, W]."""
    return getattr(probe.seen[0], _given(probe)).clone().requires_grad_(True)


def _given(probe: Probe) -> str:
    return "features" if probe.form.on == "features" else "probs"


def _over_parameters(student: nn.Module, probe: Probe, exact: Tensor, drawn: list[Tensor], count: Count) -> np.ndarray:
    """Cosines of the gradients by the network's weights, given those by what it gives of the mix."""
    like = next(student.parameters())
    with eval_mode(student):
        weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
        output = student(probe.student_input[None].to(like.device, like.dtype))
        given = output.features if _given(probe) == "features" else output.logits.softmax(1)
        count.step()

        def pulled(gradient: Tensor) -> list[Tensor]:
            found = torch.autograd.grad(given, weights, gradient.to(given), retain_graph=True, allow_unused=True)
            count.step()
            return [part for part in found if part is not None]

        wanted = pulled(exact)
        return np.array([_cosine(pulled(gradient), wanted) for gradient in drawn])


def _cosine(first: list[Tensor], second: list[Tensor]) -> float:
    """Of two lists of tensors as one long vector each; NaN where one is zero."""
    dot, own, other = (
        sum(float((a.double() * b.double()).sum()) for a, b in zip(*sides, strict=True))
        for sides in ((first, second), (first, first), (second, second))
    )
    return dot / (own * other) ** 0.5 if own and other else float("nan")


def _fastest(seconds: list[float]) -> float:
    return min(seconds, default=float("nan"))


def _places(pairs: Tensor, probe: Probe) -> np.ndarray:
    """Places in the flattened grid of what is compared, [2, n], as rows and columns of pixels [n, 2, 2]."""
    height, width = probe.regions.owner.shape[-2:]
    rows, columns = (
        nearest_places(extent, cells) for extent, cells in zip(probe.owner.shape, (height, width), strict=True)
    )
    return torch.stack([rows[pairs // width], columns[pairs % width]], -1).transpose(0, 1).numpy()
