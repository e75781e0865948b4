"""The optimizer and its state as plain tensors, ready for a checkpoint without pickle."""

import torch
from torch import Tensor, nn


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
        return torch.optim.AdamW(groups, lr=train.learning_rate, betas=(train.momentum, 0.999), fused=True)
    return torch.optim.SGD(groups, lr=train.learning_rate, momentum=train.momentum, fused=True)


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
