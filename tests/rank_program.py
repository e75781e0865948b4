"""Run by tests/test_two_processes.py on one rank or two: one real step of each method, its loss and gradients."""

import sys
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file

from scl_core import distributed
from scl_core.config import load_config
from scl_core.data.loaders import training_loader
from scl_core.data.sources import open_data
from scl_core.methods import METHODS, StepDraws, base, scl
from scl_core.methods.parts import partner_of
from scl_core.restore import build_method
from scl_core.sharding import gathered, gradient_norm
from scl_core.train import weighted_sum
from scl_core.training.optimizer import build_optimizer
from tests.methods.foreign import FOREIGN
from tests.tiny import tiny_settings

BATCH = {"train__batch_labeled": 4, "train__batch_unlabeled": 4}
VOID = BATCH | {"augment__scale_min": 0.3, "augment__scale_max": 0.9}
PADDED = tiny_settings(method__num_boxes=4, method__relaxation_window=3, **VOID)
LARGER = tiny_settings(data__height=96, data__width=128, method__num_boxes=4, **BATCH)

EARLY = {  # prototypes in the first step, by rank 0; what is dropped does not depend on the ranks
    "pcr": {"method.start": 0, "method.start_pixels_per_picture": 100, "method.drop_percent": 50},
    "rc2l": {"method.decoder_dropout": 0.2},
    "mean_teacher": {"method.teacher_bn": "own"},
}

SPLIT = ("scl", "unimatch", "cps", "pcr", "rc2l_pp", "rc2l")  # each reaches its networks in another way

STRUCTURED = {
    "whole": {"method.structured_region": "whole"},
    "random": {"method.structured_region": "random"},
    "pixel_cosine": {"method.structured_form": "pixel_cosine"},
    "batch": {"method.structured_region": "batch"},
    "window": {"method.structured_region": "window", "method.structured_radius": 2},
    "weighted": {"method.structured_pair_weights": "class_area", "method.structured_centred": "true"},
    "logits": {"method.structured_on": "logits"},
    "features": {"method.structured_on": "features", "method.structured_region": "random"},
    "foreign": {"method.structured_teacher": FOREIGN},
    "foreign-batch": {
        "method.structured_teacher": FOREIGN,
        "method.structured_on": "features",
        "method.structured_region": "batch",
    },
}


def mean_of_this_rank(total, count):
    """What a naive trainer does: each rank divides by its own count."""
    return total / count.clamp(min=1)


def one_step(world, dtype, settings, split=False) -> dict[str, torch.Tensor]:
    """Loss terms and gradients of the first step, averaged over ranks as training does."""
    config = load_config([], settings)
    source = open_data(config.data)
    torch.manual_seed(0)
    method = distributed.convert_batch_norm(build_method(config, len(source.class_names)), world.device).to(dtype)
    method.read_labeled(source.pictures("labeled"))
    model = distributed.wrap(method, world.device, split)
    strong = method.num_strong
    loader = training_loader(
        source, config.data, config.augment, config.train, 0, world, 1, strong > 0, strong, partner_of(config.method)
    )
    batch = next(iter(loader))._each(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
    terms = model(batch, StepDraws(0, 1))
    weighted_sum(terms, dict.fromkeys(terms, 1.0)).backward()
    values = {f"loss.{k}": torch.tensor(v, dtype=torch.float64) for k, v in distributed.mean_over_ranks(terms).items()}
    gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    values["norm"] = gradient_norm(model)
    return values | {f"grad.{name}": gathered(gradient, keep=True) for name, gradient in gradients.items()}


def several_steps(world, optimizer, split) -> dict[str, torch.Tensor]:
    """How far each parameter of student and teacher has moved in three steps of rc2l in float64."""
    few = {"method__num_queries": 12, "method__decoder_layers": 2, "method__name": "rc2l"}
    config = load_config([], tiny_settings(train__optimizer=optimizer, train__learning_rate=0.001, **few, **VOID))
    source = open_data(config.data)
    torch.manual_seed(0)
    method = distributed.convert_batch_norm(build_method(config, len(source.class_names)), world.device).double()
    model = distributed.wrap(method, world.device, split)
    optimizer = build_optimizer(method, config.train)
    began = {name: gathered(p.detach(), keep=True).clone() for name, p in method.named_parameters()}
    loader = training_loader(source, config.data, config.augment, config.train, 0, world, 1, True, method.num_strong)
    for step, batch in enumerate(islice(loader, 3), start=1):
        optimizer.zero_grad(set_to_none=True)
        terms = model(
            batch._each(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor), StepDraws(0, step)
        )
        weighted_sum(terms, dict.fromkeys(terms, 1.0)).backward()
        optimizer.step()
        method.after_step(step)
    return {name: gathered(p.detach(), keep=True) - began[name] for name, p in method.named_parameters()}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    world = distributed.start("cpu")
    results = {"float64": one_step(world, torch.float64, PADDED), "float32": one_step(world, torch.float32, LARGER)}
    for name in METHODS:
        settings = tiny_settings(method__name=name, **VOID) | EARLY.get(name, {})
        results[f"method-{name}"] = one_step(world, torch.float64, settings)
        if name in SPLIT:
            results[f"split-{name}"] = one_step(world, torch.float64, settings, split=True)
    if world.size == 2:
        for optimizer in ("sgd", "adamw"):
            for split in (False, True):
                results[f"{optimizer}-{'split' if split else 'whole'}"] = several_steps(world, optimizer, split)
    for name, settings in STRUCTURED.items():
        results[f"structured-{name}"] = one_step(world, torch.float64, PADDED | settings)
    for module in (base, scl):
        module.global_mean = mean_of_this_rank
    results["naive"] = one_step(world, torch.float64, PADDED)
    if world.is_main:
        for name, tensors in results.items():
            save_file(
                {key: value.contiguous() for key, value in tensors.items()}, out / f"{name}-{world.size}.safetensors"
            )
    distributed.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
