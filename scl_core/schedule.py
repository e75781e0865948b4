"""How the learning rate and the weight of the unlabeled part move over the steps of a training."""

from math import exp


def poly_learning_rate(initial: float, step: int, steps: int, power: float, every: int = 1) -> float:
    """initial * (1 - step / steps)^power; `step` counts the steps already taken: `initial` at 0, 0 from `steps` on.

    One rate holds for `every` steps, that of the first of them: with an epoch's steps it falls by epochs.
    Never negative and always real, also beyond the schedule's end. Raises ValueError when `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"a schedule of {steps} steps; it needs at least 1")
    return initial * max(0.0, 1 - step // every * every / steps) ** power


def ramp_up(progress: float, length: float) -> float:
    """exp(-5 (1 - t)^2) with t = progress / length, at most 1: from 0.0067 at progress 0 to 1 from `length` on.

    The sigmoid-shaped ramp of Laine and Aila 2017. A `length` of 0 gives 1.
    """
    if progress >= length:
        return 1.0
    return exp(-5 * (1 - max(progress, 0.0) / length) ** 2)


def unlabeled_factor(step: int, steps: int, start: float, ramp: float) -> float:
    """The share of the unlabeled weights at training step `step` (1 .. `steps`).

    `start` and `ramp` are shares of `steps`: 0 through step start * steps, then `ramp_up` over ramp * steps, then 1.
    """
    waited = step - start * steps
    return 0.0 if waited <= 0 else ramp_up(waited, ramp * steps)
