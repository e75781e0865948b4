"""How a network looks at a picture that is scored or predicted: whole or in tiles, at several scales, mirrored too."""

import math
from dataclasses import dataclass

from scl_core.errors import UserError

OPTIONS = ("scales", "tile", "overlap")
USAGE = "[--scales 0.5,1,2] [--flip] [--tile PIXELS] [--overlap SHARE]"
LARGEST_SCALE, LARGEST_OVERLAP, SMALLEST_TILE = 8.0, 0.9, 16


@dataclass(frozen=True)
class Protocol:
    """The default is one look at the whole picture. What several looks say is averaged as logits, before softmax.

    `scales` are of the input size; `flip` adds the mirrored picture; `tile` is the side of the square tiles that are
    cut from the picture at each scale (None: the whole picture), and `overlap` the share of a tile that the next one
    sees too.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tile: int | None = None
    overlap: float = 1 / 3

    def words(self, size: str) -> str:
        """The protocol in one line that stands beside a score; `size` says what the input size is."""
        looks = [f"tiles {self.tile} overlap {self.overlap:.3g}" if self.tile else "whole picture"]
        looks += [f"scales {' '.join(f'{scale:g}' for scale in self.scales)}"] if self.scales != (1.0,) else []
        looks += ["flip"] if self.flip else []
        averaged = [] if self == WHOLE else ["logits averaged"]
        return ", ".join([*looks, *averaged, f"input {size}", "scored at the mask's own size"])

    @property
    def file_name(self) -> str:
        """The protocol as a part of a file's name, empty for the default: letters, digits and _."""
        parts = [f"tile{self.tile}_{100 * self.overlap:.0f}"] if self.tile else []
        parts += ["x" + "_".join(f"{scale:g}" for scale in self.scales)] if self.scales != (1.0,) else []
        parts += ["flip"] if self.flip else []
        return "_".join(parts).replace(".", "p")


WHOLE = Protocol()


def read_protocol(own: dict[str, str]) -> Protocol:
    """The protocol that a command's options ask for. Raises `UserError` naming the option that cannot be."""
    if "overlap" in own and "tile" not in own:
        raise UserError("--overlap is a share of a tile: give --tile PIXELS too")
    scales = tuple(number(word, "--scales", 0.0, LARGEST_SCALE) for word in own.get("scales", "1").split(","))
    if 0.0 in scales or len(set(scales)) < len(scales):
        raise UserError(f"--scales {own['scales']}: give each scale once, each larger than 0")
    tile = number(own["tile"], "--tile", SMALLEST_TILE, math.inf) if "tile" in own else None
    if tile is not None and tile != int(tile):
        raise UserError(f"--tile {own['tile']} is not a whole number of pixels")
    overlap = number(own["overlap"], "--overlap", 0.0, LARGEST_OVERLAP) if "overlap" in own else Protocol.overlap
    return Protocol(scales, "flip" in own, None if tile is None else int(tile), overlap)


def number(text: str, option: str, low: float, high: float) -> float:
    """The number that an option holds. Raises `UserError` for what is none, or outside `low` to `high`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or math.isinf(value):
        raise UserError(f"{option} {text!r} is not a number from {low:g} to {high:g}")
    return value


def tile_starts(extent: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along one side of `extent` pixels; the last is shifted back to end at the border."""
    if extent <= tile:
        return [0]
    stride = max(1, round(tile * (1 - overlap)))
    return [*range(0, extent - tile, stride), extent - tile]
