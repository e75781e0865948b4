"""Prototypes of classes (Xu et al. 2022): a second predictor by cosine similarity, its loss, and how they move."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

SMALLEST_SQUARED_NORM = 1e-12


def prototype_logits(features: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """The prototype predictor of Xu et al. 2022: the cosine with a class's nearest prototype / `temperature`, [N, C].

    `features` [N, D]; `prototypes` [C, K, D], K for each class, which receive no gradient. Each value lies between
    -1 / temperature and 1 / temperature; a feature without a direction gives 0 for every class.
    Raises ValueError for shapes that do not fit.
    """
    return cosines(features, prototypes).amax(2) / temperature


def prototype_loss(
    features: Tensor, labels: Tensor, prototypes: Tensor, temperature: float, ignore_index: int = 255
) -> Tensor:
    """Cross entropy of the prototype predictor, L_p of Xu et al. 2022: the mean over the labeled features.

    `features` [N, D], `labels` int64 [N], `prototypes` [C, K, D]. 0 with a gradient of zeros when nothing is labeled.
    """
    total, count = prototype_loss_sum(features, labels, prototypes, temperature, ignore_index)
    return total / count.clamp(min=1)


def prototype_loss_sum(
    features: Tensor, labels: Tensor, prototypes: Tensor, temperature: float, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """`prototype_loss` before its mean: the sum over the labeled features and their number (int64)."""
    logits = prototype_logits(features, prototypes, temperature)
    total = cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none").sum()
    return total, (labels != ignore_index).sum()


def cosines(features: Tensor, prototypes: Tensor) -> Tensor:
    """The cosine of each feature [N, D] with each prototype [C, K, D]: [N, C, K]; no gradient to the prototypes."""
    if features.dim() != 2 or prototypes.dim() != 3 or features.shape[1] != prototypes.shape[2]:
        raise ValueError(
            f"features {list(features.shape)} must be [N, D], prototypes {list(prototypes.shape)} [C, K, D]"
        )
    directions = unit(prototypes.detach().flatten(0, 1))
    return (unit(features) @ directions.T).unflatten(1, prototypes.shape[:2])


def unit(vectors: Tensor) -> Tensor:
    """The rows of [N, D] at length 1; a row that is almost zero becomes zero, and gets no gradient."""
    squared = vectors.square().sum(1, keepdim=True)
    has_direction = squared > SMALLEST_SQUARED_NORM
    return vectors * torch.where(has_direction, torch.where(has_direction, squared, 1.0).rsqrt(), 0.0)


def sample_grid(height: int, width: int, grid: int, generator: torch.Generator | None = None) -> Tensor:
    """One random pixel in each cell of a `grid` x `grid` raster over a crop: int64 [n, 2], rows and columns.

    The cells are whole pixels, height // grid by width // grid; what remains at the bottom and right is never drawn.
    Along a side of less than 2 * grid pixels there are as many cells as pairs of pixels.
    """
    rows, columns = (max(1, min(grid, side // 2)) for side in (height, width))
    tall, wide = height // rows, width // columns
    down = torch.randint(tall, (rows, columns), generator=generator) + tall * torch.arange(rows)[:, None]
    across = torch.randint(wide, (rows, columns), generator=generator) + wide * torch.arange(columns)
    return torch.stack([down, across], -1).flatten(0, 1)


def gather_features(features: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """The features at some pixels of pictures of `size` (H, W): [B, n, D], without the full-size map.

    `features` [B, D, h, w] and `places` int64 [n, 2], rows and columns. The same as resizing the map bilinearly to
    H x W, the corner pixels staying where they are, and reading it there.
    """
    places = places.to(features.device)
    top, bottom, down = neighbours(places[:, 0], features.shape[2], size[0])
    left, right, across = neighbours(places[:, 1], features.shape[3], size[1])
    width = features.shape[3]
    corners = torch.cat([top * width + left, top * width + right, bottom * width + left, bottom * width + right])
    shares = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across])
    found = features.flatten(2).index_select(2, corners).unflatten(2, (4, len(places)))
    return (found * shares.to(features.dtype)).sum(2).transpose(1, 2)


def neighbours(place: Tensor, small: int, large: int) -> tuple[Tensor, Tensor, Tensor]:
    """Along an axis of `large` pixels: the cells of `small` before and after each place, and the latter's share."""
    exact = place.double() * ((small - 1) / max(large - 1, 1))
    before = exact.long().clamp(max=small - 1)
    return before, (before + 1).clamp(max=small - 1), exact - before


@torch.no_grad()
def assign_prototypes(features: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    """The nearest prototype of each feature's own class, as its place in the flattened C * K: int64 [N].

    `features` [N, D]; `labels` int64 [N], each below C: another class's prototype never takes a feature, even a nearer
    one. `prototypes` [C, K, D].
    """
    own = cosines(features, prototypes)[torch.arange(len(labels), device=labels.device), labels]
    return labels * prototypes.shape[1] + own.argmax(1)


@torch.no_grad()
def prototype_sums(
    features: Tensor, labels: Tensor, prototypes: Tensor, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """The features that each prototype receives: their sum [C, K, D] and number [C, K], to be added over processes.

    `features` [N, D] as they are, not at length 1; `labels` int64 [N], ignored ones are nobody's.
    """
    labeled = labels != ignore_index
    features, labels = features[labeled], labels[labeled]
    places = assign_prototypes(features, labels, prototypes)
    sums = torch.zeros_like(prototypes).flatten(0, 1).index_add_(0, places, features.to(prototypes.dtype))
    counts = torch.bincount(places, minlength=len(sums))
    return sums.view_as(prototypes), counts.view(prototypes.shape[:2])


@torch.no_grad()
def update_prototypes(prototypes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> Tensor:
    """Move each prototype [C, K, D] to momentum * it + (1 - momentum) * the mean of what it received.

    Raw features and raw prototypes, as in the authors' code; one that received nothing stays as it is.
    """
    means = sums / counts.clamp(min=1).unsqueeze(2)
    return torch.where(counts.unsqueeze(2) > 0, momentum * prototypes + (1 - momentum) * means, prototypes)
