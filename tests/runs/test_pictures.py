"""Kept pictures: the content comes back under a harmless name, few stay, and what is gone is told in a sentence."""

import os
from pathlib import Path

import pytest

from scl_core.errors import UserError
from scl_core.runs import list_runs
from scl_core.runs.pictures import MOST_PICTURES, forget_pictures, keep_picture, kept_picture, kept_pictures


def test_a_picture_comes_back_under_a_harmless_name_and_is_no_run(tmp_path: Path):
    name = keep_picture(tmp_path, "../my <b>street.PNG", b"content")
    assert name.endswith("-my_b_street.png")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert kept_picture(tmp_path, name) == b"content"
    assert keep_picture(tmp_path, "../my <b>street.PNG", b"content") == name and len(kept_pictures(tmp_path)) == 1
    assert not list_runs(tmp_path)


def test_the_oldest_leaves(tmp_path: Path):
    names = []
    for number in range(MOST_PICTURES + 2):
        names.append(keep_picture(tmp_path, "a.png", bytes([number])))
        os.utime(tmp_path / ".pictures" / names[-1], (number, number))
    assert kept_pictures(tmp_path)[0] == names[-1] and len(kept_pictures(tmp_path)) == MOST_PICTURES
    with pytest.raises(UserError, match="upload it again"):
        kept_picture(tmp_path, names[0])


@pytest.mark.parametrize("name", ["../secret", "..", ".pictures", "gone.png", ""])
def test_no_name_leads_elsewhere(tmp_path: Path, name):
    (tmp_path / "secret").write_text("x")
    keep_picture(tmp_path, "a.png", b"x")
    with pytest.raises(UserError):
        kept_picture(tmp_path, name)


def test_a_folder_that_takes_nothing_is_one_sentence(tmp_path: Path):
    (tmp_path / ".pictures").write_text("in the way")
    with pytest.raises(UserError, match="cannot be kept"):
        keep_picture(tmp_path, "a.png", b"x")
    assert kept_pictures(tmp_path) == []


def test_forgotten_pictures_are_gone(tmp_path: Path):
    keep_picture(tmp_path, "a.png", b"x")
    forget_pictures(tmp_path)
    assert kept_pictures(tmp_path) == [] and not list((tmp_path / ".pictures").iterdir())
