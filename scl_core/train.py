"""Train a segmentation network:  python -m scl_core.train --config experiments/scenes/scl.yaml"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scl_core import distributed
from scl_core.checkpoint import find_checkpoint, read_checkpoint, save_checkpoint, sweep, update_best
from scl_core.command_line import print_config, print_settings_help, read_options, run_command, whole_number
from scl_core.config import RunConfig, flatten, to_dict
from scl_core.data.loaders import training_loader
from scl_core.data.sources import DataSource, open_data
from scl_core.distributed import Watchdog, World
from scl_core.errors import Fault, UserError
from scl_core.evaluate import evaluate_network, protocol
from scl_core.inference import predict_classes, save_class_map
from scl_core.methods import Method, StepDraws
from scl_core.progress import Progress
from scl_core.restore import build_method
from scl_core.runs import RunFolder, describe_environment
from scl_core.schedule import poly_learning_rate
from scl_core.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors, set_learning_rate
from scl_core.training.plan import Plan, read_plan
from scl_core.training.ranks import run_ranks
from scl_core.training.recorder import Recorder
from scl_core.training.stopping import StopRequest

USAGE = "python -m scl_core.train [--config FILE]... [--resume RUN_DIR] [--processes K] [--SETTING VALUE]..."
PREVIEWS = 4


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
    first_step: int

    def beat(self) -> None:
        """A sign of life in work that takes no steps."""
        if self.world.is_main:
            self.run.beat()

    def lost(self, reason: str) -> None:
        """Another rank or the launcher is gone: leave word in the folder before this rank leaves too."""
        self.run.set_status("failed", reason=reason)


def main(argv: Sequence[str]) -> int:
    """The command; see `USAGE`."""
    options = read_options(argv, own=("resume", "processes"), flags=("help", "print_config"))
    if "help" in options.own:
        print_settings_help(USAGE, options)
        return 0
    if "print_config" in options.own:
        print_config(options)
        return 0
    if options.words:
        raise UserError(f"{options.words[0]!r} is not an option; usage: {USAGE}")
    plan = read_plan(options)
    processes = whole_number(options, "processes", 1)
    if processes > 1 and "RANK" not in os.environ:
        plan.check(processes)
        return run_ranks(plan.arguments(argv), processes, plan.run_dir)
    return train(plan)


def train(plan: Plan) -> int:
    """Train as planned; returns the exit status. The run folder's status tells how it ended."""
    world = distributed.start(plan.config.device)
    with ExitStack() as stack:
        stack.callback(distributed.stop)
        session = prepare(plan, world, stack)
        stack.enter_context(Watchdog(session.run.path, world.rank, world.size, on_loss=session.lost))
        stop = stack.enter_context(StopRequest())
        try:
            state, step = run_steps(session, stop)
        except BaseException as error:
            if world.is_main:
                session.run.set_status("failed", reason=f"{type(error).__name__}: {error}")
            raise
        if world.is_main:
            session.run.set_status(state, step, steps=plan.config.train.steps)
            session.progress.say(f"{state} at step {step} of {plan.config.train.steps}: {session.run.path}")
    return 0


