"""First weights: ImageNet's from their official address, a file's, or a run's; whole and finite, or refused by name."""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scl_core.checkpoint import find_checkpoint, read_checkpoint
from scl_core.errors import UserError
from scl_core.storage.weights import check_tensors, read_weights

IMAGENET = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-cd907fc2.pth",
    "mobilenet_v2": "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth",
}
CLASSIFIER_PREFIXES = ("fc.", "classifier.")
NESTED_UNDER = ("state_dict", "model", "model_state_dict")
BESIDE = "beside."  # begins the names of what a method keeps in a network's file beside that network
SHOWN_NAMES = 4


def load_weights(
    model: nn.Module,
    weights: str | Path,
    encoder: str,
    width: float = 1.0,
    deep_stem: bool = False,
    instead: nn.Module | None = None,
) -> None:
    """Load `weights` into `model`, all of it or nothing.

    `weights` is `imagenet` (the encoder's weights, downloaded once), a file of the whole segmenter, of its encoder or
    of a torchvision classifier (.safetensors, .pth, .pt), or the folder of a run (its last checkpoint) or of one
    checkpoint. Where they are rather those of `instead`, a network that shares parts with `model`, that one is
    filled. Raises `UserError` when it cannot be had, is not a plain file of dense finite tensors, or does not fit: the
    missing, unexpected and mis-shaped names are listed.
    """
    if str(weights) == "imagenet":
        tensors = download_imagenet(encoder, width, deep_stem)
    elif Path(weights).is_dir():
        tensors = read_run(Path(weights))
    else:
        tensors = read_file(Path(weights))
    tensors = without_prefix(tensors, "module.")
    check_file(tensors, f"model.weights {weights}")
    fit([model] if instead is None else [model, instead], tensors, str(weights))


def download_imagenet(encoder: str, width: float, deep_stem: bool = False) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of `encoder`, from torch's download cache where they are already there."""
    if encoder not in IMAGENET or width != 1.0:
        known = ", ".join(IMAGENET)
        raise UserError(
            f"model.weights imagenet: there are files for {known} of width 1.0, not for {encoder} of width {width}"
        )
    if deep_stem:
        raise UserError(
            f"model.weights imagenet: the file of {encoder} begins with one 7x7 convolution: set model.deep_stem to "
            "false, or give the file of a network with a deep stem"
        )
    url = IMAGENET[encoder]
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"model.weights imagenet: {url} cannot be had ({error}): get the file elsewhere and give its path instead"
        ) from error


def read_run(folder: Path) -> dict[str, Tensor]:
    """The network that counts of a run's last checkpoint, or of the checkpoint that `folder` is."""
    is_checkpoint = (folder / "manifest.json").exists()
    checkpoint = folder if is_checkpoint else find_checkpoint(folder, "last")
    name = "teacher" if (checkpoint / "teacher.safetensors").exists() else "student"
    return split_beside(read_checkpoint(checkpoint, names=(name,)).tensors[name])[0]


def with_beside(network: Mapping[str, Tensor], beside: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One file's tensors: those of a network, and what a method keeps beside it, such as a second network."""
    return dict(network) | {BESIDE + name: tensor for name, tensor in beside.items()}


def split_beside(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The two parts that `with_beside` put together."""
    beside = {name.removeprefix(BESIDE): tensor for name, tensor in tensors.items() if name.startswith(BESIDE)}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(BESIDE)}, beside


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file. Raises `UserError` for one that cannot be read safely."""
    if not path.is_file():
        raise UserError(f"model.weights {path}: no such file or run folder")
    if path.suffix == ".safetensors":
        return dict(read_weights(path.resolve()))
    if path.suffix not in (".pth", ".pt"):
        raise UserError(f"model.weights {path}: expected imagenet, a run folder, or a .safetensors, .pth or .pt file")
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first_line = str(error).strip().split("\n")[0]
        raise UserError(f"model.weights {path}: not a plain file of weights: {first_line}") from error
    for key in NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UserError(f"model.weights {path}: holds {type(content).__name__}, and not names with their tensors")
    return dict(content)


def check_archive(path: Path) -> None:
    """Refuse a compressed archive: torch writes none, and a small one may unfold to any size."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        packed = [item.filename for item in archive.infolist() if item.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise UserError(f"model.weights {path}: a compressed archive ({packed[0]}): save it with torch.save as it is")


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The names without what a data-parallel wrapper put before each of them."""
    if tensors and all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def check_file(tensors: Mapping[str, object], source: str) -> None:
    """Refuse anything but plain finite tensors that the file holds in full, by the tensor's name."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{source}: {name} is {type(tensor).__name__}, and not a tensor")
        is_plain = tensor.layout is torch.strided and not tensor.is_nested
        if is_plain and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f"{source}: {name} claims the shape {list(tensor.shape)}, and the file holds fewer numbers")
    check_tensors(tensors, source)


@dataclass(frozen=True)
class Misfit:
    """Where a file's names and shapes part from the network's."""

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "mis-shaped": self.misshaped}
        return "; ".join(f"{len(names)} {kind}: {first_of(names)}" for kind, names in parts.items() if names)


def first_of(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def fit(models: Sequence[nn.Module], tensors: dict[str, Tensor], source: str) -> None:
    """Load `tensors` into the part of a model whose names they have: the whole, its encoder, or the user's network.

    An encoder takes a classifier's file too: its last layer has no place here. A file older than batch norm's step
    counter leaves the counters as they are.
    """
    part = best_part(models, tensors)
    target = part.state_dict()
    if part in [getattr(model, "encoder", None) for model in models]:
        tensors = {name: value for name, value in tensors.items() if not name.startswith(CLASSIFIER_PREFIXES)}
    counters = {name: value for name, value in target.items() if name.endswith("num_batches_tracked")}
    tensors = counters | tensors
    misfit = compare(target, tensors)
    if misfit:
        raise UserError(f"model.weights {source} does not fit the network: {misfit}")
    part.load_state_dict(tensors)


def best_part(models: Sequence[nn.Module], names: Iterable[str]) -> nn.Module:
    """The part of a model that shares most names with the file; the whole first model when none does."""
    parts = [
        part
        for model in models
        for part in [model, *(getattr(model, name) for name in ("encoder", "network") if hasattr(model, name))]
    ]
    names = set(names)
    return max(parts, key=lambda part: len(names & part.state_dict().keys()))


def compare(target: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Misfit:
    """What keeps these tensors from fitting the target: missing, unexpected and mis-shaped names."""
    misshaped = [
        f"{name} ({describe(tensors[name])} in the file, {describe(expected)} in the network)"
        for name, expected in target.items()
        if name in tensors and describe(tensors[name]) != describe(expected)
    ]
    return Misfit(
        missing=[name for name in target if name not in tensors],
        unexpected=[name for name in tensors if name not in target],
        misshaped=misshaped,
    )


def describe(tensor: Tensor) -> str:
    """Shape, and the type where it is that of a counter."""
    return f"{list(tensor.shape)}{'' if tensor.is_floating_point() else ' of whole numbers'}"
