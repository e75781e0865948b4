"""The doctor on this machine, and on what is wrong on others."""

import sys
from collections import namedtuple

import pytest

from scl_core import doctor
from tests.fake_runs import write_run


def levels(findings) -> list[str]:
    return [finding.level for finding in findings]


def test_this_machine_is_well(tmp_runs, tiny_folder, run_cli):
    write_run(tmp_runs, "one")
    done = run_cli("doctor", "--runs", tmp_runs, "--data", tiny_folder)
    assert done.rc == 0, done.stdout
    assert "1 runs" in done.stdout and "folder layout, 3 classes" in done.stdout and "torch" in done.stdout
    assert all(line.startswith(("ok ", "note ")) for line in done.stdout.splitlines()[:-1])


def test_bad_data_is_a_problem_with_what_to_do(tmp_runs, tmp_path, run_cli):
    done = run_cli("doctor", "--runs", tmp_runs, "--data", tmp_path)
    assert done.rc == 1 and "layout" in done.stdout and "1 problem" in done.stdout


@pytest.mark.parametrize("options", [["--nonsense", "1"], ["word"]])
def test_a_mistyped_command_is_2(run_cli, options):
    done = run_cli("doctor", *options)
    assert done.rc == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_an_old_python_is_named(monkeypatch):
    version = namedtuple("version", "major minor micro")(3, 9, 0)
    monkeypatch.setattr(sys, "version_info", version)
    assert levels(doctor.check_python()) == ["bad"]


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch):
    wanted = [("no-such-package", "1", None), ("numpy", "99", None), ("torch", "2.10", None), ("pillow", "1", "2")]
    monkeypatch.setattr(doctor, "requirements", lambda file: wanted)
    found = list(doctor.check_packages())
    assert levels(found) == ["bad", "bad", "bad", "good"]
    assert "no-such-package is missing" in found[0].text and all("pip install" in item.text for item in found[:3])


def test_the_requirements_are_those_of_the_project(project_root):
    names = [name for name, _, _ in doctor.requirements(project_root / "pyproject.toml")]
    assert {"torch", "streamlit", "safetensors"} <= set(names) and len(names) >= 10
    assert doctor.numbers("2.13.0+cpu") == (2, 13, 0)


def test_a_broken_run_is_a_note_and_a_file_in_the_way_a_problem(tmp_runs):
    (write_run(tmp_runs, "one") / "config.yaml").write_text(": :\n\t{")
    assert levels(doctor.check_runs(tmp_runs)) == ["good", "note"]
    (tmp_runs / "file").write_text("")
    assert levels(doctor.check_runs(tmp_runs / "file" / "runs")) == ["bad"]


def test_no_browser_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert levels(doctor.check_browser()) == ["note"]
