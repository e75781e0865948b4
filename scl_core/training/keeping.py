"""What a training keeps between steps: scores on the validation list, previews, checkpoints."""

import torch
from torch import Tensor

from scl_core import distributed
from scl_core.checkpoint import save_checkpoint, update_best
from scl_core.evaluate import evaluate_network, protocol_words
from scl_core.inference import predict_classes, save_class_map
from scl_core.sharding import whole, whole_tensors
from scl_core.training.optimizer import optimizer_tensors
from scl_core.training.recalibration import recalibrated
from scl_core.training.session import Session

PREVIEWS = 4


class StopAsked(Exception):
    """Somebody asked to stop while the networks were evaluated."""


def evaluate_and_save(session: Session, step: int, stopping: bool, skip_evaluation: bool) -> bool:
    """Write a checkpoint where the schedule or a stop asks for it, then evaluate where that is due.

    A new best score gets a checkpoint too. Somebody who asked to stop does not wait for an evaluation; True when one
    was left undone for that, with a checkpoint from which a resumed run makes up for it.
    """
    config = session.config.train
    last = step == config.steps
    saves = stopping or last or step % config.checkpoint_every == 0
    evaluates = last or (step % config.evaluate_every == 0 and not skip_evaluation)
    if not (saves or evaluates):
        return False
    with recalibrated(session):
        return keep(session, step, saves, evaluates)


def catch_up(session: Session) -> bool:
    """Evaluate the step that a resumed run stands at, where that was due and left undone; True if it is again."""
    config, step = session.config.train, session.first_step - 1
    due = step and (step >= config.steps or step % config.evaluate_every == 0)
    done = [row for row in session.run.evaluations() if (row["step"], row["split"]) == (step, "val")]
    if not distributed.from_main(bool(due and len(done) < len(session.method.evaluated))):
        return False
    with recalibrated(session):
        return keep(session, step, saves=False, evaluates=True)


def keep(session: Session, step: int, saves: bool, evaluates: bool) -> bool:
    """Save before the evaluation, so that a fault in it costs no step; and after it when the score is the best."""
    if saves:
        save(session, step)
    if evaluates:
        try:
            score, network = evaluate(session, step)
        except StopAsked:
            session.progress.say(f"step {step}: a stop was asked for, the evaluation is left undone")
            if not saves:
                save(session, step)
            return True
        if distributed.any_rank(session.world.is_main and session.run.is_better(score, step)):
            if not saves:
                save(session, step)
            if session.world.is_main:
                update_best(session.run.path, step, score, network)
    return False


def evaluate(session: Session, step: int) -> tuple[float, str]:
    """Score every network on the validation list; returns the score and name of the one that counts."""
    session.recorder.flush()
    with whole(session.method):  # the processes have unequal numbers of pictures
        return evaluate_networks(session, step)


def evaluate_networks(session: Session, step: int) -> tuple[float, str]:
    """The same while every process has all weights."""
    pictures, scores = session.source.lists["val"], {}
    classes = session.source.class_names

    def after_picture(done: int) -> None:
        session.beat()
        if done < len(pictures) and distributed.any_rank(bool(session.stop)):  # the last round may lack some ranks
            raise StopAsked

    for name, network in session.method.evaluated.items():
        done = evaluate_network(name, network, pictures, len(classes), session.world, after_picture)
        record = done.record(classes, protocol_words(session.config.data), session.source.list_hash)
        if session.world.is_main:
            session.run.write_evaluation(step, "val", name, record, done.confusions, done.names, boundary=done.boundary)
        scores[name] = done.mean_iou
    session.progress.say(f"step {step}, val mIoU: " + ", ".join(f"{name} {100 * v:.2f}" for name, v in scores.items()))
    if session.world.is_main:
        session.alarms.evaluated(step)
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
    """Commit a checkpoint of everything that the next step needs; rank 0 writes, the others wait."""
    session.recorder.flush()
    tensors = session.method.tensors() | {"optimizer": optimizer_tensors(session.optimizer)}
    tensors = whole_tensors(tensors, keep=session.world.is_main)
    if session.world.is_main:
        commit(session, step, tensors)
    distributed.barrier()


def commit(session: Session, step: int, tensors: dict[str, dict[str, Tensor]]) -> None:
    """Write the checkpoint."""
    state = {
        "step": step,
        "method": session.config.method.name,
        "class_names": list(session.source.class_names),
        "palette": session.source.palette.tolist(),
        "list_hash": session.source.list_hash,
    }
    info = {"world_size": session.world.size, "threads": torch.get_num_threads(), "torch": torch.__version__}
    save_checkpoint(session.run.path, step, tensors, state, info, keep_last=session.config.train.keep_checkpoints)
