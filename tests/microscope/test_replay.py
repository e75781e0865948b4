"""The step after a checkpoint, recomputed from the run folder, is the row that training wrote."""

import sys

import pytest

from scl_core.errors import UserError
from scl_core.microscope.replay import UNTRAINED, replay_step
from tests.conftest import run_command
from tests.tiny import metrics, tiny_options


@pytest.fixture(scope="module", params=["scl", "fixmatch"])
def run_dir(request, tmp_path_factory):
    """A run of six steps by the real command, with a checkpoint after every second one."""
    path = tmp_path_factory.mktemp("runs") / request.param
    options = tiny_options(path, method__name=request.param, train__keep_checkpoints=9)
    done = run_command([sys.executable, "-m", "scl_core.train", *options], timeout=120)
    assert done.rc == 0, done.stderr
    return path


@pytest.mark.parametrize("checkpoint", [UNTRAINED, 2, 4])
def test_every_term_is_that_row_of_the_metrics(run_dir, checkpoint):
    step = 1 if checkpoint == UNTRAINED else checkpoint + 1
    found, row = replay_step(run_dir, checkpoint), metrics(run_dir)[step - 1]
    assert (found.step, found.checkpoint, found.mode) == (step, step - 1, "train")
    assert found.loss == pytest.approx(row["loss"], abs=1e-5)
    assert {name: pytest.approx(row[name], abs=1e-5) for name in found.terms} == found.terms
    assert found.logged == row and found.largest_difference < 1e-5
    assert found.loss == pytest.approx(sum(found.weights[name] * value for name, value in found.terms.items()))


@pytest.mark.parametrize("other", [{"step": 4}, {"seed": 1}, {"settings": {"structured_weight": 9.0}}])
def test_any_other_picture_is_no_training_step(run_dir, other):
    found = replay_step(run_dir, 2, **other)
    assert found.logged is None and found.largest_difference is None


def test_the_step_after_the_last_has_no_row(run_dir):
    found = replay_step(run_dir, "last")
    assert (found.step, found.logged) == (7, None)


def test_a_replay_is_a_function_of_the_folder(run_dir):
    before = {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()}
    assert replay_step(run_dir, 2) == replay_step(run_dir, 2)
    assert before == {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()}


def test_a_checkpoint_that_is_not_there_is_a_mistake(run_dir):
    with pytest.raises(UserError, match="999"):
        replay_step(run_dir, 999)
