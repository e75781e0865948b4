"""One training as the loop sees it, and how it is put together: data, networks, optimizer, run folder."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import nn

from scl_core import distributed
from scl_core.allocator import keep_freed_memory
from scl_core.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, sweep
from scl_core.config import RunConfig, flatten, to_dict
from scl_core.data.leaks import leak_words
from scl_core.data.memory import memory_words, resident_words
from scl_core.data.sources import DataSource, open_data
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.methods import Method
from scl_core.methods.structure import open_structured_teacher
from scl_core.models.passes import Passes
from scl_core.progress import Progress
from scl_core.restore import build_method, fill, refuse_other_method
from scl_core.runs import RunFolder, describe_environment
from scl_core.training.alarms import Alarms
from scl_core.training.compiling import compiling_told, refuse_compiling
from scl_core.training.gauges import Gauges
from scl_core.training.memory import fitting_forecast
from scl_core.training.optimizer import build_optimizer, load_optimizer_tensors
from scl_core.training.plan import Plan
from scl_core.training.recorder import Recorder
from scl_core.training.small_steps import steps_on_labels
from scl_core.training.step_time import threads_of
from scl_core.training.stopping import StopRequest

SHOWN_LISTS = ("labeled", "unlabeled", "val", "test")


@dataclass
class Session:
    """All that one training holds; built by `prepare`, used by the loop."""

    config: RunConfig
    world: World
    run: RunFolder
    source: DataSource
    method: Method
    model: nn.Module
    optimizer: torch.optim.Optimizer
    recorder: Recorder
    progress: Progress
    gauges: Gauges
    alarms: Alarms | None  # rank 0's
    passes: Passes
    first_step: int
    stop: StopRequest = field(default_factory=StopRequest)

    def beat(self) -> None:
        """A sign of life in work that takes no steps."""
        if self.world.is_main:
            self.run.beat()

    def lost(self, reason: str) -> None:
        """Another rank or the launcher is gone: leave word in the folder before this rank leaves too."""
        self.run.set_status("failed", reason=reason)
        self.progress.write_log(f"failed: {reason}")

    def failed(self, fault: BaseException) -> None:
        """The last word of a training that could not go on, in the status and at the end of the log."""
        if self.world.is_main:
            reason = f"{type(fault).__name__}: {fault}"
            self.run.set_status("failed", reason=reason)
            self.progress.write_log(f"failed: {reason}")


def prepare(plan: Plan, world: World, stack: ExitStack) -> Session:
    """Data, networks, optimizer and run folder; a user's mistake shows before the folder is made."""
    config = plan.config
    set_up_torch(config, world)
    refuse_compiling(config, world)
    passes = passes_of(config.train, world.device)
    source = open_data(config.data)
    plan.check_lists(source, world.size)
    cached, resident = memory_words(source), resident_words(source, config.data, world.device)
    method = build_method(config, len(source.class_names))
    open_structured_teacher(config.method)
    memory = fitting_forecast(method, config, source, world)
    method = distributed.convert_batch_norm(method.to(world.device), world.device)
    method.read_labeled(source.pictures("labeled"))
    run = open_run(plan, world, source, stack)
    stored = load_last(run, method) if plan.resumed else None
    model = distributed.wrap(method, world.device, config.train.shard)
    optimizer = build_optimizer(method, config.train)
    if stored is not None:
        load_optimizer_tensors(optimizer, stored.tensors["optimizer"])
    first_step = 1 + (stored.step if stored is not None else 0)
    if world.is_main:
        run.begin(first_step - 1, config.train.steps)
    progress = Progress(config.train.steps, first_step - 1, run.path / "log.txt", quiet=not world.is_main)
    progress.say(f"{run.path}: {config.method.name} on {source.name} ({sizes(source)}), {world.device}; Ctrl-C saves")
    progress.say(cached)
    if resident is not None:
        progress.say(resident)
    if world.is_main and (leak := leak_words(source)):
        progress.say(leak)
    if memory is not None:
        progress.say(f"memory of a step: {memory}")
    if config.train.shard:
        progress.say(sharding_words(world.size))
    if config.train.compile:
        stack.enter_context(compiling_told(progress))
    images = config.train.batch_labeled + (config.train.batch_unlabeled if method.num_strong else 0)
    recorder = Recorder(run, progress, config.train.log_every, images, world.is_main)
    alarms = Alarms(run, progress, config.train.steps, unlabeled_from(method)) if world.is_main else None
    gauges = Gauges(method, config.train, source.class_names, alarms)
    return Session(
        config, world, run, source, method, model, optimizer, recorder, progress, gauges, alarms, passes, first_step
    )


