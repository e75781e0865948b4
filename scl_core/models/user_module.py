"""A segmentation network of the user's own, named `module:callable`, made to answer like the ones built here."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable

from torch import Tensor, nn

from scl_core.errors import UserError
from scl_core.models.deeplabv3plus import SegmenterOutput
from scl_core.models.layers import resize
from scl_core.models.passes import network_pass


class UserSegmenter(nn.Module):
    """Holds the user's `network`; checks its answer and returns it at the input's size, as `SegmenterOutput`."""

    def __init__(self, name: str, network: nn.Module, num_classes: int):
        super().__init__()
        self.name, self.num_classes = name, num_classes
        self.network = network

    @network_pass
    def forward(self, images: Tensor) -> SegmenterOutput:
        """images [B, 3, H, W] -> logits [B, C, H, W]; features as the network gives them, else its own logits.

        Raises `UserError` when the network answers with no logits or with another number of channels.
        """
        answer = self.network(images)
        logits = find_logits(answer)
        if logits is None:
            raise UserError(
                f"model.encoder {self.name}: the network returned {type(answer).__name__}: return logits [B, C, H, W], "
                "an object with .logits, or a dict with 'logits' or 'out'"
            )
        if logits.dim() != 4 or logits.shape[:2] != (len(images), self.num_classes):
            raise UserError(
                f"model.encoder {self.name}: the network returned logits of shape {list(logits.shape)}, but "
                f"{len(images)} pictures of {self.num_classes} classes need "
                f"[{len(images)}, {self.num_classes}, height, width]"
            )
        features = look_up(answer, "features")
        return SegmenterOutput(resize(logits, images.shape[-2:]), features if isinstance(features, Tensor) else logits)


def find_logits(answer: object) -> Tensor | None:
    """The logits in any of the forms that segmentation networks return."""
    candidates = (answer, look_up(answer, "logits"), look_up(answer, "out"))
    return next((item for item in candidates if isinstance(item, Tensor)), None)


def look_up(answer: object, name: str) -> object:
    """An entry of the answer of a user's network: a key of a mapping, or an attribute; None without it."""
    return answer.get(name) if isinstance(answer, dict) else getattr(answer, name, None)


def load_user_segmenter(name: str, num_classes: int) -> UserSegmenter:
    """Import `module:callable` (the working directory counts) and call it with the number of classes.

    Raises `UserError` when module or callable is missing or fails, or when what it returns is not an `nn.Module`.
    """
    factory = find_callable(name)
    try:
        network = call_with_classes(factory, num_classes)
    except Exception as error:
        raise UserError(f"model.encoder {name}: calling it failed: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"model.encoder {name}: it returned {type(network).__name__}, and not a torch.nn.Module")
    return UserSegmenter(name, network, num_classes)


def find_callable(name: str) -> Callable:
    """Import `module:callable`. Raises `UserError` for a module or name that is not there."""
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        where = f"looked in {os.getcwd()} and the installed packages"
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"model.encoder {name}: cannot import {module_name!r}: {reason} ({where})") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise UserError(f"model.encoder {name}: {module.__name__} has no callable {attribute!r}")
    return found


def call_with_classes(factory: Callable, num_classes: int) -> object:
    """Give the number of classes by name where the callable takes it so, else as its one argument."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return factory(num_classes)
    takes_any_name = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    by_name = "num_classes" in parameters or takes_any_name
    return factory(num_classes=num_classes) if by_name else factory(num_classes)
