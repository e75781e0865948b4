"""Are predictions saturated? The largest probability, as the loss compares it, at each pixel of unlabeled pictures."""

import numpy as np
import torch
from torch import nn

from scl_core.data.images import normalise
from scl_core.data.pictures import PictureList
from scl_core.losses.structured_family import soften
from scl_core.microscope.health.finding import LOOK, SOUND, Finding
from scl_core.probe import eval_mode

CHECK, NAME = "Confidence", "Pixels with a probability of 0.99 or more"
SURE, SATURATED = 0.99, 0.8  # of a probability; of the pixels
BARELY = 1.5  # times an even guess


@torch.no_grad()
def confidences(network: nn.Module, pictures: PictureList, temperature: float = 1.0, most: int = 8) -> np.ndarray:
    """The largest probability of every pixel of the first `most` pictures, each whole, float32 [pixels].

    `temperature` is that of the loss, so that they are the probabilities which it compares.
    """
    like, found = next(network.parameters()), []
    with eval_mode(network):
        for index in range(min(most, len(pictures))):
            picture = normalise(pictures.input(index))[None].to(like.device, like.dtype)
            probs = soften(network(picture).logits.float().softmax(1), temperature)
            found.append(probs.max(1).values.flatten().cpu())
    return torch.cat(found).numpy()


def judge_confidence(found: np.ndarray, num_classes: int) -> Finding:
    """Whether more than `SATURATED` of the pixels have a probability of at least `SURE`; the classes tell a guess."""
    share = float((found >= SURE).mean())
    number = f"{share:.1%}"
    if share <= SATURATED:
        return Finding(CHECK, SOUND, NAME, number, _not_saturated(float(np.median(found)), 1 / num_classes))
    return Finding(
        CHECK, LOOK, NAME, number,
        "Predictions are saturated: similarities of two pixels are 0 or 1, softmax passes hardly any gradient, and the "
        "unlabeled terms have nothing left to teach.",
        "Raise method.structured_temperature, to 2 or 3 where the network itself is so sure; or sharpen less: smaller "
        "unlabeled weights, a smaller learning rate.",
        "predictions are saturated",
    )  # fmt: skip


def _not_saturated(median: float, guess: float) -> str:
    """How far the middle pixel is from a guess that prefers no class."""
    told = f"Not saturated; that begins at {SATURATED:.0%}. The median pixel has {median:.2f}"
    if median < BARELY * guess:
        return f"{told}, hardly more than an even guess ({guess:.2f}): this network tells no classes apart."
    return f"{told}; an even guess is {guess:.2f}."