def sharding_words(processes: int) -> str:
    """What `train.shard` does here."""
    if processes == 1:
        return "train.shard: one process holds everything, as without it"
    return f"train.shard: weights, gradients and optimizer are split among {processes} processes"


def unlabeled_from(method: Method) -> int:
    """The first step with an unlabeled part; after the last where the method has none."""
    return steps_on_labels(method) + 1


def sizes(source: DataSource) -> str:
    """How many pictures each list has."""
    return ", ".join(f"{len(source.lists[name])} {name}" for name in SHOWN_LISTS if name in source.lists)


def set_up_torch(config: RunConfig, world: World) -> None:
    """Threads, determinism and the seed of the first weights."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    keep_freed_memory()
    torch.set_num_threads(threads_of(config.train, ranks_here))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's deterministic products ask for
    # the same as use_deterministic_algorithms(..., warn_only=True), which also imports the compiler: seconds
    torch.set_deterministic_debug_mode("warn" if config.train.deterministic else "default")
    distributed.require_same("settings", to_dict(config))
    torch.manual_seed(config.seed)


def passes_of(train, device: torch.device) -> Passes:
    """How the networks compute while they train, by the settings `train` (a `TrainConfig`) and on this device.

    Raises `UserError` for bf16 on a GPU that has none.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if train.precision == "bf16" and not has_bf16:
        raise UserError(f"train.precision bf16: {torch.cuda.get_device_name(device)} has none: use float32 or auto")
    takes_bf16 = train.precision == "bf16" or (train.precision == "auto" and device.type == "cuda" and has_bf16)
    return Passes(torch.bfloat16 if takes_bf16 else None, train.accumulate, train.compile)


def open_run(plan: Plan, world: World, source: DataSource, stack: ExitStack) -> RunFolder:
    """Make the run folder, or open the one to go on with; rank 0 holds its lock until `stack` ends."""
    run_dir = distributed.from_main(str(plan.run_dir))
    distributed.require_same("lists", source.list_hash)
    mistake = None
    if world.is_main:
        try:
            write_opening(plan, run_dir, world, source, stack)
        except UserError as error:
            mistake = str(error)
    mistake = distributed.from_main(mistake)
    if mistake:
        raise UserError(mistake)
    return RunFolder(run_dir)


def write_opening(plan: Plan, run_dir: str, world: World, source: DataSource, stack: ExitStack) -> None:
    """Rank 0's part: lock the folder and write settings, environment and lists into it."""
    run = RunFolder.open(run_dir) if plan.resumed else RunFolder.create(run_dir)
    stack.enter_context(run.lock())
    if plan.resumed and run.resolved() != source.resolved_text():
        raise UserError(f"{run_dir}: the data lists differ from those of resolved.txt, so this is another run")
    sweep(run.path)
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else world.device.type
    environment = describe_environment(threads=torch.get_num_threads(), world_size=world.size, device=device)
    if plan.resumed:
        tell_differences(run.environment(), environment)
    run.write_start(to_dict(plan.config), environment, source.resolved_text())


def tell_differences(before: dict, now: dict) -> None:
    """Say what makes a resumed run no longer bitwise the uninterrupted one."""
    flat_before, flat_now = flatten(before), flatten(now)
    names = ("packages.torch", "threads", "world_size", "device", "machine")
    changed = [f"{n} {flat_before.get(n)} -> {flat_now.get(n)}" for n in names if flat_before.get(n) != flat_now.get(n)]
    if changed:
        print(f"resumed, but not bitwise the run that never stopped: {', '.join(changed)}", flush=True)


def load_last(run: RunFolder, method: Method) -> Checkpoint | None:
    """Put the last whole checkpoint's networks back; returns it, None where a run ended before its first one."""
    if not run.checkpoints():
        return None
    stored = read_checkpoint(find_checkpoint(run.path, "last"))
    refuse_other_method(stored, method.config.name)
    fill(method, stored)
    method.go_on()
    return stored
