"""The four pixels, two regions and three queries of the worked values, and slow twins of the region losses."""

from math import exp, log

import torch

from scl_core.losses.region import (
    mask_similarity,
)

TEACHER = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]], dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.float64)
QUERIES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3]], dtype=torch.float64)
FEATURES = torch.tensor([[1.0, 3, 0, 0], [0, 0, 2, 6]], dtype=torch.float64)
MATCH = torch.tensor([0, 1])


def near(value, expected, tolerance=1e-6):
    torch.testing.assert_close(torch.as_tensor(value).double(), torch.tensor(expected).double(), atol=tolerance, rtol=0)


def similarities(student, teacher, similarity):
    return mask_similarity(teacher @ student.mT, teacher.square().sum(1), student.square().sum(1), similarity)


def random_masks(*shape):
    return torch.rand(shape, dtype=torch.float64)


def one_hot_masks(labels, num_regions):
    return torch.stack([labels == k for k in range(num_regions)])


def contrast_by_loop(similarity, match, temperature):
    losses = []
    for k, j in enumerate(match.tolist()):
        row = [exp(float(value) / temperature) for value in similarity[k]]
        losses.append(-log(row[j] / sum(row)))
    return sum(losses) / len(losses) if losses else 0.0


def dice_by_loop(student, teacher):
    rows = []
    for t in teacher.flatten(1).tolist():
        row = []
        for s in student.flatten(1).tolist():
            shared = sum(a * b for a, b in zip(t, s, strict=True))
            row.append(2 * shared / (sum(a * a for a in t) + sum(b * b for b in s)))
        rows.append(row)
    return rows
