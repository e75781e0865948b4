"""A trained network as one file that opens without this project:  python -m scl_core.export RUN_DIR --out net.pt2"""

import importlib.util
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from scl_core.command_line import existing_folder, read_options, run_command
from scl_core.data.images import IMAGENET_MEAN, IMAGENET_STD
from scl_core.errors import UserError
from scl_core.predict import refuse_settings
from scl_core.restore import Restored, restore
from scl_core.storage.files import DamagedFile, replace_file
from scl_core.storage.weights import own_copy

USAGE = (
    "python -m scl_core.export RUN_DIR --out FILE.pt2|FILE.onnx|FILE.safetensors "
    "[--checkpoint last|best|STEP|FOLDER|FILE] [--network NAME]"
)
HELP = """The network that counts, or --network NAME.
  .pt2          torch.export: torch.export.load(FILE).module()(images) needs torch alone
  .onnx         the same for ONNX runtimes; needs the packages onnx and onnxscript
  .safetensors  the weights alone, with classes and settings as metadata; the network's code is this project's
images: float [B, 3, H, W] of the run's input size, RGB, 0 to 1; the answer is logits [B, C, H, W] of the same size.
Batches of any size; class names and colours are in the file (classes.json, or metadata)."""
ONNX_PACKAGES = ("onnx", "onnxscript")


class Deployed(nn.Module):
    """A segmenter with its normalisation inside: RGB images 0 to 1, float [B, 3, H, W], to logits [B, C, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network((images - self.mean) / self.std).logits
        if logits.shape[-2:] == images.shape[-2:]:
            return logits
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=True)


def input_size(restored: Restored) -> tuple[int, int]:
    """Height and width that the network was trained for; those of the first picture where it took any."""
    data = restored.config.data
    if data.height and data.width:
        return data.height, data.width
    pictures = next(iter(restored.open_data().lists.values()))
    return pictures.input(0).shape[:2]


def about(restored: Restored, network: str, size: tuple[int, int]) -> dict[str, str]:
    """What a reader of the file needs to know, as texts."""
    return {
        "classes": json.dumps(list(restored.class_names)),
        "palette": json.dumps(restored.palette.tolist()),
        "input": json.dumps({"height": size[0], "width": size[1], "channels": "RGB", "range": [0, 1]}),
        "network": network,
        "encoder": restored.config.model.encoder,
        "method": restored.config.method.name,
        "step": str(restored.step),
        "list_hash": restored.list_hash,
    }


def as_program(network: nn.Module, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """The network with its normalisation as an exported program for batches of any size at one picture size."""
    example = torch.rand(2, 3, *size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(Deployed(network).eval(), (example,), dynamic_shapes=({0: batch},))


def pt2_bytes(restored: Restored, network: nn.Module, name: str) -> bytes:
    """A torch.export archive; class names, colours and input are in its extra file classes.json."""
    size = input_size(restored)
    buffer = io.BytesIO()
    texts = {"classes.json": json.dumps(about(restored, name, size), indent=1)}
    torch.export.save(as_program(network, size), buffer, extra_files=texts)
    return buffer.getvalue()


def onnx_bytes(restored: Restored, network: nn.Module, name: str) -> bytes:
    """An ONNX model with names as metadata. Raises `UserError` where the packages for it are missing."""
    missing = [package for package in ONNX_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"an .onnx file needs {' and '.join(missing)}: pip install {' '.join(missing)}, or take .pt2")
    size = input_size(restored)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            Deployed(network).eval(), (torch.rand(2, 3, *size),), dynamo=True, dynamic_shapes=({0: batch},),
            input_names=["images"], output_names=["logits"], verbose=False,
        )  # fmt: skip
        program.model.metadata_props.update(about(restored, name, size))
        program.save(os.path.join(folder, "network.onnx"), external_data=False)
        return Path(folder, "network.onnx").read_bytes()


def safetensors_bytes(restored: Restored, network: nn.Module, name: str) -> bytes:
    """The weights and what they are."""
    tensors = {key: own_copy(value) for key, value in network.state_dict().items()}
    return to_safetensors(tensors, metadata=about(restored, name, input_size(restored)))


WRITERS: dict[str, Callable[[Restored, nn.Module, str], bytes]] = {
    ".pt2": pt2_bytes,
    ".onnx": onnx_bytes,
    ".safetensors": safetensors_bytes,
}


def check_out(text: str) -> Path:
    """Where to write. Raises `UserError` for an ending that no writer has, or a folder that is not there."""
    out = Path(text)
    if out.suffix not in WRITERS:
        raise UserError(f"--out {text}: the ending says what is written; choose {', '.join(WRITERS)}")
    if not out.parent.is_dir():
        raise UserError(f"--out {text}: there is no folder {out.parent}; make it first")
    return out


def write_out(out: Path, content: bytes) -> None:
    """Write the whole file or nothing. Raises `UserError` with what the disk said."""
    try:
        replace_file(out, content)
    except (OSError, DamagedFile) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"--out {out}: cannot be written ({reason}); {len(content):,} bytes are needed") from error


def main(argv: Sequence[str]) -> int:
    """The command; see `USAGE`."""
    options = read_options(argv, own=("out", "checkpoint", "network"), flags=("help",))
    if "help" in options.own:
        print(f"usage: {USAGE}\n{HELP}")
        return 0
    if len(options.words) != 1 or "out" not in options.own:
        raise UserError(f"usage: {USAGE}")
    refuse_settings(options, USAGE)
    run_dir = existing_folder(options.words[0], "run folder")
    out = check_out(options.own["out"])
    restored = restore(run_dir, options.own.get("checkpoint", "last"))
    name = options.own.get("network", next(iter(restored.method.evaluated)))
    network = restored.network(name).float()
    content = WRITERS[out.suffix](restored, network, name)
    write_out(out, content)
    classes = len(restored.class_names)
    print(f"{out}: the {name} of step {restored.step}, {classes} classes, {len(content) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
