"""Masks and overlays for pictures of one's own:  python -m scl_core.predict RUN_DIR PICTURES --out DIR"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from scl_core import distributed
from scl_core.allocator import keep_freed_memory
from scl_core.command_line import Options, existing_folder, read_options, run_command
from scl_core.data.images import PICTURE_SUFFIXES, read_picture, resize_picture
from scl_core.errors import UserError
from scl_core.inference import overlay, predict_classes, save_class_map
from scl_core.models.folded import folded
from scl_core.progress import Progress
from scl_core.protocol import OPTIONS, WHOLE, Protocol, read_protocol
from scl_core.protocol import USAGE as PROTOCOL_USAGE
from scl_core.restore import Restored, restore

USAGE = (
    "python -m scl_core.predict RUN_DIR PICTURES --out DIR "
    f"[--checkpoint last|best|STEP|FOLDER|FILE] [--network NAME] {PROTOCOL_USAGE} [--device cpu]"
)


def find_pictures(place: Path) -> dict[Path, Path]:
    """Each picture of a file or folder with its output name, sub-folders kept, without suffix.

    The name is the stem, or the whole file name where two pictures of a folder share a stem.
    """
    if place.is_file():
        return {place: Path(place.stem)}
    if not place.is_dir():
        raise UserError(f"{place}: no such picture or folder")
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"{place}: no pictures here; looked for {', '.join(sorted(PICTURE_SUFFIXES))}")
    inside = {path: path.relative_to(place) for path in files}
    by_stem = Counter(str(name.with_suffix("")).lower() for name in inside.values())
    names = {
        path: name.with_suffix("") if by_stem[str(name.with_suffix("")).lower()] == 1 else name
        for path, name in inside.items()
    }
    shared = [name for name, count in Counter(str(name).lower() for name in names.values()).items() if count > 1]
    if shared:
        raise UserError(f"{place}: two pictures would both be written as {shared[0]}.png: rename one of them")
    return names


def predict_file(
    path: Path, restored: Restored, network: nn.Module, device: torch.device, protocol: Protocol = WHOLE
) -> tuple[np.ndarray, np.ndarray]:
    """The picture, uint8 [H, W, 3], and its class indices, uint8 [H, W], both in the picture's own size."""
    picture = read_picture(path)
    data = restored.config.data
    own_size = picture.shape[:2]
    size = (data.height or own_size[0], data.width or own_size[1])
    classes = predict_classes(network, resize_picture(picture, *size), own_size, device, protocol)
    return picture, classes.cpu().numpy().astype(np.uint8)


def write_prediction(out: Path, name: Path, picture: np.ndarray, classes: np.ndarray, palette: np.ndarray) -> None:
    """`masks/<name>.png` with the class indices and `overlays/<name>.png` to look at."""
    save_class_map(out / "masks" / f"{name}.png", classes, palette)
    target = out / "overlays" / f"{name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(overlay(picture, classes, palette)).save(target)


def make_out(out: Path) -> Path:
    """Make the output folder before any network is loaded. Raises `UserError` where that cannot be."""
    try:
        (out / "masks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be a folder for results: {error.strerror}") from error
    return out


def refuse_settings(options: Options, usage: str) -> None:
    """Settings and config files belong to the run: refuse them here."""
    unknown = [f"--{entry.key}" for entry in options.given] + ["--config"] * bool(options.files)
    if unknown:
        raise UserError(f"unknown option {unknown[0]}; usage: {usage}")


def predict_all(
    restored: Restored, network: nn.Module, pictures: dict[Path, Path], out: Path, device, protocol: Protocol = WHOLE
) -> list[str]:
    """Predict every picture; what cannot be read is told at the end and does not stop the others."""
    refused = []
    progress = Progress(len(pictures))
    for done, (path, name) in enumerate(pictures.items(), start=1):
        try:
            write_prediction(out, name, *predict_file(path, restored, network, device, protocol), restored.palette)
        except UserError as error:
            refused.append(str(error))
        progress.update(done, "pictures")
    return refused


def main(argv: Sequence[str]) -> int:
    """The command; see `USAGE`."""
    options = read_options(argv, own=("out", "checkpoint", "network", "device", *OPTIONS), flags=("help", "flip"))
    if "help" in options.own:
        print(f"usage: {USAGE}")
        return 0
    if len(options.words) != 2 or "out" not in options.own:
        raise UserError(f"usage: {USAGE}")
    refuse_settings(options, USAGE)
    protocol = read_protocol(options.own)
    run_dir = existing_folder(options.words[0], "run folder")
    pictures = find_pictures(Path(options.words[1]))
    out = make_out(Path(options.own["out"]))
    keep_freed_memory()
    device = distributed.start(options.own.get("device", "auto")).device
    restored = restore(run_dir, options.own.get("checkpoint", "last"), device)
    network = folded(restored.network(options.own.get("network")))
    refused = predict_all(restored, network, pictures, out, device, protocol)
    name = options.own.get("network", next(iter(restored.method.evaluated)))
    done = f"{len(pictures) - len(refused)} of {len(pictures)} pictures by the {name} of step {restored.step}"
    print(f"{done}: {out / 'masks'}, {out / 'overlays'}")
    if refused:
        raise UserError(f"{len(refused)} of {len(pictures)} pictures could not be read: {'; '.join(refused)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
