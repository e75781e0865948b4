"""One unlabeled training step taken apart: boxes, what they still show, predictions, and what each box adds.

Everything is computed by the functions that training calls, so a picture of a probe is a picture of the computation.
The networks run in eval mode (running statistics in batch norm); training's student runs in train mode and sees the
labeled pictures in the same pass, so its logged losses differ a little from a probe's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from scl_core.cutmix import at_cells, box_owner, boxes_of, cutmix, nearest_places
from scl_core.data.images import denormalise
from scl_core.losses.consistency import consistency_loss
from scl_core.losses.structured import cosine_similarity_matrix, similarity_row, sum_of_boxes
from scl_core.losses.structured_family import window_sum
from scl_core.models.frozen import frozen_features
from scl_core.structured_form import (
    Compared,
    Regions,
    Seen,
    StructuredForm,
    compare,
    find_regions,
    form_of,
    value_per_region,
)

if TYPE_CHECKING:
    from scl_core.data.batch import Batch, Views

STREAMS = ("boxes", "pairs", "placebo")
"""Where training draws what `make_probe` takes, in its order."""
ORDERS = ("raster", "class", "cluster")


class Draws(Protocol):
    """The random draws of one step, as `scl_core.methods.StepDraws` gives them."""

    def generators(self, positions: tuple[int, ...], stream: str) -> list[torch.Generator]: ...


class ProbeSettings(Protocol):
    """The settings of a CutMix method that a probe reads; a method's config has them under these names.

    Where there are settings `structured_<name>` as well, they say what is compared (`scl_core.structured_form`).
    """

    num_boxes: int
    num_loss_boxes: int | None
    max_pairs: int | None
    total_area: float
    area_mode: str
    box_reduction: str


@dataclass(frozen=True)
class BoxReport:
    """One box, or another region that is compared, in numbers: place, pixels that it still shows, part of the loss."""

    number: int  # its place in the paste order, from 0; the value of `owner` where it shows
    top: int
    left: int
    height: int
    width: int
    visible: int  # pixels that it shows: not covered by a later box, not padding
    share: float  # visible / area
    in_loss: bool
    pairs: int  # ordered pairs of pixels that its loss is the mean of
    loss: float | None = None  # that mean, the inner part of eq. 10; None without networks or outside the loss
    term: float | None = None  # what it adds to the structured loss: the terms of all boxes add up to it
    loss_share: float | None = None  # term / structured loss


@dataclass(frozen=True)
class Probe:
    """What `make_probe` found out about one pair of pictures.

    Pictures are uint8 [H, W, 3]: `image_a`, `image_b` as the teacher saw them, `mixed` as the student did. `boxes`
    int64 [N, 4], `owner` int64 [H, W], `valid` bool [H, W], `student` and `teacher` probabilities [C, H, W] of the mix,
    `student_input` float32 [3, H, W] the mix as the student took it in.
    `consistency` is eq. 4, `structured` the structured loss of the settings' form and reduction, both unweighted.
    Where the form compares other regions than the CutMix boxes, `owner` and `boxes` are those regions and the
    rectangles around them. `regions` are on the grid of what is compared: pixels, or the cells of features, which
    `student_features` and `teacher_features`, [D, h, w], are then (of a network that teaches structure alone, its own).
    """

    image_a: np.ndarray
    image_b: np.ndarray
    mixed: np.ndarray
    boxes: Tensor
    owner: Tensor
    valid: Tensor
    student: Tensor
    teacher: Tensor
    report: list[BoxReport]
    consistency: float
    structured: float
    max_pairs: int | None
    box_reduction: str
    student_input: Tensor
    regions: Regions
    form: StructuredForm = StructuredForm()
    student_features: Tensor | None = None
    teacher_features: Tensor | None = None
    mode: str = "eval"

    def shown(self, number: int) -> Tensor:
        """T_n of eq. 8: the pixels that box `number` still shows, bool [H, W]."""
        return (self.owner == number) & self.valid

    @property
    def by_cells(self) -> bool:
        """Whether cells of features are compared, and not pixels."""
        return self.form.on == "features" or self.form.teacher is not None

    @property
    def seen(self) -> tuple[Seen, Seen]:
        """What student and teacher give of the mix, as training gives it to the structured term: one picture each."""
        sides = (self.student, self.student_features), (self.teacher, self.teacher_features)
        student, teacher = (Seen(*(part if part is None else part[None] for part in side)) for side in sides)
        return student, teacher

    def compared(self, student: Seen | None = None, teacher: Seen | None = None) -> Compared:
        """What the form compares, had the networks given these answers instead."""
        own = self.seen
        return compare(student or own[0], teacher or own[1], self.owner[None], self.valid[None], self.form)

    @property
    def vectors(self) -> tuple[Tensor, Tensor]:
        """What the form compares, of teacher and student: [C, h, w] each, on the grid of `regions`."""
        found = self.compared()
        return found.teacher[0], found.student[0]

    def exact_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The structured loss of the form over every pair, had the networks these probabilities, [1, C, H, W].

        Features stay as they are.
        """
        given = zip(self.seen, (student, teacher), strict=True)
        return self.loss_of(self.compared(*(seen._replace(probs=probs) for seen, probs in given)))

    def loss_of(self, compared: Compared) -> Tensor:
        """The structured loss of the form over every pair of these vectors."""
        return sum_of_boxes(value_per_region(compared, self.regions, self.form), self.box_reduction)[0]

    def cells_of(self, rows: np.ndarray, columns: np.ndarray) -> tuple[Tensor, Tensor]:
        """The cells of the compared grid that the pixels at these rows and columns lie in."""
        size, grid = self.owner.shape, self.regions.owner.shape[-2:]
        places = (torch.as_tensor(rows), torch.as_tensor(columns))
        of_line = (nearest_places(*ends) for ends in zip(grid, size, strict=True))
        return tuple(cells[line] for cells, line in zip(of_line, places, strict=True))


