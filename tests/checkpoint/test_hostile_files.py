"""Tensors that no checkpoint may hold, and files that are no weights: not saved, not loaded, and named."""

import os
import struct

import pytest
import torch
from safetensors.torch import save as save_bytes

from scl_core.checkpoint import (
    CheckpointError,
    read_weights,
    save_checkpoint,
)
from tests.checkpoint.saving import assert_holds, save

HOSTILE = {
    "sparse": lambda: torch.sparse_csr_tensor([0, 2], [0, 9], [1.0, 1.0], size=(1, 2), check_invariants=False),
    "stride 0": lambda: torch.ones(1).expand(100_000, 100_000),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "meta": lambda: torch.empty(2, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "float8": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "nan": lambda: torch.tensor([1.0, float("nan")]),
    "infinity": lambda: torch.tensor([1.0, float("-inf")]).half(),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", HOSTILE)
def test_odd_tensors_are_not_saved_and_the_tensor_is_named(run_dir, kind):
    save(run_dir, 1)
    with pytest.raises(CheckpointError, match="student: tensor layer.weight"):
        save_checkpoint(run_dir, 2, {"student": {"layer.weight": HOSTILE[kind]()}}, {}, {})
    assert_holds(run_dir, 1)


@pytest.mark.parametrize("value", [torch.tensor([float("nan")]), torch.ones(1, dtype=torch.complex64)])
def test_odd_tensors_are_not_loaded(tmp_path, value):
    (tmp_path / "odd.safetensors").write_bytes(save_bytes({"layer.weight": value}))
    with pytest.raises(CheckpointError, match="odd.safetensors: tensor layer.weight"):
        read_weights(tmp_path / "odd.safetensors")


def header(entries: str, size: int | None = None, data: bytes = b"\0" * 16) -> bytes:
    return struct.pack("<Q", len(entries) if size is None else size) + entries.encode() + data


def entry(name: str, shape: str, start: int, end: int) -> str:
    return f'"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'


HOSTILE_FILES = {
    "empty": b"",
    "huge header": header("{}", size=2**63),
    "header beyond the end": header("{}", size=10**6),
    "overlap": header("{" + entry("a", "[3]", 0, 12) + "," + entry("b", "[2]", 8, 16) + "}"),
    "hole": header("{" + entry("a", "[1]", 0, 4) + "," + entry("b", "[2]", 8, 16) + "}"),
    "bytes left over": header("{" + entry("a", "[2]", 0, 8) + "}"),
    "shape too large": header("{" + entry("a", "[4294967296,4294967296]", 0, 16) + "}"),
    "two of one name": header("{" + entry("a", "[2]", 0, 8) + "," + entry("a", "[2]", 8, 16) + "}"),
    "deep": header("[" * 100_000),
    "pickle": b"\x80\x04\x95" + b"\0" * 50,
}


@pytest.mark.parametrize("kind", HOSTILE_FILES)
def test_files_that_are_no_weights_are_a_plain_error(tmp_path, kind):
    (tmp_path / "odd.safetensors").write_bytes(HOSTILE_FILES[kind])
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_weights(tmp_path / "odd.safetensors")


def test_weights_are_read_only_from_regular_files_of_a_sane_size(tmp_path):
    good = tmp_path / "good.safetensors"
    good.write_bytes(save_bytes({"weight": torch.ones(2)}))
    assert torch.equal(read_weights(good)["weight"], torch.ones(2))
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("link", "not a regular"),
        ("pipe", "not a regular"),
        ("none", "No such"),
        (".", "not a regular"),
    ):
        with pytest.raises(CheckpointError, match=words):
            read_weights(tmp_path / name)
    with pytest.raises(CheckpointError, match="more than the 10"):
        read_weights(good, limit=10)
