"""How networks compute while they train: in which precision, and how many pictures at once. Methods need not know.

The effective batch is cut where a network is called, and nowhere else. A pass over B pictures takes every k-th picture
at a time, keeps the outputs alone, and computes each part again when its gradient comes. The losses see the outputs of
all B pictures, so every denominator, hard pixel and prototype is that of the whole effective batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Passes:
    """`dtype` of the networks' products (None: as the weights are); `micro_batches` that a pass is cut into;

    `compiled`: by torch's compiler, at the first pass of each kind (pictures' shape, with or without gradient).
    """

    dtype: torch.dtype | None = None
    micro_batches: int = 1
    compiled: bool = False


PLAIN = Passes()
_current = PLAIN


@contextmanager
def computing(passes: Passes) -> Iterator[None]:
    """Let every network compute so while inside."""
    global _current
    before, _current = _current, passes
    try:
        yield
    finally:
        _current = before


def network_pass(method: Callable) -> Callable:
    """Mark a network's way from pictures or maps to outputs; those that it calls itself are part of it.

    Tensors among its arguments have the batch as first dimension; it returns a (named) tuple of such tensors.
    """

    @wraps(method)
    def run(network: nn.Module, *inputs: Any) -> tuple:
        if _current == PLAIN:
            return method(network, *inputs)
        call = Call(network, method, _current)
        tensors = [item for item in inputs if isinstance(item, Tensor)]
        if _current.micro_batches == 1:
            return call(*inputs)
        if not torch.is_grad_enabled():
            return joined([call(*part) for part in parts(inputs, _current.micro_batches)])
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        outputs = _Recomputed.apply(call, inputs, len(tensors), *tensors, *parameters)
        return call.named(outputs)

    return run


class Call:
    """One pass of `method` over part of a batch, always in the same precision; its outputs are in float32 at least."""

    def __init__(self, network: nn.Module, method: Callable, passes: Passes):
        self.network, self.method, self.passes = network, method, passes
        self.kind: type = tuple

    def __call__(self, *inputs: Any) -> tuple:
        device = next(item.device for item in inputs if isinstance(item, Tensor))
        dtype = self.passes.dtype
        autocast = torch.autocast(device.type, dtype) if dtype is not None else nullcontext()
        with computing(PLAIN), autocast:
            method = compiled(self.method) if self.passes.compiled else self.method
            outputs = method(self.network, *inputs)
        self.kind = type(outputs)
        return self.named([output.to(torch.promote_types(output.dtype, torch.float32)) for output in outputs])

    def named(self, outputs: Any) -> tuple:
        """The outputs as the network returns them."""
        return tuple(outputs) if self.kind is tuple else self.kind(*outputs)


@cache
def compiled(method: Callable) -> Callable:
    """The pass by torch's compiler, for all networks of the class; what it cannot compile runs as it is."""
    return torch.compile(method, dynamic=False)


class _Recomputed(torch.autograd.Function):
    """A pass in micro batches; arguments after `count` are the input tensors, then the parameters, for autograd."""

    @staticmethod
    def forward(ctx, call: Call, inputs: tuple, count: int, *tensors: Tensor):
        ctx.call, ctx.count, ctx.draws = call, count, []
        ctx.inputs = [None if isinstance(item, Tensor) else item for item in inputs]
        ctx.save_for_backward(*tensors[:count])
        ctx.set_materialize_grads(False)
        done = []
        for part in parts(inputs, call.passes.micro_batches):
            ctx.draws.append(draw_state(tensors[0].device))
            done.append(call(*part))
        return tuple(joined(done))

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor | None):
        """Each part again, now with its graph."""
        network = ctx.call.network
        if all(gradient is None for gradient in gradients):
            return (None,) * len(ctx.needs_input_grad)
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        of_inputs: list[list[Tensor]] = []
        of_parameters: list[Tensor | None] = [None] * len(parameters)
        with buffers_kept(network):
            for number in range(len(ctx.draws)):
                first, second = part_gradients(ctx, number, gradients, parameters)
                of_inputs.append(first)
                of_parameters = [added(before, new) for before, new in zip(of_parameters, second, strict=True)]
        whole = iter(joined(of_inputs))
        wanted = ctx.needs_input_grad[3 : 3 + ctx.count]
        return None, None, None, *(next(whole) if needed else None for needed in wanted), *of_parameters


def part_gradients(
    ctx, number: int, gradients: Sequence[Tensor | None], parameters: list[nn.Parameter]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Compute micro batch `number` again: the gradients of its input tensors that need one, and of the parameters."""
    step = len(ctx.draws)
    leaves = [
        tensor[number::step].detach().requires_grad_(needed)
        for tensor, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[3:], strict=False)
    ]
    given = iter(leaves)
    with torch.enable_grad(), drawing(ctx.draws[number], leaves[0].device):
        outputs = ctx.call(*(next(given) if item is None else item for item in ctx.inputs))
    reached = [
        (output, gradient[number::step])
        for output, gradient in zip(outputs, gradients, strict=True)
        if gradient is not None and output.requires_grad
    ]
    inputs = [leaf for leaf in leaves if leaf.requires_grad]
    roots, grads = zip(*reached, strict=True)
    found = torch.autograd.grad(roots, [*inputs, *parameters], grads, allow_unused=True)
    of_inputs = [torch.zeros_like(leaf) if new is None else new for leaf, new in zip(inputs, found, strict=False)]
    return of_inputs, list(found[len(inputs) :])


@contextmanager
def buffers_kept(network: nn.Module) -> Iterator[None]:
    """What a network counts while inside, such as running statistics, is undone: the first pass has counted it."""
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)


def parts(inputs: tuple, number: int) -> list[list[Any]]:
    """The arguments of each micro batch: every `number`-th picture, so that each has its share of any group."""
    batch = next(len(item) for item in inputs if isinstance(item, Tensor))
    number = min(number, batch)
    return [[item[k::number] if isinstance(item, Tensor) else item for item in inputs] for k in range(number)]


def joined(pieces: list) -> tuple:
    """The outputs of the micro batches as those of the whole batch, in its order."""
    kind, whole = type(pieces[0]), []
    for same in zip(*pieces, strict=True):
        out = same[0].new_empty(sum(map(len, same)), *same[0].shape[1:])
        for number, piece in enumerate(same):
            out[number :: len(same)] = piece
        whole.append(out)
    return kind(whole) if kind in (tuple, list) else kind(*whole)


def added(before: Tensor | None, new: Tensor | None) -> Tensor | None:
    """The sum of two gradients, where None is zero."""
    if before is None or new is None:
        return new if before is None else before
    return before.add_(new)


def draw_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The state of torch's global generators: the host's, and a GPU's."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def drawing(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw again from `state` while inside, as dropout did in the first pass."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
