"""Scales, mirroring and tiles against the plain loop:  python -m experiments.benchmarks.evaluation [--out FILE]"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from experiments.benchmarks.command import option_parser, tell
from scl_core.allocator import keep_freed_memory
from scl_core.data.images import normalise, read_picture, resize_picture
from scl_core.data.scenes import draw_scene
from scl_core.inference import predict_logits
from scl_core.metrics import confusion_matrix
from scl_core.models import build_segmenter
from scl_core.models.folded import folded
from scl_core.protocol import Protocol, tile_starts

CLASSES = 19


@torch.no_grad()
def plain(network, file: Path, label: torch.Tensor, protocol: Protocol) -> tuple[torch.Tensor, torch.Tensor]:
    """One scale, one mirror, one tile at a time; each look reads the picture, divides its sum and is kept."""
    height, width = label.shape
    looks = []
    for scale in protocol.scales:
        for mirror in (False, True):
            scaled = normalise(resize_picture(read_picture(file), round(height * scale), round(width * scale)))
            logits = plain_tiles(network, scaled, mirror, protocol)
            looks.append(F.interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=True)[0])
    logits = torch.stack(looks).mean(0)
    return logits, plain_confusion(logits.softmax(0).argmax(0), label)


def plain_tiles(network, scaled: torch.Tensor, mirror: bool, protocol: Protocol) -> torch.Tensor:
    """Logits [C, h, w] of one scaled picture, tile by tile."""
    height, width = scaled.shape[1:]
    total, seen = torch.zeros(CLASSES, height, width), torch.zeros(1, height, width)
    for top in tile_starts(height, protocol.tile, protocol.overlap):
        for left in tile_starts(width, protocol.tile, protocol.overlap):
            rows, columns = slice(top, top + protocol.tile), slice(left, left + protocol.tile)
            tile = scaled[None, :, rows, columns]
            logits = network(tile.flip(-1)).logits.flip(-1) if mirror else network(tile).logits
            total[:, rows, columns] += logits[0]
            seen[:, rows, columns] += 1
    return total / seen


def plain_confusion(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The usual histogram by numpy."""
    kept = (label < CLASSES).numpy()
    pairs = CLASSES * label.numpy()[kept] + prediction.numpy()[kept]
    return torch.from_numpy(np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES))


def ours(network, file: Path, label: torch.Tensor, protocol: Protocol) -> tuple[torch.Tensor, torch.Tensor]:
    """What `evaluate` does with a picture, with the network that it has folded once."""
    logits = predict_logits(network, read_picture(file), tuple(label.shape), torch.device("cpu"), protocol)
    return logits, confusion_matrix(logits.argmax(0), label, CLASSES)


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def in_turns(slow: Callable[[], object], fast: Callable[[], object], repeats: int) -> dict:
    """Median seconds of both, taken in turns after one of each that warms up, and the median of their ratios."""
    turns = [(seconds(slow), seconds(fast)) for _ in range(repeats + 1)][1:]
    medians = [statistics.median(times) for times in zip(*turns, strict=True)]
    return {"plain": medians[0], "ours": medians[1], "ratio": statistics.median(a / b for a, b in turns)}


def measure(options, folder: Path) -> dict:
    """Seconds a picture of both, with either allocator, and the largest difference of their probabilities."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    network = build_segmenter("mobilenet_v2", CLASSES).eval()
    protocol = Protocol((0.5, 1.0, 2.0), True, options.tile)
    picture, label = draw_scene(0, 0, options.height, options.width)
    file, label = folder / "picture.png", torch.from_numpy(label.astype(np.int64))
    Image.fromarray(picture).save(file)
    slow, fast = (partial(way, net, file, label, protocol) for way, net in ((plain, network), (ours, folded(network))))
    first, second = slow()[0], fast()[0]
    system = in_turns(slow, fast, options.repeats)
    keep_freed_memory()
    return {
        "size": f"{options.height}x{options.width}",
        "protocol": protocol.words("own size"),
        "threads": options.threads,
        "system": system,
        "kept": in_turns(slow, fast, options.repeats),
        "largest_difference": float((first.softmax(0) - second.softmax(0)).abs().max()),
        "largest_logit": float(first.abs().max()),
    }


def table(found: dict) -> str:
    """The numbers as a table in Markdown."""
    names = {"system": "the system's", "kept": "as in `evaluate`: freed memory is kept"}
    lines = [f"mobilenet_v2, {found['size']}, {found['protocol']}, {found['threads']} threads", ""]
    lines += ["| allocator | plain loop, one tile at a time, s | `scl_core.evaluate`, s | ratio |", "|---|---|---|---|"]
    for key, name in names.items():
        row = found[key]
        lines.append(f"| {name} | {row['plain']:.2f} | {row['ours']:.2f} | {row['ratio']:.2f} |")
    difference = f"{found['largest_difference']:.1e}, from logits up to {found['largest_logit']:.1f}"
    return "\n".join([*lines, "", f"Largest difference of the probabilities: {difference}."])


def main() -> None:
    """Print the table and write the numbers where asked."""
    parser = option_parser(__doc__)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    tell(found, table(found), options.out)


if __name__ == "__main__":
    main()
