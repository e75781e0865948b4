"""`train.compile`: where torch's compiler can work, and how long it has worked."""

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scl_core.config import RunConfig
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.progress import Progress

CPP_COMPILERS = ("g++", "clang++", "c++")


def refuse_compiling(config: RunConfig, world: World) -> None:
    """Raise `UserError` where `train.compile` is asked for and cannot be."""
    if config.train.compile and (reason := obstacle(config, world)):
        raise UserError(f"train.compile: {reason}, or set it to false")


def obstacle(config: RunConfig, world: World) -> str | None:
    """What keeps torch's compiler from this training, and what to do; None where nothing does."""
    if world.size > 1:
        return "the networks are compiled in a single process alone: use one process"
    if config.model.checkpoint_activations:
        return "blocks that are computed again are not compiled: set model.checkpoint_activations to false"
    if world.device.type == "mps":
        return "Apple's GPU is not supported: use device cpu"
    if world.device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "torch compiles for a GPU with triton: install it"
    if not any(map(shutil.which, [os.environ.get("CXX", CPP_COMPILERS[0]), *CPP_COMPILERS])):
        return f"this machine has no C++ compiler ({', '.join(CPP_COMPILERS)}): install one"
    return None


@contextmanager
def compiling_told(progress: Progress) -> Iterator[None]:
    """Say before the first step that it will take long, and each time that something was compiled, how long it took."""
    from torch._dynamo.callback import callback_handler  # here, because importing the compiler takes a second

    began: list[float] = []
    spent: list[float] = []

    def start(*about) -> None:
        began.append(time.perf_counter())

    def end(*about) -> None:
        spent.append(time.perf_counter() - began.pop())
        progress.say(f"train.compile: {spent[-1]:.1f} s of compiling, {sum(spent):.1f} s so far")

    progress.say("train.compile: the first step, and the first of each new kind of pass, wait for the compiler")
    callback_handler.register_start_callback(start)
    callback_handler.register_end_callback(end)
    try:
        yield
    finally:
        callback_handler.remove_start_callback(start)
        callback_handler.remove_end_callback(end)
