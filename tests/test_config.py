"""One schema for files and options; every mistake is one sentence with its place."""

import pytest
import yaml

from scl_core.command_line import read_options, run_command
from scl_core.config import flat_fields, flatten, load_config, to_dict
from scl_core.errors import UserError
from scl_core.train import main


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_later_file_and_option_win(tmp_path):
    first = write(tmp_path / "a.yaml", "seed: 1\ntrain:\n  steps: 10\n  learning_rate: 1e-3\n")
    second = write(tmp_path / "b.yaml", "train:\n  steps: 20\n")
    config = load_config([first, second], {"seed": 3})
    assert (config.seed, config.train.steps, config.train.learning_rate) == (3, 20, 1e-3)


def test_base_file_is_read_first(tmp_path):
    write(tmp_path / "base.yaml", "seed: 1\ntrain: {steps: 10}\n")
    own = write(tmp_path / "own.yaml", "base: base.yaml\nseed: 2\n")
    config = load_config([own])
    assert (config.seed, config.train.steps) == (2, 10)


def test_base_of_a_base_is_refused(tmp_path):
    own = write(tmp_path / "own.yaml", "base: own.yaml\n")
    with pytest.raises(UserError, match=r"own\.yaml, line 1: a base file cannot have a base"):
        load_config([own])


def test_subset_name_with_underscore_stays_a_text(tmp_path):
    file = write(tmp_path / "a.yaml", f"data:\n  name: camvid\n  root: {tmp_path}\n  labeled: 1_8\n")
    assert load_config([file]).data.labeled == "1_8"


def test_settings_survive_a_round_trip_through_yaml(tmp_path):
    config = load_config([], {"method.num_boxes": 5, "method.max_pairs": 9000, "model.width": 0.5})
    file = write(tmp_path / "config.yaml", yaml.safe_dump(to_dict(config)))
    assert to_dict(load_config([file])) == to_dict(config)


def test_unknown_setting_names_file_line_and_nearest(tmp_path):
    file = write(tmp_path / "a.yaml", "train:\n  steps: 5\n  learning_rat: 0.1\n")
    with pytest.raises(
        UserError, match=r"a\.yaml, line 3: unknown setting train\.learning_rat; .*train\.learning_rate"
    ):
        load_config([file])


def test_setting_of_another_method_is_refused():
    with pytest.raises(UserError, match="unknown setting method.structured_weight of method supervised"):
        load_config([], {"method.name": "supervised", "method.structured_weight": 3})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method.name": "nope"}, "method.name 'nope' does not exist: choose one of supervised, "),
        ({"train.steps": "many"}, "train.steps 'many' is not a whole number"),
        ({"train.steps": 0}, "train.steps 0 is out of range: allowed are values from 1 up"),
        ({"train.optimizer": "lbfgs"}, "train.optimizer 'lbfgs' is not one of sgd, adamw"),
        (
            {"method.num_loss_boxes": 9, "method.num_boxes": 8},
            "method.num_loss_boxes 9 is more than method.num_boxes 8",
        ),
        ({"data.name": "scenes", "data.root": "x"}, "data.root is set, but data.name scenes draws its pictures"),
        ({"method.total_area": float("nan")}, "method.total_area 'nan' is not a number"),
    ],
)
def test_bad_value_is_one_sentence(settings, message):
    with pytest.raises(UserError) as caught:
        load_config([], settings)
    assert message in str(caught.value)


def test_error_across_settings_names_the_line(tmp_path):
    file = write(tmp_path / "a.yaml", "method:\n  num_boxes: 4\n  num_loss_boxes: 5\n")
    with pytest.raises(UserError, match=r"a\.yaml, line 3: method\.num_loss_boxes 5 is more"):
        load_config([file])


def test_file_that_is_no_yaml_names_the_line(tmp_path):
    file = write(tmp_path / "a.yaml", "train:\n  steps: [1\nseed: 2\n")
    with pytest.raises(UserError, match=r"a\.yaml, line \d: not a YAML file"):
        load_config([file])


def test_dashes_and_underscores_are_the_same():
    options = read_options(["--train.batch-labeled", "3", "--train.log_every=7"])
    config = options.config()
    assert (config.train.batch_labeled, config.train.log_every) == (3, 7)


def test_nothing_is_abbreviated():
    with pytest.raises(UserError, match="unknown setting train.step; the nearest is train.steps"):
        read_options(["--train.step", "3"]).config()


def test_option_without_value_is_refused():
    with pytest.raises(UserError, match="--seed needs a value"):
        read_options(["--seed"])


def test_every_setting_has_help():
    for method in ("supervised", "scl"):
        for data in ("scenes", "camvid", "folder"):
            assert all(field.help for field in flat_fields(method, data))


def test_print_config_is_a_complete_config_file(tmp_path, capsys):
    assert run_command(main, ["--method.name", "supervised", "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert set(flatten(printed)) == {field.key for field in flat_fields("supervised", "scenes")}


def test_help_lists_the_settings_of_the_chosen_method(capsys):
    assert run_command(main, ["--method.name", "scl", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--method.max_pairs" in text and "--data.labeled" in text


def test_user_error_is_one_line_and_status_2(capsys):
    assert run_command(main, ["--train.stpes", "3"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err
