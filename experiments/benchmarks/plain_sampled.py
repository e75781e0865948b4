"""The structured loss as one writes it down first: the fixed opponent of `structured_loss.py`, not to be improved.

Per box 9,000 int64 pairs, advanced indexing into [C, H, W], cosine, squared difference; autograd does the rest.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def plain_sampled_loss(student: Tensor, teacher: Tensor, owner: Tensor, num_boxes: int, pairs: int = 9000) -> Tensor:
    """Eqs. 9 and 10, summed over the boxes, mean over the pictures; probabilities [B, C, H, W], owner [B, H, W]."""
    total = student.new_zeros(())
    for probs, target, box_of in zip(student, teacher, owner, strict=True):
        for box in range(num_boxes):
            rows, columns = (box_of == box).nonzero(as_tuple=True)
            first, second = torch.randint(len(rows), (2, pairs))
            similarity, wanted = (
                cosine_similarity(p[:, rows[first], columns[first]], p[:, rows[second], columns[second]], dim=0)
                for p in (probs, target)
            )
            total = total + (similarity - wanted).square().mean()
    return total / len(student)
