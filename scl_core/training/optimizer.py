"""The optimizer and its state as plain tensors, ready for a checkpoint without pickle."""

from inspect import unwrap

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class WithoutCompiler:
    """Torch's wrappers keep its compiler out of an optimizer, and import it to do so: more than a second of a start.

    The methods under the wrappers are the same; nothing here is ever compiled.
    """

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class SGD(WithoutCompiler, torch.optim.SGD):
    """`torch.optim.SGD`."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class AdamW(WithoutCompiler, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


def build_optimizer(module: nn.Module, train) -> torch.optim.Optimizer:
    """SGD or AdamW over the trainable parameters; biases and normalisations have no weight decay by default.

    `train` is a `TrainConfig`.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": train.weight_decay},
        {
            "params": [p for p in trainable if p.ndim <= 1],
            "weight_decay": train.weight_decay if train.decay_all else 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if train.optimizer == "adamw":
        return AdamW(groups, lr=train.learning_rate, betas=(train.momentum, 0.999), fused=True)
    return SGD(groups, lr=train.learning_rate, momentum=train.momentum, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as `{"<index of the parameter>.<name>": tensor}`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entry in state.items()
        for name, value in entry.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The same learning rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = value
