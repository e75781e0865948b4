"""A checkpoint that is not the run's, from the command line: one line with what it is of and what is needed."""

import shutil

import pytest
import torch
import yaml

from scl_core.checkpoint import find_checkpoint, read_checkpoint, save_checkpoint
from scl_core.command_line import run_command
from scl_core.evaluate import main as evaluate
from scl_core.methods import METHODS
from scl_core.train import main as train
from tests.tiny import tiny_options

COMMANDS = {"evaluate": (evaluate, []), "train": (train, ["--resume"])}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A stopped run of one step of a method, trained once."""
    runs = {}

    def run_of(name, **settings):
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp(name) / "run"
            steps = {"train__steps": 2, "train__stop_at": 1, "method__name": name}
            assert run_command(train, tiny_options(runs[name], **steps, **settings)) == 0
        return runs[name]

    return run_of


def refused(capsys, command, run) -> str:
    """The one line with which the command refuses the run."""
    capsys.readouterr()
    main, before = COMMANDS[command]
    device = ["--device", "cpu"] if command == "evaluate" else []
    assert run_command(main, [*before, str(run), *device]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("name", [name for name in METHODS if name != "supervised"])
def test_a_checkpoint_of_another_method_names_both(name, trained, tmp_path, capsys):
    run = shutil.copytree(trained("supervised"), tmp_path / "run")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["method"] = {"name": name} | ({"num_queries": 12, "heads": 2} if name == "rc2l" else {})
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for command in COMMANDS:
        error = refused(capsys, command, run)
        assert f"is of method supervised, and the run is of method {name}: give a checkpoint of a {name} run" in error


@pytest.mark.parametrize("shape", [(12, 4, 8), (11, 2, 8), (11, 4, 16)])
def test_prototypes_of_other_classes_or_settings_say_both_numbers(shape, trained, tmp_path, capsys):
    run = shutil.copytree(trained("pcr", method__start=0.0, method__grid=8), tmp_path / "run")
    stored = read_checkpoint(find_checkpoint(run, "last"))
    stored.tensors["student"]["beside.prototypes"] = torch.ones(shape)
    save_checkpoint(run, stored.step, stored.tensors, stored.state, {}, keep_last=1)
    there, here = ("{} classes, {} each, of {} channels".format(*numbers) for numbers in (shape, (11, 4, 8)))
    for command in COMMANDS:
        error = refused(capsys, command, run)
        assert f"has prototypes for {there}; the run's data, method.num_prototypes and" in error and here in error