@dataclass(frozen=True)
class SimilarityMatrices:
    """Similarities of some pixels of a box: `teacher`, `student` [P, P]; `places` [P, 2] rows and columns.

    `classes` [P] is the teacher's most probable class; every `stride`-th row and column of the picture was taken.
    """

    teacher: np.ndarray
    student: np.ndarray
    places: np.ndarray
    classes: np.ndarray
    stride: int


def probe_pair(
    student: nn.Module, teacher: nn.Module, batch: "Batch", draws: "Draws", settings: ProbeSettings
) -> Probe:
    """`make_probe` of a batch's first unlabeled pair, with the boxes and pairs that training draws at that step."""
    generators = [draws.generators(batch.positions[:1], stream)[0] for stream in STREAMS]
    return make_probe(student, teacher, batch.unlabeled_a, batch.unlabeled_b, settings, *generators)


def make_probe(
    student: nn.Module,
    teacher: nn.Module,
    view_a: "Views",
    view_b: "Views",
    settings: ProbeSettings,
    generator: torch.Generator | None = None,
    pairs_generator: torch.Generator | None = None,
    placebo_generator: torch.Generator | None = None,
    whole: Seen | None = None,
) -> Probe:
    """Mix the first picture of `view_a` with that of `view_b` as training does, and take the losses apart.

    `generator` draws the boxes; `pairs_generator` the pairs of eq. 9 where `settings.max_pairs` asks for a draw (the
    first one goes on where it is None), `placebo_generator` the random sets of pixels where the form asks for them.
    Training draws them with `generator_for(seed, step, position, stream)`, for each stream of `STREAMS`.
    The student sees the mix of the strong views, the teacher both weak views whole: no box changes what it gives of
    them, so `whole`, from `whole_answers`, saves its pass where only the boxes are others.
    """
    weak_a, weak_b, mixed, owner, boxes, valid = _mix(view_a, view_b, settings, generator)
    with eval_mode(student, teacher), torch.no_grad():
        form, weak = form_of(settings), torch.cat([weak_a, weak_b])
        target = _mixed_answers(whole or _seen(teacher, weak, form.on), owner)
        if form.teacher:
            halves = frozen_features(form.teacher, form.teacher_weights, weak)
            target = target._replace(features=_mixed_halves(halves, owner))
        seen = _seen(student, mixed, form.on)
        compared = compare(seen, target, owner[None], valid, form)
        regions = find_regions(compared.owner, compared.valid, settings, [placebo_generator])
        if form.region != "boxes":
            owner = at_cells(regions.owner[0], tuple(owner.shape))
            boxes = _rectangles(owner, regions.number)
        report, structured = _box_losses(compared, regions, boxes, owner, valid, settings, pairs_generator or generator)
    return Probe(
        image_a=denormalise(weak_a[0]),
        image_b=denormalise(weak_b[0]),
        mixed=denormalise(mixed[0]),
        boxes=boxes,
        owner=owner,
        valid=valid[0],
        student=seen.probs[0],
        teacher=target.probs[0],
        report=report,
        consistency=float(consistency_loss(seen.probs, target.probs, valid)),
        structured=structured,
        max_pairs=settings.max_pairs,
        box_reduction=settings.box_reduction,
        student_input=mixed[0],
        regions=regions,
        form=form,
        student_features=None if seen.features is None else seen.features[0],
        teacher_features=None if target.features is None else target.features[0],
    )


