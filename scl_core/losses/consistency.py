"""The pixel-wise consistency loss: the squared distance of the student's prediction from the teacher's."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss


def consistency_loss(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """Eq. 4 of Kim et al. 2020: the squared differences summed over the classes, their mean over the valid pixels.

    `student`, `teacher`: probabilities [B, C, H, W]; no gradient reaches the teacher. `valid`: bool [B, H, W], None for
    every pixel. A scalar between 0 and 2, in float32 at least; 0 with a gradient of zeros where no pixel is valid.
    Raises ValueError for shapes that do not fit.
    """
    total, count = consistency_sum(student, teacher, valid)
    return total / count.clamp(min=1)


def consistency_sum(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`consistency_loss` before its mean: the sum over the valid pixels and their number (int64)."""
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(f"student {list(student.shape)} and teacher {list(teacher.shape)} must be one [B, C, H, W]")
    pixels = student[:, 0]
    if valid is not None and valid.shape != pixels.shape:
        raise ValueError(f"valid is {list(valid.shape)}, the predictions are {list(student.shape)}")
    dtype = torch.promote_types(student.dtype, torch.float32)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    if valid is None:
        return mse_loss(student, teacher, reduction="sum"), torch.full((), pixels.numel(), device=student.device)
    compared = torch.where(valid.unsqueeze(1), student, teacher)
    return mse_loss(compared, teacher, reduction="sum"), valid.sum()
