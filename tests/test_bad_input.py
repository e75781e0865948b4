"""What a user can get wrong with data: one clear line, exit status 2, and no run folder left behind."""

import numpy as np
import pytest
from PIL import Image

from scl_core.command_line import run_command
from scl_core.train import main as train
from tests.tiny import MODEL, TRAIN


@pytest.fixture
def refusal(tmp_path, capsys):
    """Train on a folder that the test has spoilt; the one line that it is refused with."""

    def refuse(root, *more):
        settings = {f"model.{key}": value for key, value in MODEL.items()} | {f"train.{k}": v for k, v in TRAIN.items()}
        options = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        run = tmp_path / "run"
        assert run_command(train, [*options, "--data.root", str(root), "--run_dir", str(run), *more]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and not run.exists()
        return error

    return refuse


def test_good_folder_trains(tmp_path, tiny_folder, capsys):
    options = ["--data.root", str(tiny_folder), "--run_dir", str(tmp_path / "run"), "--model.decoder_channels", "8"]
    assert (
        run_command(train, [*options, "--model.width", "0.25", "--train.steps", "1", "--train.batch_labeled", "2"]) == 0
    )
    assert "recognised as data.name folder" in capsys.readouterr().out


def test_missing_root(refusal, tmp_path):
    assert str(tmp_path / "gone") in refusal(tmp_path / "gone")


def test_empty_root(refusal, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal(tmp_path / "empty")


def test_list_that_names_a_missing_file(refusal, tiny_folder):
    (tiny_folder / "labeled.txt").write_text("images/000.png masks/000.png\nimages/gone.png masks/000.png\n")
    error = refusal(tiny_folder)
    assert "labeled.txt" in error and "line 2" in error and "images/gone.png" in error


def test_mask_value_outside_the_classes(refusal, tiny_folder):
    mask = Image.open(tiny_folder / "masks" / "001.png")
    values = np.asarray(mask).copy()
    values[:3] = 7
    spoilt = Image.fromarray(values)
    spoilt.save(tiny_folder / "masks" / "001.png")
    error = refusal(tiny_folder)
    assert "001.png" in error and "7" in error


def test_picture_and_mask_of_different_sizes(refusal, tiny_folder):
    Image.new("L", (30, 20)).save(tiny_folder / "masks" / "002.png")
    error = refusal(tiny_folder)
    assert "002.png" in error and "48" in error and "64" in error and "20" in error and "30" in error


def test_mask_that_belongs_to_no_picture(refusal, tiny_folder):
    (tiny_folder / "masks" / "001.png").rename(tiny_folder / "masks" / "001_mask.png")
    assert "masks/001_mask.png belongs to no picture" in refusal(tiny_folder)


def test_truncated_picture(refusal, tiny_folder):
    file = tiny_folder / "images" / "000.png"
    file.write_bytes(file.read_bytes()[:200])
    assert "000.png" in refusal(tiny_folder)


def test_more_loss_boxes_than_boxes(refusal, tiny_folder):
    error = refusal(tiny_folder, "--method.num_boxes", "4", "--method.num_loss_boxes", "5")
    assert "method.num_loss_boxes 5 is more than method.num_boxes 4" in error


def test_name_scenes_with_a_root(refusal, tiny_folder):
    assert "draws its pictures and reads no folder" in refusal(tiny_folder, "--data.name", "scenes")


def test_data_sets_own_setting_is_of_no_other(refusal, tiny_folder):
    assert "unknown setting data.labeled_pictures" in refusal(tiny_folder, "--data.labeled_pictures", "3")