def whole_answers(teacher: nn.Module, view_a: "Views", view_b: "Views", settings: ProbeSettings) -> Seen:
    """What the teacher gives of the first picture of `view_a` and that of `view_b`, whole."""
    weak = torch.cat([view.weak[:1].cpu() for view in (view_a, view_b)])
    with eval_mode(teacher), torch.no_grad():
        return _seen(teacher, weak, form_of(settings).on)


def describe_boxes(
    boxes: Tensor, owner: Tensor, num_loss_boxes: int, max_pairs: int | None = None, valid: Tensor | None = None
) -> list[BoxReport]:
    """The numbers of each box that need no network, in paste order; the last `num_loss_boxes` are in the loss.

    `boxes` [N, 4] and `owner` [H, W] as `sample_boxes` and `box_owner` give them; `valid` bool [H, W].
    """
    shown = owner if valid is None else torch.where(valid, owner, -1)
    counts = torch.bincount(shown.flatten() + 1, minlength=len(boxes) + 1)[1:].tolist()
    reports = []
    for number, (box, visible) in enumerate(zip(boxes.tolist(), counts, strict=True)):
        in_loss = number >= len(boxes) - num_loss_boxes
        every = visible**2 if in_loss else 0
        pairs = every if max_pairs is None else min(every, max_pairs)
        reports.append(BoxReport(number, *box, visible, visible / (box[2] * box[3]), in_loss, pairs))
    return reports


