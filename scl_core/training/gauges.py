"""What is measured of a training step beside its losses, every few steps, for metrics.jsonl; no step is changed by it.

The terms apart: each weighted term's gradient by the student's parameters, its norm and its cosine with that of the
supervised term. The targets: which classes, and how certainly, the producer of targets predicts on unlabeled pictures.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scl_core.distributed import sum_over_ranks, world_size
from scl_core.methods import Method
from scl_core.metrics import effective_classes
from scl_core.training.alarms import Alarms

SUPERVISED = "supervised"


class Gauges:
    """Reads the gauges of a step between its forward and its backward pass; every rank calls it, with its own part."""

    def __init__(self, method: Method, train, class_names: Sequence[str], alarms: Alarms | None):
        """`train` is a `TrainConfig`; `alarms` is rank 0's alone."""
        self.method, self.class_names, self.alarms = method, class_names, alarms
        self.gradients_every = train.gradient_terms_every
        method.watch_every = train.watch_every if method.num_strong else 0
        self.columns = self._columns(list(method.weights(train.steps)))

    def _columns(self, terms: list[str]) -> tuple[str, ...]:
        """The names that every row of the record has, null where nothing was measured."""
        others = [name for name in terms if name != SUPERVISED]
        gradients = [f"gradient/{name}" for name in terms] + [f"cosine/{name}" for name in others]
        targets = ("targets/entropy", "targets/classes", "labels/classes") if self.method.watch_every else ()
        return (*(gradients if self.gradients_every else ()), *targets)

    def read(self, step: int, terms: dict[str, Tensor], weights: dict[str, float], labels: Tensor) -> dict[str, float]:
        """This step's values by column; empty on most steps. `labels` int64 [L, H, W] are the labeled pictures'."""
        values = {}
        if self.gradients_every and step % self.gradients_every == 0:
            parameters = [p for p in self.method.student.parameters() if p.requires_grad]
            values |= gradient_terms(terms, weights, parameters)
        counts = self.method.take_target_counts()
        if counts is not None:
            values |= self._targets(counts, label_counts(labels, len(self.class_names)))
            if self.alarms is not None:
                self.alarms.targets(step, values["targets/classes"], values["labels/classes"])
        return values

    def _targets(self, counts: Tensor, labels: Tensor) -> dict[str, float]:
        *histogram, entropy = sum_over_ranks(counts).tolist()
        pixels = max(sum(histogram), 1.0)
        shares = {f"targets/share/{n}": c / pixels for n, c in zip(self.class_names, histogram, strict=True)}
        return {
            "targets/entropy": entropy / pixels,
            "targets/classes": effective_classes(histogram),
            "labels/classes": effective_classes(sum_over_ranks(labels).tolist()),
        } | shares


def label_counts(labels: Tensor, num_classes: int) -> Tensor:
    """How many pixels each class has, int64 [C]; ignored ones are not counted."""
    return torch.stack([(labels == index).sum() for index in range(num_classes)])


def gradient_terms(
    terms: dict[str, Tensor], weights: dict[str, float], parameters: Sequence[nn.Parameter]
) -> dict[str, float | None]:
    """`gradient/<term>`: the norm of each weighted term's gradient; `cosine/<term>`: its cosine with the supervised.

    The gradients are those of all ranks together. A cosine with a gradient of zeros is None. The graph stays for the
    step's own backward pass, and no `.grad` is touched.
    """
    present = [name for name in weights if name in terms]
    values: dict[str, float | None] = {}
    supervised = None
    for name in sorted(present, key=lambda name: name != SUPERVISED):
        gradient = weighted_gradient(weights[name] * terms[name], parameters)
        norm = gradient.norm()
        values[f"gradient/{name}"] = float(norm)
        if name == SUPERVISED:
            supervised = gradient
        elif supervised is not None:
            product = float(norm * supervised.norm())
            values[f"cosine/{name}"] = float(gradient @ supervised) / product if product > 0 else None
    return values


def weighted_gradient(term: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """The gradient of one term by all parameters as one vector, its mean over the ranks; in float32 at least."""
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    flat = torch.cat([g.flatten().to(torch.promote_types(g.dtype, torch.float32)) for g in gradients])
    return sum_over_ranks(flat) / world_size()
