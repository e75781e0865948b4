"""Which picture a position of a step shows: per-epoch permutations, counted in samples over all ranks."""

from typing import TYPE_CHECKING

from scl_core.errors import UserError
from scl_core.seeding import permutation

if TYPE_CHECKING:
    from scl_core.distributed import World


def sample_number(step: int, position: int, batch: int) -> int:
    """The running number, from 0, of the sample at `position` of `step` (1-based) in an effective batch of `batch`."""
    return (step - 1) * batch + position


def labeled_index(seed: int, step: int, position: int, batch: int, size: int) -> int:
    """The labeled picture (0 .. size - 1) of a position; each of `size` pictures comes once per epoch."""
    return shuffled(seed, sample_number(step, position, batch), size, "labeled")


def shuffled(seed: int, number: int, size: int, stream: str) -> int:
    """Which of `size` things (0 .. size - 1) comes at a running number, when each round shows all in a new order."""
    round_number, place = divmod(number, size)
    return int(permutation(seed, round_number, size, stream)[place])


def pair_indices(seed: int, step: int, position: int, batch: int, size: int) -> tuple[int, int]:
    """The two different unlabeled pictures (0 .. size - 1) of a CutMix pair; each comes once per epoch on either side.

    The second is the first's order turned by a distance drawn anew each epoch, so no picture meets itself.
    Raises UserError with fewer than two pictures.
    """
    if size < 2:
        raise UserError(f"this method needs at least 2 unlabeled pictures to mix, the list has {size}; add pictures")
    epoch, place = divmod(sample_number(step, position, batch), size)
    order = permutation(seed, epoch, size, "unlabeled")
    distance = 1 + int(permutation(seed, epoch, size - 1, "partner")[0])
    return int(order[place]), int(order[(place + distance) % size])


def rank_positions(batch: int, world: "World", setting_name: str) -> range:
    """The positions of the effective batch that are this rank's: [rank * batch / size, (rank + 1) * batch / size).

    Raises UserError naming the setting when the batch is not a multiple of the number of processes.
    """
    if batch % world.size:
        raise UserError(
            f"{setting_name}: {batch} pictures cannot be shared evenly by {world.size} processes; "
            f"set it to a multiple of {world.size}"
        )
    share = batch // world.size
    return range(world.rank * share, (world.rank + 1) * share)


def evaluation_indices(count: int, world: "World") -> range:
    """The pictures this rank evaluates: every `world.size`-th of `count`, from its rank on; no two ranks share one."""
    return range(world.rank, count, world.size)