def similarity_rows(probe: Probe, number: int, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """How alike the pixel at (row, column) is to each pixel that box `number` shows: eq. 7 for one i and all j.

    Teacher and student, each float [h, w] over the box, NaN where it is covered. Raises ValueError when the box does
    not show the pixel.
    """
    shown = probe.shown(number)
    if not shown[row, column]:
        raise ValueError(f"box {number} does not show the pixel at row {row}, column {column}")
    top, left, height, width = probe.boxes[number].tolist()
    inside = slice(top, top + height), slice(left, left + width)
    teacher, student = (
        torch.where(shown[inside], torch.from_numpy(found[inside]), torch.nan).numpy()
        for found in similarity_maps(probe, row, column)
    )
    return teacher, student


def similarity_maps(probe: Probe, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """How alike one pixel is to every pixel of the whole mix: teacher and student, float32 [H, W].

    Where cells of features are compared, a pixel is as like the others as its cell.
    """
    grid = tuple(probe.regions.owner.shape[-2:])
    cell_row, cell_column = (int(cell) for cell in probe.cells_of(row, column))
    maps = []
    for vectors in probe.vectors:
        of_cells = similarity_row(vectors.flatten(1), cell_row * grid[1] + cell_column).view(grid)
        maps.append(at_cells(of_cells, tuple(probe.owner.shape)).numpy())
    return maps[0], maps[1]


def similarity_matrices(probe: Probe, number: int, most: int = 160, order: str = "raster") -> SimilarityMatrices:
    """The similarity matrices of a box, over at most `most` of the pixels that it shows, taken at a regular stride.

    `order`: "raster", "class" (the teacher's most probable class) or "cluster" (average linkage of the teacher's
    similarities, so that pixels which are alike to it stand together). With stride 1 the mean of (student - teacher)^2
    is the box's exact loss. Raises ValueError for another order.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; it must be one of {', '.join(ORDERS)}")
    rows, columns = (places.numpy() for places in probe.shown(number).nonzero(as_tuple=True))
    stride, taken = 1, np.ones(len(rows), dtype=bool)
    while taken.sum() > most:
        stride += 1
        taken = (rows % stride == stride // 2) & (columns % stride == stride // 2)
    rows, columns = rows[taken], columns[taken]
    classes = probe.teacher[:, rows, columns].argmax(0).numpy()
    cells = probe.cells_of(rows, columns)
    teacher, student = (cosine_similarity_matrix(vectors[:, *cells]).numpy() for vectors in probe.vectors)
    places = _order_of(teacher, classes, order)
    across = np.ix_(places, places)
    return SimilarityMatrices(
        teacher[across], student[across], np.stack([rows, columns], 1)[places], classes[places], stride
    )


def _order_of(teacher: np.ndarray, classes: np.ndarray, order: str) -> np.ndarray:
    """The places of the pixels in the asked order; `teacher` [P, P] are the similarities that clustering follows."""
    if order == "class":
        return np.argsort(classes, kind="stable")
    if order == "raster" or len(teacher) < 3:
        return np.arange(len(teacher))
    from scipy.cluster.hierarchy import leaves_list, linkage  # here, because trainings import this file and need it not

    distance = np.clip(1 - (teacher + teacher.T) / 2, 0, None)[np.triu_indices(len(teacher), 1)]
    return leaves_list(linkage(distance, "average", optimal_ordering=True))


def _mix(view_a: "Views", view_b: "Views", settings: ProbeSettings, generator: torch.Generator | None):
    """Weak views, mix, owner, boxes and valid pixels of the first pair, all on the CPU."""
    height, width = view_a.weak.shape[-2:]
    boxes = boxes_of(settings, height, width, generator)
    owner = box_owner(boxes, height, width)
    first_a, first_b = (
        [tensor[:1].cpu() for tensor in (view.weak, view.strong[0], view.valid)] for view in (view_a, view_b)
    )
    mixed, valid = cutmix(first_a[1], first_b[1], owner), cutmix(first_a[2], first_b[2], owner)
    return first_a[0], first_b[0], mixed, owner, boxes, valid


def _rectangles(owner: Tensor, number: int) -> Tensor:
    """The smallest rectangle around each of the regions of `owner` [H, W], [N, 4]; one pixel for an empty region."""
    found = []
    for region in range(number):
        rows, columns = (owner == region).nonzero(as_tuple=True)
        sides = [(int(side.min()), int(side.max())) if len(side) else (0, 0) for side in (rows, columns)]
        found.append([sides[0][0], sides[1][0], *(last - first + 1 for first, last in sides)])
    return torch.tensor(found, dtype=torch.long).view(-1, 4)


def _box_losses(compared, regions, boxes, owner, valid, settings, pairs_generator) -> tuple[list[BoxReport], float]:
    """The report with each region's loss, and the structured loss as training computes it from the same draws."""
    form = form_of(settings)
    pairs = [pairs_generator or torch.Generator()] if settings.max_pairs is not None else None
    values = value_per_region(compared, regions, form, settings.max_pairs, pairs)
    total = float(sum_of_boxes(values, settings.box_reduction)[0])
    divisor = max(regions.compared, 1) if settings.box_reduction == "mean" else 1
    plain = describe_boxes(boxes, owner, regions.compared, settings.max_pairs, valid[0])
    cells = describe_boxes(boxes, regions.owner[0], regions.compared, settings.max_pairs, compared.valid[0])
    plain = [replace(box, pairs=of_cells.pairs) for box, of_cells in zip(plain, cells, strict=True)]
    if form.region == "window":
        near = window_sum(compared.valid[:, None].double(), form.radius) * compared.valid
        plain = [replace(plain[0], pairs=int(near.sum()))]
    losses = [None] * (regions.number - regions.compared) + values[0].tolist()
    return [_with_loss(box, loss, divisor, total) for box, loss in zip(plain, losses, strict=True)], total


def _with_loss(box: BoxReport, loss: float | None, divisor: int, total: float) -> BoxReport:
    if loss is None:
        return box
    numbers = {"loss": loss, "term": loss / divisor, "loss_share": loss / divisor / total if total else 0.0}
    return BoxReport(**vars(box) | numbers)


def _seen(network: nn.Module, pictures: Tensor, on: str) -> Seen:
    """Class probabilities of pictures [B, 3, H, W], and features where they are compared, on the CPU."""
    like = next(network.parameters())
    output = network(pictures.to(like.device, like.dtype))
    return Seen(output.logits.softmax(1).cpu(), output.features.cpu() if on == "features" else None)


def _mixed_answers(both: Seen, owner: Tensor) -> Seen:
    """The second half of what a network sees in whole pictures, [2, ...], pasted over the first."""
    return Seen(*(part if part is None else _mixed_halves(part, owner) for part in both))


def _mixed_halves(maps: Tensor, owner: Tensor) -> Tensor:
    return cutmix(*maps.chunk(2), at_cells(owner, tuple(maps.shape[-2:])))


@contextmanager
def eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Run in eval mode and leave each network in the mode it was in."""
    before = [network.training for network in networks]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for network, training in zip(networks, before, strict=True):
            network.train(training)
