"""The demo's settings, its recorded pair with today's code, and the time that is left."""

import numpy as np
import pytest

from experiments.record_demo import recorded_settings
from scl_core import demo
from scl_core.command_line import run_command
from scl_core.config import flatten, to_dict
from scl_core.distributed import World
from scl_core.errors import UserError
from scl_core.evaluate import evaluate_network
from scl_core.restore import restore
from scl_core.runs import RunFolder
from scl_core.train import main as train
from tests.conftest import ROOT
from tests.fake_runs import write_lines, write_run

LARGEST_FILE, LARGEST_FOLDER = 2_000_000, 6_000_000
NETWORKS = {"supervised": ["student"], "scl": ["teacher", "student"]}


def recorded(method: str) -> RunFolder:
    return RunFolder(demo.RECORDED / f"demo-{method}")


def test_both_runs_differ_in_their_method_alone():
    first, second = (flatten(to_dict(demo.settings(method))) for method in demo.METHODS)
    assert {key for key in first if first[key] != second.get(key)} <= {key for key in first if "method." in key}
    assert first["train.steps"] >= 600 and (first["model.width"], first["model.decoder_channels"]) == (0.35, 48)


@pytest.mark.parametrize("method", demo.METHODS)
def test_the_recorded_run_is_one_of_the_demo(method):
    kept = flatten(recorded(method).config()) | {"run_dir": None}
    now = flatten(recorded_settings(method))
    assert {key: kept[key] for key in kept if kept[key] != now.get(key)} == {}
    status = recorded(method).status()
    assert (status.state, status.step) == ("finished", now["train.steps"]) and "not resumed" in status.reason
    assert recorded(method).metrics()[-1]["step"] == now["train.steps"]


@pytest.mark.parametrize("method", demo.METHODS)
def test_todays_code_gives_the_recorded_scores(method):
    restored = restore(recorded(method).path, "last")
    assert list(restored.method.evaluated) == NETWORKS[method]
    pictures = restored.open_data().pictures("val")
    for name, network in restored.method.evaluated.items():
        _, kept, names = recorded(method).read_evaluation(restored.step, "val", name)
        assert tuple(names) == tuple(pictures.names)
        done = evaluate_network(name, network, FirstOf(pictures, 6), len(restored.class_names), World())
        moved = np.abs(done.confusions[:6] - kept[:6]).sum() / 2 / kept[:6].sum()
        assert moved < 0.01, f"{moved:.1%} of the pixels have another class than when recorded"


class FirstOf:
    """The first pictures of a list, as a list."""

    def __init__(self, pictures, count: int):
        self.pictures, self.names = pictures, pictures.names[:count]

    def __len__(self) -> int:
        return len(self.names)

    def __getattr__(self, name: str):
        return getattr(self.pictures, name)


def test_the_recorded_pair_is_small_and_names_no_machine():
    files = [file for file in demo.RECORDED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LARGEST_FOLDER
    assert max(file.stat().st_size for file in files) < LARGEST_FILE
    assert not {"process.json", "run.lock", "optimizer.safetensors"} & {file.name for file in files}
    written = b"".join(file.read_bytes() for file in files if file.suffix in (".yaml", ".json", ".jsonl", ".txt"))
    assert str(ROOT).encode() not in written and b"/tmp/" not in written and b"/home/" not in written


def test_the_recorded_run_cannot_be_resumed(tmp_path, capsys):
    name = demo.copy_recorded(tmp_path)[0]
    assert run_command(train, ["--resume", str(tmp_path / name)]) == 2
    assert "networks alone" in capsys.readouterr().err
    assert RunFolder(tmp_path / name).status().state == "finished"


def test_copying_twice_keeps_what_is_there(tmp_path):
    first = demo.copy_recorded(tmp_path)
    (tmp_path / first[0] / "notes.json").write_text("{}")
    assert demo.copy_recorded(tmp_path) == first and (tmp_path / first[0] / "notes.json").exists()
    with pytest.raises(UserError, match="cannot be copied"):
        (tmp_path / "file").write_text("")
        demo.copy_recorded(tmp_path / "file")


def test_time_left_is_the_recorded_time_at_this_machines_speed(tmp_path):
    assert demo.seconds_left(tmp_path) is None
    usual = {method: demo.usual_seconds(method) for method in demo.METHODS}
    run = write_run(tmp_path, "demo-supervised", method="supervised", state="running", steps=600, step=300)
    slow = 3 * usual["supervised"]
    rows = [{"step": step, "loss": 1.0, "seconds": float(slow[step - 1])} for step in range(1, 301)]
    write_lines(run / "metrics.jsonl", rows)
    expected = 3 * (usual["supervised"][300:].sum() + usual["scl"].sum())
    assert demo.seconds_left(tmp_path) == pytest.approx(expected, rel=0.05)
