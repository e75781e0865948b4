"""The optimizer and its state as plain tensors, ready for a checkpoint without pickle."""

from inspect import unwrap

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scl_core.errors import UserError
from scl_core.models.twin import ENCODER_NAMES
from scl_core.sharding import is_split, own_part, split_like

TINY = 1e-6  # as in `torch.nn.utils.clip_grad_norm_`
SHARE = "share"  # of a group: its learning rate as a share of the step's


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

    `train` is a `TrainConfig`. With an `encoder_rate` other than 1 the encoders' parameters are groups of their own.
    Raises `UserError` where that is asked of a network without an encoder's name.
    """
    trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if train.encoder_rate == 1.0:
        groups = decayed_and_not(list(trainable.values()), train)
    else:
        of_encoder = [parameter for name, parameter in trainable.items() if is_encoders(name)]
        others = [parameter for name, parameter in trainable.items() if not is_encoders(name)]
        if not of_encoder:
            raise UserError(
                f"train.encoder_rate {train.encoder_rate} is for a part named {' or '.join(ENCODER_NAMES)}, which the "
                "network of model.encoder has not: name its part so, or set train.encoder_rate to 1"
            )
        slow = [group | {SHARE: train.encoder_rate} for group in decayed_and_not(of_encoder, train)]
        groups = [*slow, *decayed_and_not(others, train)]
    fused = not any(map(is_split, trainable.values()))  # split tensors have no fused kernels
    if train.optimizer == "adamw":
        optimizer = AdamW(groups, lr=train.learning_rate, betas=(train.momentum, 0.999), fused=fused)
    else:
        optimizer = SGD(groups, lr=train.learning_rate, momentum=train.momentum, fused=fused)
    set_learning_rate(optimizer, train.learning_rate)
    return optimizer


def is_encoders(name: str) -> bool:
    """Whether a parameter of this dotted name belongs to an encoder."""
    return any(part in ENCODER_NAMES for part in name.split("."))


def decayed_and_not(parameters: list[nn.Parameter], train) -> list[dict]:
    """The groups of those with the weight decay of the settings, and of biases and normalisations; none is empty."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": train.weight_decay},
        {
            "params": [p for p in parameters if p.ndim <= 1],
            "weight_decay": train.weight_decay if train.decay_all else 0.0,
        },
    ]
    return [group for group in groups if group["params"]]


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
    """Put back what `optimizer_tensors` gave, as one process alone would have it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = split_like(tensor, parameters[int(index)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The learning rate of every group: `value`, or the group's share of it."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get(SHARE, 1.0)


def limit_gradients(optimizer: torch.optim.Optimizer, norm: Tensor, most: float | None) -> None:
    """Scale all gradients so that their Euclidean norm, which is `norm` now, is `most` at most; None leaves them."""
    if most is None:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = [own_part(parameter.grad) for parameter in parameters if parameter.grad is not None]
    torch._foreach_mul_(gradients, (most / (norm + TINY)).clamp(max=1.0))
