"""The first prototypes of PCR: k-means over the features of each class's labeled pixels, in the training itself."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from scl_core.data.images import IGNORE_INDEX, normalise
from scl_core.data.pictures import PictureList
from scl_core.losses.prototype import gather_features
from scl_core.methods.parts import eval_mode

ITERATIONS = 100
NOISE = 0.01  # of the features' spread, where a class has fewer features than prototypes


@torch.no_grad()
def widths(network: nn.Module) -> tuple[int, int]:
    """The number of classes and of feature channels that a segmenter answers with."""
    like = next(network.parameters())
    with eval_mode(network):
        output = network(like.new_zeros(1, 3, 64, 64))
    return output.logits.shape[1], output.features.shape[1]


def labeled_pictures(pictures: PictureList, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole labeled pictures in a random order: float32 [3, H, W], normalised, and int64 [H, W]."""
    for index in torch.randperm(len(pictures), generator=generator).tolist():
        yield normalise(pictures.input(index)), torch.tensor(pictures.label(index), dtype=torch.int64)


def first_prototypes(
    network: nn.Module,
    pictures: Iterable[tuple[Tensor, Tensor]],
    shape: tuple[int, int, int],
    per_picture: int,
    per_class: int,
    generator: torch.Generator,
) -> Tensor:
    """Prototypes of `shape` (C, K, D), on the CPU: the centres of each class's features by k-means.

    `network` runs in eval mode on `pictures` (image [3, H, W], labels int64 [H, W]); random labeled pixels count, at
    most `per_picture` of a picture and `per_class` of a class. A class without any gets normal random vectors.
    """
    features = features_by_class(network, pictures, shape[0], per_picture, per_class, generator)
    return torch.stack([class_prototypes(points, shape[1:], generator) for points in features])


@torch.no_grad()
def features_by_class(
    network: nn.Module,
    pictures: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    per_picture: int,
    per_class: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Features [n, D] of random labeled pixels, for each class; on the CPU."""
    like = next(network.parameters())
    found: list[list[Tensor]] = [[] for _ in range(num_classes)]
    room = [per_class] * num_classes
    with eval_mode(network):
        for image, labels in pictures:
            labeled = (labels != IGNORE_INDEX).nonzero().cpu()
            places = labeled[torch.randperm(len(labeled), generator=generator)[:per_picture]]
            maps = network(image[None].to(like.device, like.dtype)).features
            features = gather_features(maps, places, tuple(labels.shape))[0].cpu()
            classes = labels.cpu()[places[:, 0], places[:, 1]]
            for number in classes.unique().tolist():
                taken = features[classes == number][: room[number]]
                found[number].append(taken)
                room[number] -= len(taken)
    return [torch.cat(parts) if parts else torch.empty(0) for parts in found]


def class_prototypes(points: Tensor, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The K prototypes [K, D] of one class from its features [n, D]."""
    if len(points) == 0:
        return torch.randn(shape, generator=generator)
    missing = shape[0] - len(points)
    if missing <= 0:
        return k_means(points, shape[0], generator)
    repeated = points[torch.arange(missing) % len(points)]
    noise = torch.randn(repeated.shape, generator=generator).to(points.dtype)
    return torch.cat([points, repeated + NOISE * points.std(correction=0) * noise])


def k_means(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Centres [clusters, D] of `points` [n, D], n at least `clusters`: k-means++ and then Lloyd's iterations.

    They end when no point changes its cluster. A centre that loses all its points stays where it is.
    """
    centres = spread_centres(points, clusters, generator)
    nearest = None
    for _ in range(ITERATIONS):
        before, nearest = nearest, torch.cdist(points, centres).argmin(1)
        if before is not None and torch.equal(before, nearest):
            break
        counts = torch.bincount(nearest, minlength=clusters).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def spread_centres(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """First centres by k-means++ (Arthur and Vassilvitskii 2007): each drawn by its squared distance to the others."""
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    while len(chosen) < clusters:
        distances = torch.cdist(points.double(), points[chosen].double()).amin(1).square()
        if not distances.any():  # fewer different points than clusters
            distances = torch.ones_like(distances)
        ends = distances.cumsum(0)
        draw = torch.rand((), generator=generator, dtype=torch.float64) * ends[-1]
        chosen.append(int(torch.searchsorted(ends, draw, right=True).clamp(max=len(points) - 1)))
    return points[chosen]
