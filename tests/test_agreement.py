"""The ranking of unlabeled pictures: its measures on known distributions, its files, and its list read as data."""

import numpy as np
import pytest
import torch

from scl_core import agreement
from scl_core.config import load_config
from scl_core.data.sources import open_data
from scl_core.errors import UserError
from scl_core.runs import RunFolder
from tests.fake_runs import write_run
from tests.tiny import MODEL


def one_hot(classes) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).permute(2, 0, 1).float()


def test_measures_of_known_distributions():
    same, other = one_hot([[0, 1], [2, 2]]), one_hot([[0, 1], [2, 0]])
    even = torch.full((3, 2, 2), 1 / 3)
    assert agreement.mean_entropy(same) == 0 and agreement.mean_entropy(even) == pytest.approx(1)
    assert agreement.mean_distance(same, same) == 0 and agreement.mean_distance(same, other) == pytest.approx(0.25)
    assert agreement.mean_distance(one_hot([[0]]), one_hot([[1]])) == 1
    assert agreement.different_share(same, other) == 0.25


@pytest.fixture
def ranking() -> agreement.Ranking:
    lines = ["images/a.png", "images/b c.png", "images/d.png"]
    return agreement.Ranking(7, "unlabeled", ["teacher", "student"], "h", ["a", "b", "d"], lines, [0.1, 0.9, 0.5],
                             [0.0, 0.2, 0.1], [0.3, 0.1, 0.2])  # fmt: skip


def test_a_ranking_reads_back(tmp_runs, ranking):
    run = RunFolder(write_run(tmp_runs, "one"))
    assert agreement.read_ranking(run, 7, "unlabeled") is None
    agreement.write_ranking(run, ranking)
    assert agreement.read_ranking(run, 7, "unlabeled") == ranking
    assert ranking.by("disagreement") == [1, 2, 0] and ranking.by("entropy") == [0, 2, 1]
    agreement.ranking_path(run, 7, "unlabeled").write_text("[]")
    with pytest.raises(UserError, match="rank again"):
        agreement.read_ranking(run, 7, "unlabeled")


def test_the_command_ranks_and_the_list_is_read_as_a_labeled_list(tmp_runs, tiny_folder, run_cli):
    run_dir = tmp_runs / "one"
    settings = {f"model.{key}": value for key, value in MODEL.items()} | {"data.root": tiny_folder, "device": "cpu"}
    settings |= {"data.height": 48, "data.width": 64, "train.steps": 1, "train.batch_labeled": 2, "run_dir": run_dir}
    trained = run_cli("train", *(word for key, value in settings.items() for word in (f"--{key}", value)))
    assert trained.rc == 0, trained.stderr
    done = run_cli("agreement", run_dir, "--device", "cpu")
    assert done.rc == 0, done.stderr
    ranking = agreement.read_ranking(RunFolder(run_dir), 1, "unlabeled")
    assert len(ranking.names) == 4 and all(np.isfinite(ranking.disagreement)) and 0 < min(ranking.entropy) <= 1
    order = ranking.by("disagreement")[:2]
    text = agreement.list_text(ranking, order)
    labeled = "".join(f"{line}\tmasks/000.png\n" for line in text.splitlines())
    (tiny_folder / "next.txt").write_text(labeled)
    config = load_config((), {"data.root": tiny_folder, "data.labeled": "next.txt", "data.val_fraction": 0})
    assert open_data(config.data).pictures("labeled").names == tuple(ranking.names[index] for index in order)
