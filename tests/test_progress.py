"""The log holds what the terminal showed, and the warnings."""

import warnings

import pytest

from scl_core.progress import Progress


def test_warnings_are_in_the_log_and_shown_as_ever(tmp_path):
    progress = Progress(10, log=tmp_path / "log.txt")
    with pytest.warns(RuntimeWarning, match="disk"), progress.warnings():
        warnings.warn("the disk\nis full", RuntimeWarning, stacklevel=1)
    assert (tmp_path / "log.txt").read_text() == "RuntimeWarning: the disk is full\n"


def test_after_it_the_log_is_left_alone(tmp_path):
    progress = Progress(10, log=tmp_path / "log.txt")
    show = warnings.showwarning
    with pytest.raises(KeyError), progress.warnings():
        raise KeyError
    assert warnings.showwarning is show and not (tmp_path / "log.txt").exists()


def test_a_quiet_rank_and_a_full_disk_write_nothing(tmp_path):
    Progress(10, log=tmp_path / "log.txt", quiet=True).write_log("no")
    assert not (tmp_path / "log.txt").exists()
    Progress(10, log=tmp_path / "none" / "log.txt").write_log("nowhere")
