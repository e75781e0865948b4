"""What every training method shares: a batch in, named loss terms out, and the networks that it trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scl_core.data.classes import class_numbers
from scl_core.distributed import global_mean, sum_over_ranks, world_size
from scl_core.ema import EmaTeacher
from scl_core.losses.ohem import ohem_cross_entropy_sum
from scl_core.losses.supervised import relaxed_cross_entropy_sum
from scl_core.methods.teacher import move_statistics, restart_step
from scl_core.metrics import prediction_counts
from scl_core.schedule import unlabeled_factor
from scl_core.seeding import generator_for

if TYPE_CHECKING:
    from scl_core.data.batch import Batch
    from scl_core.data.pictures import PictureList
    from scl_core.probe import Probe

STRICT_CLASSES = "method.relaxation_strict_classes"


@dataclass(frozen=True)
class StepDraws:
    """The random draws of one training step: one generator for each picture, whatever rank it is on."""

    seed: int
    step: int

    def generators(self, positions: tuple[int, ...], stream: str) -> list[torch.Generator]:
        """One CPU generator for each position in the effective batch; `stream` separates boxes from pairs."""
        return [generator_for(self.seed, self.step, position, stream) for position in positions]

    def keys(self, positions: tuple[int, ...], stream: str, device: torch.device) -> Tensor:
        """A number for each position, int64 [B], to begin generators with where the draws are made."""
        drawn = [torch.randint(2**62, (), generator=generator) for generator in self.generators(positions, stream)]
        return torch.stack(drawn).to(device)


class Method(nn.Module):
    """One way to learn from labeled and unlabeled pictures: a batch in, named loss terms out.

    A subclass sets `config_class` and `num_strong` (strong views that it needs of each unlabeled picture, 0 = it reads
    no unlabeled pictures), and holds `self.student` and, where it has one, `self.teacher`.
    """

    config_class: type
    num_strong: int = 0
    watch_every: int = 0  # every so many steps the classes of the targets are counted; 0 = never

    def __init__(self, student: nn.Module, config, steps: int):
        """`config` is an instance of `config_class`; `steps` the length of the schedule."""
        super().__init__()
        self.student = student
        self.teacher: EmaTeacher | None = None
        self.config = config
        self.steps = steps
        self.restart_step = restart_step(config, steps)
        self._target_counts: Tensor | None = None
        if getattr(config, "teacher_bn", "ema") == "own":
            self.register_forward_pre_hook(Method.move_teacher_statistics)

    @classmethod
    def own_network(cls, segmenter: nn.Module, config) -> nn.Module:
        """The network that the method trains: the model's, or what a method with a decoder of its own makes of it.

        Called before `model.weights` are loaded, so that they may be of either; the encoder stays the same.
        """
        return segmenter

    @classmethod
    def smallest_forward(cls, config, train) -> int:
        """Pictures, over all ranks, in the smallest training pass of the student; batch norm needs more than one."""
        return train.batch_labeled

    def read_labeled(self, pictures: "PictureList") -> None:
        """Told before the first step which labeled pictures there are; for a method that needs more than batches."""
        return None

    def forward(self, batch: "Batch", draws: StepDraws) -> dict[str, Tensor]:
        """The loss terms of one step, unweighted, each a scalar normalised over all ranks."""
        raise NotImplementedError

    def weights(self, step: int) -> dict[str, float]:
        """The weight of each term at this step; a term without a weight is only logged."""
        return {"supervised": 1.0}

    def unlabeled_factor(self, step: int) -> float:
        """The share of the unlabeled weights that holds at this step, by `start` and `ramp` of the settings."""
        return unlabeled_factor(step, self.steps, getattr(self.config, "start", 0.0), getattr(self.config, "ramp", 0.0))

    def after_step(self, step: int) -> None:
        """Called after the optimizer moved the student."""
        if self.teacher is not None and step == self.restart_step:
            self.teacher.restart(self.student)
        elif self.teacher is not None:
            self.teacher.update(self.student)

    def move_teacher_statistics(self, arguments: tuple) -> None:
        """Before each step's `forward`, where the teacher's batch norm has statistics of its own."""
        if self.teacher is not None:
            move_statistics(self.teacher.model, arguments[0])

    def probe(self, batch: "Batch", draws: StepDraws) -> "Probe | None":
        """The first unlabeled pair of the batch taken apart; None for a method that mixes no pictures."""
        return None

    def note_targets(self, step: int, probs: Tensor, valid: Tensor) -> None:
        """Called in `forward` with what teaches the unlabeled pictures: probabilities [B, C, H, W], valid [B, H, W].

        Counted on every `watch_every`-th step, for the record and the collapse alarm.
        """
        if self.watches(step):
            self._target_counts = prediction_counts(probs, valid)

    def watches(self, step: int) -> bool:
        """Whether `note_targets` counts at this step."""
        return self.watch_every > 0 and step % self.watch_every == 0

    def take_target_counts(self) -> Tensor | None:
        """What `note_targets` counted since the last call, float64 [C + 1] (see `prediction_counts`), on this rank."""
        counts, self._target_counts = self._target_counts, None
        return counts

    @property
    def recalibrates(self) -> bool:
        """Whether the teacher's batch norm is estimated anew for evaluations and checkpoints."""
        return self.teacher is not None and getattr(self.config, "teacher_bn", "ema") == "recalibrate"

    def go_on(self) -> None:
        """Called after `load_tensors` where training goes on: what was stored for evaluation alone is put back."""
        if self.recalibrates:
            self.teacher.take_buffers(self.student)

    @property
    def producer(self) -> nn.Module:
        """The network whose predictions teach the unlabeled pictures."""
        return self.student if self.teacher is None else self.teacher.model

    @property
    def evaluated(self) -> dict[str, nn.Module]:
        """The networks whose mIoU is taken, the one that counts first."""
        student = {"student": self.student}
        return student if self.teacher is None else {"teacher": self.teacher.model} | student

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint stores of the networks: a state dict for each file."""
        return {name: network.state_dict() for name, network in self.evaluated.items()}

    def load_tensors(self, tensors: dict[str, dict[str, Tensor]], step: int) -> None:
        """Put back what `tensors` gave after training step `step`."""
        for name, network in self.evaluated.items():
            network.load_state_dict(tensors[name])
        if self.teacher is not None:
            restarted = 0 < self.restart_step <= step
            self.teacher.updates.fill_(step - self.restart_step + 1 if restarted else step)  # it moves once a step

    def supervised_loss(self, logits: Tensor, labels: Tensor, window: int) -> Tensor:
        """Eq. 2 over the labeled pictures of all ranks; logits [L, C, H, W], labels [L, H, W]."""
        return global_mean(*relaxed_cross_entropy_sum(logits, labels, window))

    def relaxed_loss(self, logits: Tensor, labels: Tensor, step: int) -> Tensor:
        """`supervised_loss` as `relaxation_window`, `_strict_classes` and `_until` of the settings ask for."""
        config = self.config
        window = config.relaxation_window if step <= config.relaxation_until * self.steps else 1
        strict = class_numbers(STRICT_CLASSES, config.relaxation_strict_classes)
        return global_mean(*relaxed_cross_entropy_sum(logits, labels, window, strict_classes=strict))

    def labeled_loss(self, logits: Tensor, labels: Tensor, window: int = 1) -> Tensor:
        """Cross entropy of the hard pixels alone where `ohem_threshold` is set, else `supervised_loss`."""
        if self.config.ohem_threshold is None:
            return self.supervised_loss(logits, labels, window)
        return self.ohem_loss(logits, labels, self.config.ohem_threshold, self.config.ohem_min_kept)

    def ohem_loss(self, logits: Tensor, labels: Tensor, threshold: float, min_kept: int) -> Tensor:
        """`ohem_cross_entropy` over the labeled pictures of all ranks; `min_kept` is for one picture."""
        wanted = min_kept * len(labels) * world_size()
        return global_mean(*ohem_cross_entropy_sum(logits, labels, threshold, wanted, add=sum_over_ranks))