def run_steps(session: Session, stop: StopRequest) -> tuple[str, int]:
    """The one loop: load, step, record, evaluate, save. Returns the state at the end and the last step."""
    config, method, optimizer = session.config.train, session.method, session.optimizer
    if session.first_step > config.steps:
        session.progress.say(f"all {config.steps} steps are done; --train.steps N goes on to step N")
    columns = ("loss", *method.weights(config.steps), "learning_rate", "seconds", "data_seconds")
    ended = time.perf_counter()
    for step, batch in enumerate(load(session), start=session.first_step):
        loaded = time.perf_counter()
        rate = poly_learning_rate(config.learning_rate, step - 1, config.steps, config.power)
        set_learning_rate(optimizer, rate)
        terms = session.model(batch.to(session.world.device), StepDraws(session.config.seed, step))
        loss = weighted_sum(terms, method.weights(step))
        refuse_non_finite({**terms, "loss": loss.detach()}, step, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        refuse_non_finite({"gradient": gradient_norm(session.model)}, step, batch)
        optimizer.step()
        method.after_step(step)
        now = time.perf_counter()
        timing = {"learning_rate": rate, "seconds": now - ended, "data_seconds": loaded - ended}
        session.recorder.add(step, {"loss": loss, **terms}, timing, columns)
        ended = now
        stopping = distributed.any_rank(bool(stop)) or step == config.stop_at
        if stopping:
            say_stopping(session, step)
        evaluate_and_save(session, step, stopping)
        if stopping and step < config.steps:
            return "stopped", step
    return "finished", config.steps


def say_stopping(session: Session, step: int) -> None:
    """Tell readers that a stop was asked for and the last checkpoint is being written."""
    if session.world.is_main:
        session.run.set_status("stopping", step)


def load(session: Session):
    """The batches from the first step to the last of the schedule."""
    config, method = session.config, session.method
    return training_loader(
        session.source,
        config.data,
        config.augment,
        config.train,
        config.seed,
        session.world,
        session.first_step,
        needs_unlabeled=method.num_strong > 0,
        num_strong=method.num_strong,
    )


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Eq. 1 with eq. 3: the one place where terms are weighed."""
    return sum(weights[name] * term for name, term in terms.items() if name in weights)


def gradient_norm(module: nn.Module) -> Tensor:
    """The Euclidean norm over all gradients."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def refuse_non_finite(values: dict[str, Tensor], step: int, batch) -> None:
    """Stop every rank before a value that is not finite on any of them reaches the weights."""
    bad = [name for name, value in values.items() if not torch.isfinite(value)]
    if not distributed.any_rank(bool(bad)):
        return
    pictures = list(batch.names)
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        pictures += views.names if views is not None else ()
    what = f"{', '.join(bad)} not finite" if bad else "a value of another rank not finite"
    raise Fault(f"step {step}: {what}; the weights are those of step {step - 1}; pictures: {', '.join(pictures)}")


def evaluate_and_save(session: Session, step: int, stopping: bool) -> None:
    """Evaluate and write a checkpoint where the schedule, a stop or a new best score asks for it."""
    config = session.config.train
    last = step == config.steps
    improved = False
    if step % config.evaluate_every == 0 or last:
        session.recorder.flush()
        score, network = evaluate(session, step)
        improved = session.world.is_main and session.run.is_better(score, step)
    if not distributed.any_rank(improved or stopping or last or step % config.checkpoint_every == 0):
        return
    session.recorder.flush()
    if session.world.is_main:
        save(session, step)
        if improved:
            update_best(session.run.path, step, score, network)
    distributed.barrier()


def evaluate(session: Session, step: int) -> tuple[float, str]:
    """Score every network on the validation list; returns the score and name of the one that counts."""
    pictures, scores = session.source.lists["val"], {}
    classes = session.source.class_names
    for name, network in session.method.evaluated.items():
        done = evaluate_network(name, network, pictures, len(classes), session.world, lambda done: session.beat())
        record = done.record(classes, protocol(session.config.data), session.source.list_hash)
        if session.world.is_main:
            session.run.write_evaluation(step, "val", name, record, done.confusions, done.names)
        scores[name] = done.mean_iou
    session.progress.say(f"step {step}, val mIoU: " + ", ".join(f"{name} {100 * v:.2f}" for name, v in scores.items()))
    if session.world.is_main:
        write_previews(session, step)
    counting = next(iter(scores))
    return scores[counting], counting


def write_previews(session: Session, step: int) -> None:
    """The first validation pictures as the network that counts sees them now."""
    network = next(iter(session.method.evaluated.values()))
    pictures = session.source.lists["val"]
    for index in range(min(PREVIEWS, len(pictures))):
        picture = pictures.input(index)
        classes = predict_classes(network, picture, picture.shape[:2], session.world.device)
        name = pictures.names[index].replace("/", "_")
        save_class_map(
            session.run.path / "predictions" / str(step) / f"{name}.png", classes.cpu().numpy(), session.source.palette
        )


def save(session: Session, step: int) -> None:
    """Commit a checkpoint of everything that the next step needs."""
    tensors = session.method.tensors() | {"optimizer": optimizer_tensors(session.optimizer)}
    state = {
        "step": step,
        "method": session.config.method.name,
        "class_names": list(session.source.class_names),
        "palette": session.source.palette.tolist(),
        "list_hash": session.source.list_hash,
    }
    info = {"world_size": session.world.size, "threads": torch.get_num_threads(), "torch": torch.__version__}
    save_checkpoint(session.run.path, step, tensors, state, info, keep_last=session.config.train.keep_checkpoints)


def prepare(plan: Plan, world: World, stack: ExitStack) -> Session:
    """Data, networks, optimizer and run folder; a user's mistake shows before the folder is made."""
    config = plan.config
    set_up_torch(config, world)
    source = open_data(config.data)
    plan.check_lists(source, world.size)
    method = build_method(config, len(source.class_names)).to(world.device)
    method = distributed.convert_batch_norm(method, world.device)
    optimizer = build_optimizer(method, config.train)
    run = open_run(plan, world, source, stack)
    first_step = 1 + (load_last(run, method, optimizer) if plan.resumed else 0)
    if world.is_main:
        run.begin(first_step - 1, config.train.steps)
    progress = Progress(config.train.steps, first_step - 1, run.path / "log.txt", quiet=not world.is_main)
    images = config.train.batch_labeled + (config.train.batch_unlabeled if method.num_strong else 0)
    recorder = Recorder(run, progress, config.train.log_every, images, world.is_main)
    model = distributed.wrap(method, world.device)
    return Session(config, world, run, source, method, model, optimizer, recorder, progress, first_step)


def set_up_torch(config: RunConfig, world: World) -> None:
    """Threads, determinism and the seed of the first weights."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(config.train.threads or max(1, usable_cores() // ranks_here))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's deterministic products ask for
    torch.use_deterministic_algorithms(config.train.deterministic, warn_only=True)
    distributed.require_same("settings", to_dict(config))
    torch.manual_seed(config.seed)


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_run(plan: Plan, world: World, source: DataSource, stack: ExitStack) -> RunFolder:
    """Make the run folder, or open the one to go on with; rank 0 holds its lock until `stack` ends."""
    run_dir = distributed.from_main(str(plan.run_dir))
    distributed.require_same("lists", source.list_hash)
    if not world.is_main:
        distributed.barrier()
        return RunFolder(run_dir)
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
    distributed.barrier()
    return run


def tell_differences(before: dict, now: dict) -> None:
    """Say what makes a resumed run no longer bitwise the uninterrupted one."""
    flat_before, flat_now = flatten(before), flatten(now)
    names = ("packages.torch", "threads", "world_size", "device", "machine")
    changed = [f"{n} {flat_before.get(n)} -> {flat_now.get(n)}" for n in names if flat_before.get(n) != flat_now.get(n)]
    if changed:
        print(f"resumed, but not bitwise the run that never stopped: {', '.join(changed)}", flush=True)


def load_last(run: RunFolder, method: Method, optimizer: torch.optim.Optimizer) -> int:
    """Put back the last whole checkpoint; returns its step."""
    stored = read_checkpoint(find_checkpoint(run.path, "last"))
    method.load_tensors(stored.tensors, stored.step)
    load_optimizer_tensors(optimizer, stored.tensors["optimizer"])
    return stored.step


if __name__ == "__main__":
    sys.exit(run_command(main))
