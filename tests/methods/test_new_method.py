"""CONTRIBUTING's "A new method": one file, one entry in METHODS, one config file; the loop needs no change."""

import pytest

from scl_core.command_line import run_command
from scl_core.evaluate import main as evaluate
from scl_core.methods import METHODS
from scl_core.train import main as train
from tests.methods.entropy_method import Entropy
from tests.methods.mixing import assert_resumed_equals_uninterrupted, refusal
from tests.tiny import metrics, tiny_options


@pytest.fixture(autouse=True)
def entered(monkeypatch):
    """The one entry."""
    monkeypatch.setitem(METHODS, "entropy", Entropy)


def test_it_trains_from_a_config_file_and_is_scored(tmp_path, capsys):
    config, run = tmp_path / "entropy.yaml", tmp_path / "run"
    config.write_text("method:\n  name: entropy\n  entropy_weight: 0.5\n")
    assert run_command(train, ["--config", str(config), *tiny_options(run, train__steps=2)]) == 0
    assert [row["loss"] for row in metrics(run)] == pytest.approx(
        [row["supervised"] + 0.5 * row["entropy"] for row in metrics(run)]
    )
    assert run_command(evaluate, [str(run), "--split", "test", "--device", "cpu"]) == 0
    assert "student" in capsys.readouterr().out


def test_it_stops_and_goes_on_and_its_settings_are_checked(tmp_path, capsys):
    assert "entropy" in assert_resumed_equals_uninterrupted(tmp_path, method__name="entropy")
    error = refusal(capsys, tmp_path, method__name="entropy", method__entropy_weight=-1)
    assert "method.entropy_weight -1.0 is out of range: allowed are values from 0.0 up" in error


def test_it_is_in_the_help(capsys):
    assert run_command(train, ["--help", "--method.name", "entropy"]) == 0
    assert "method.entropy_weight" in capsys.readouterr().out
