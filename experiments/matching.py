"""How large the unlabeled part of a step's gradient is: what makes two arms of a study pull equally hard."""

from collections.abc import Mapping

import torch

from scl_core.config import RunConfig, load_config
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.distributed import World
from scl_core.methods import StepDraws
from scl_core.methods.parts import partner_of
from scl_core.restore import build_method

BATCHES = 8


def gradient_ratio(first: Mapping[str, object], second: Mapping[str, object], batches: int = BATCHES) -> float:
    """Norm of the weighted unlabeled gradient under settings `first` over that under `second`, both at full weights."""
    norms = [unlabeled_gradient(load_config((), dict(settings)), batches) for settings in (first, second)]
    return norms[0] / norms[1]


def unlabeled_gradient(config: RunConfig, batches: int) -> float:
    """Mean over the last `batches` steps of the schedule of the gradient's norm, at the first weights."""
    torch.manual_seed(config.seed)
    source = open_data(config.data)
    method = build_method(config, len(source.class_names)).train()
    first = max(1, config.train.steps - batches + 1)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    loader = training_loader(
        source,
        config.data,
        config.augment,
        config.train,
        config.seed,
        world,
        first,
        True,
        method.num_strong,
        partner_of(config.method),
    )
    norms = []
    for step, batch in enumerate(loader, start=first):
        terms, weights = method(batch, StepDraws(config.seed, step)), method.weights(step)
        unlabeled = sum(weights[name] * term for name, term in terms.items() if name != "supervised")
        gradients = torch.autograd.grad(unlabeled, list(method.student.parameters()), allow_unused=True)
        norms.append(torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None]))
    return torch.stack(norms).mean().item()
