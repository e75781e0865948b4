"""Train a segmentation network:  python -m scl_core.train --config experiments/scenes/scl.yaml"""

import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from scl_core import distributed
from scl_core.command_line import Options, print_config, print_settings_help, read_options, run_command, whole_number
from scl_core.data.loaders import training_loader
from scl_core.distributed import Watchdog, mean_over_ranks
from scl_core.errors import Fault, UserError
from scl_core.methods import StepDraws
from scl_core.methods.parts import partner_of
from scl_core.models.passes import computing
from scl_core.runs import RunFolder
from scl_core.schedule import poly_learning_rate
from scl_core.seeding import generator_for
from scl_core.sharding import gradient_norm
from scl_core.training.keeping import catch_up, evaluate_and_save
from scl_core.training.optimizer import limit_gradients, set_learning_rate
from scl_core.training.plan import Plan, read_plan
from scl_core.training.ranks import run_ranks
from scl_core.training.session import Session, prepare

USAGE = "python -m scl_core.train [--config FILE]... [--resume RUN_DIR] [--processes K] [--SETTING VALUE]..."


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
    try:
        return start(argv, options)
    except UserError as error:
        leave_word(options, error)
        raise


def start(argv: Sequence[str], options: Options) -> int:
    """Train in this process, or start the ranks that do."""
    plan = read_plan(options)
    processes = whole_number(options, "processes", 1)
    if processes > 1 and "RANK" not in os.environ:
        plan.check(processes)
        return run_ranks(plan.arguments(argv), processes, plan.run_dir)
    return train(plan)


def leave_word(options: Options, error: UserError) -> None:
    """Under plain torchrun the exit status is torchrun's, so a mistake is also told in a new run's folder."""
    given = [entry.text for entry in options.given if entry.key == "run_dir"]
    if os.environ.get("RANK") == "0" and given and not RunFolder.is_taken(given[-1]):
        RunFolder.create(given[-1]).set_status("failed", 0, reason=str(error))


def train(plan: Plan) -> int:
    """Train as planned; returns the exit status. The run folder's status tells how it ended."""
    world = distributed.start(plan.config.device, plan.config.train.collective_timeout)
    with ExitStack() as stack:
        stack.callback(distributed.stop)
        session = prepare(plan, world, stack)
        stack.enter_context(Watchdog(session.run.path, world.rank, world.size, on_loss=session.lost))
        stack.enter_context(session.stop)
        stack.enter_context(session.progress.warnings())
        try:
            state, step = run_steps(session)
        except BaseException as error:
            fault = lost_rank(error, world.size) or error
            session.failed(fault)
            raise fault from error
        if world.is_main:
            session.run.set_status(state, step, steps=plan.config.train.steps)
            session.progress.say(ending(session, state, step))
    return 0


def lost_rank(error: BaseException, size: int) -> Fault | None:
    """The plain sentence for what a collective says when another process is gone; None for any other error."""
    words = ("connection", "gloo", "nccl")
    if size > 1 and isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words):
        return Fault("another process of this run is gone; torchrun's last lines name its rank and how it ended")
    return None


def run_steps(session: Session) -> tuple[str, int]:
    """The one loop: load, step, record, evaluate, save. Returns the state at the end and the last step."""
    config, method, optimizer = session.config.train, session.method, session.optimizer
    if session.first_step > config.steps:
        session.progress.say(f"all {config.steps} steps are done; --train.steps N goes on to step N")
    if catch_up(session):
        return "stopped", session.first_step - 1
    timings = ("learning_rate", "seconds", "data_seconds")
    columns = ("loss", *method.weights(config.steps), *timings, *session.gauges.columns)
    ended = time.perf_counter()
    for step, batch in enumerate(load(session), start=session.first_step):
        loaded = time.perf_counter()
        rate = poly_learning_rate(
            config.learning_rate, step - 1, config.steps, config.power, config.learning_rate_every
        )
        set_learning_rate(optimizer, rate)
        seed_networks(session, step)
        optimizer.zero_grad(set_to_none=True)
        with computing(session.passes):
            terms = session.model(batch.to(session.world.device), StepDraws(session.config.seed, step))
        weights = method.weights(step)
        loss = weighted_sum(terms, weights)
        gauges = session.gauges.read(step, terms, weights, batch.labels)
        loss.backward()
        asked = float(bool(session.stop))
        norm = gradient_norm(session.model)
        means = mean_over_ranks({"loss": loss, **terms, "gradient": norm, "stop": asked})
        refuse_non_finite(means, step, batch)
        limit_gradients(optimizer, norm, config.gradient_limit)
        optimizer.step()
        method.after_step(step)
        now = time.perf_counter()
        timing = {"learning_rate": rate, "seconds": now - ended, "data_seconds": loaded - ended}
        session.recorder.add(step, {name: means[name] for name in ("loss", *terms)}, timing | gauges, columns)
        stopping = means["stop"] > 0 or step == config.stop_at
        if stopping:
            say_stopping(session, step)
        left_undone = evaluate_and_save(session, step, stopping, skip_evaluation=stopping and step != config.stop_at)
        ended = time.perf_counter()
        if left_undone or (stopping and step < config.steps):
            return "stopped", step
    return "finished", config.steps


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
        partner=partner_of(config.method),
    )


def seed_networks(session: Session, step: int) -> None:
    """What networks draw themselves (dropout) depends on seed, step and rank, so a resumed run repeats it."""
    torch.manual_seed(generator_for(session.config.seed, step, session.world.rank, "network").initial_seed())


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Eq. 1 with eq. 3: the one place where terms are weighed."""
    return sum(weights[name] * term for name, term in terms.items() if name in weights)


def refuse_non_finite(means: dict[str, float], step: int, batch) -> None:
    """Stop every rank before a value that is not finite on any of them reaches the weights."""
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if not bad:
        return
    pictures = list(batch.names)
    for views in (batch.unlabeled_a, batch.unlabeled_b):
        pictures += views.names if views is not None else ()
    raise Fault(
        f"step {step}: {', '.join(bad)} not finite; the weights are those of step {step - 1}; "
        f"pictures: {', '.join(pictures)}"
    )


def ending(session: Session, state: str, step: int) -> str:
    """The last line: where the run stands, and how to go on with it."""
    path = session.run.path
    then = f"; go on with: python -m scl_core.train --resume {path}" if state == "stopped" else ""
    return f"{state} at step {step} of {session.config.train.steps}: {path}{then}"


def say_stopping(session: Session, step: int) -> None:
    """Tell readers that a stop was asked for and the last checkpoint is being written."""
    if session.world.is_main:
        session.run.set_status("stopping", step)


if __name__ == "__main__":
    sys.exit(run_command(main))
