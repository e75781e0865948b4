"""The exported file opens without this project and says what the network says."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from scl_core import export
from scl_core.errors import UserError
from scl_core.inference import predict_probs
from scl_core.restore import restore
from tests.conftest import run_command
from tests.method_run import train_small_run

OUTSIDER = """
import json, sys, numpy as np, torch
extra = {"classes.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra)
images = torch.from_numpy(np.load(sys.argv[2]))
np.save(sys.argv[3], program.module()(images).softmax(1).detach().numpy())
assert "scl_core" not in sys.modules
print(extra["classes.json"])
"""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_small_run(tmp_path_factory.mktemp("export"))


def test_a_program_gives_the_networks_answer_without_this_project(run_dir, run_cli, tmp_path):
    done = run_cli("export", run_dir, "--out", tmp_path / "net.pt2")
    assert done.rc == 0 and "the teacher of step 3" in done.stdout, done.stderr
    restored = restore(run_dir)
    pictures = restored.open_data().pictures("unlabeled")
    shown = [pictures.input(index) for index in range(3)]
    np.save(tmp_path / "images.npy", np.stack(shown).transpose(0, 3, 1, 2).astype(np.float32) / 255)
    files = [str(tmp_path / name) for name in ("net.pt2", "images.npy", "probs.npy")]
    alone = run_command([sys.executable, "-I", "-c", OUTSIDER, *files], timeout=120, cwd=tmp_path)
    assert alone.rc == 0, alone.stderr
    for found, picture in zip(np.load(tmp_path / "probs.npy"), shown, strict=True):
        expected = predict_probs(restored.network(), picture, picture.shape[:2], torch.device("cpu"))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    told = json.loads(alone.stdout)
    assert json.loads(told["classes"]) == list(restored.class_names) and told["network"] == "teacher"


def test_weights_alone_carry_their_description(run_dir, run_cli, tmp_path):
    out = tmp_path / "net.safetensors"
    assert run_cli("export", run_dir, "--out", out, "--network", "student").rc == 0
    expected = restore(run_dir).network("student").state_dict()
    with safe_open(out, "pt") as file:
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(name), value) for name, value in expected.items())
        assert json.loads(file.metadata()["input"]) == {"height": 48, "width": 64, "channels": "RGB", "range": [0, 1]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "net.pickle"], "the ending says"),
        (["--out", "nowhere/net.pt2"], "no folder nowhere"),
        (["--out", "net.pt2", "--network", "first"], "choose one of teacher, student"),
        (["--out", "net.pt2", "--train.steps", "3"], "unknown option --train.steps"),
        ([], "usage:"),
    ],
)
def test_mistakes_are_one_line(run_dir, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        export.main([str(run_dir), *options])
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages_says_what_to_install(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnx onnxscript"):
        export.main([str(run_dir), "--out", str(tmp_path / "net.onnx")])


@pytest.mark.fault
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this machine")
    with pytest.raises(UserError, match="cannot be written"):
        export.write_out(Path("/dev/full"), b"x")
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "net.pt2").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        export.write_out(folder / "net.pt2", b"x")
