"""An evaluation in full: its numbers as JSON, and one integer confusion matrix per picture beside them."""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scl_core.storage.files import SMALL_FILE, DamagedFile, read_bytes, read_json, replace_file, write_json_atomic

NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
ARRAYS_LIMIT = 1 << 30


def evaluation_key(row: dict[str, Any]) -> tuple:
    """What makes two rows of `evaluations.jsonl` the same evaluation, of which the later counts."""
    return tuple(str(row.get(name)) for name in ("step", "split", "network", "list_hash", "protocol"))


def is_evaluation(row: dict[str, Any]) -> bool:
    """Whether a row of `evaluations.jsonl` has what every reader relies on."""
    words = all(isinstance(row.get(name), str) for name in ("split", "network"))
    score = row.setdefault("mean_iou", None)
    return words and is_number(score) and all(map(is_number, classes_of(row).values()))


def classes_of(row: dict[str, Any]) -> dict[str, Any]:
    """The per-class IoU of an evaluation's row; whatever else stands there, under an empty name."""
    scores = row.setdefault("per_class_iou", {})
    return scores if isinstance(scores, dict) else {"": scores}


def is_metrics(row: dict[str, Any]) -> bool:
    """Whether a row of `metrics.jsonl` holds numbers and nulls alone."""
    return all(map(is_number, row.values()))


def is_number(value: Any) -> bool:
    """Whether a score read from a file is a number, or null for an absent class."""
    return value is None or type(value) in (float, int)


def evaluation_path(folder: Path, step: int, split: str, network: str, variant: str = "") -> Path:
    """The file, without its ending. Raises `ValueError` for names that are not plain words."""
    names = [split, network, *([variant] if variant else [])]
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be part of a file name: letters, digits and _ only")
    return folder / "evaluations" / "-".join([str(int(step)), *names])


def write_evaluation(
    folder: Path,
    row: dict[str, Any],
    confusions: np.ndarray,
    names: Sequence[str],
    boundary: np.ndarray | None = None,
) -> None:
    """Write `row` and the matrices, integer [n, C, C] or [n, C, C + 1], of n pictures.

    `row` has step, split, network, and `variant` where it is not the run's own.
    """
    arrays = {"confusions": np.asarray(confusions)}
    if boundary is not None:
        arrays["boundary"] = np.asarray(boundary)
    for matrices in arrays.values():
        check_matrices(matrices, len(names))
    path = evaluation_path(folder, row["step"], row["split"], row["network"], row.get("variant", ""))
    path.parent.mkdir(exist_ok=True)
    content = io.BytesIO()
    integers = {name: matrices.astype(np.int64) for name, matrices in arrays.items()}
    np.savez_compressed(content, names=np.array(names, dtype=np.str_), **integers)
    replace_file(path.with_name(path.name + ".npz"), content.getvalue())
    full = row | {"names": list(names), "confusion": arrays["confusions"].sum(0).tolist()}
    write_json_atomic(path.with_name(path.name + ".json"), full)


def check_matrices(confusions: np.ndarray, pictures: int) -> None:
    """Raise `ValueError` unless there is one integer matrix for each picture."""
    if not np.issubdtype(confusions.dtype, np.integer) or confusions.ndim != 3 or len(confusions) != pictures:
        raise ValueError(
            f"confusion matrices must be integers, one [C, C] per picture: {confusions.dtype} "
            f"{list(confusions.shape)} for {pictures} pictures"
        )


def read_evaluation(
    folder: Path, step: int, split: str, network: str, variant: str = ""
) -> tuple[dict[str, Any], np.ndarray, list[str]]:
    """The record, the matrices int64 [n, C, C or C + 1] and the n names. Raises `DamagedFile`, `FileNotFoundError`."""
    path = evaluation_path(folder, step, split, network, variant)
    record = read_json(path.with_name(path.name + ".json"), limit=64 * SMALL_FILE)
    arrays = read_arrays(path)
    return record, arrays["confusions"], arrays["names"].tolist()


def read_boundary(folder: Path, step: int, split: str, network: str, variant: str = "") -> np.ndarray | None:
    """The matrices of the pixels near the borders, int64 [n, C, C or C + 1], or None. Raises as `read_evaluation`."""
    return read_arrays(evaluation_path(folder, step, split, network, variant)).get("boundary")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an evaluation, checked: `names` [n] and one integer matrix for each in the others."""
    content = read_bytes(path.with_name(path.name + ".npz"), limit=ARRAYS_LIMIT)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(item.file_size for item in archive.infolist()) > ARRAYS_LIMIT:
                raise DamagedFile(f"{path}.npz unpacks to more than {ARRAYS_LIMIT} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            known = ("names", "confusions", *(name for name in ("boundary",) if name in stored))
            arrays = {name: stored[name] for name in known}
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, NotImplementedError) as error:
        raise DamagedFile(f"{path}.npz cannot be read: {error}") from error
    for name in known[1:]:
        if arrays[name].dtype != np.int64 or arrays[name].ndim != 3 or len(arrays[name]) != len(arrays["names"]):
            raise DamagedFile(f"{path}.npz does not hold one integer matrix per picture")
    return arrays
