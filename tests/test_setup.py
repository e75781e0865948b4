"""Setting up: which Python is taken or refused, what is installed in which order, and that pins and ranges agree."""

import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = """#!/bin/sh
case "$*" in
    *version_info*) echo 3.11 ;;
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"-m pip"*) echo "$*" >> pip.log ;;
esac
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(argv: list, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")} | env
    return subprocess.run(list(map(str, argv)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def pins(name: str) -> dict[str, str]:
    """Package -> exact version; a line that is no plain pin fails the test."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """Only what setting up needs, in an empty folder, with a stand-in interpreter that logs what pip is asked."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    script(tmp_path / "stand-in", STAND_IN)
    return tmp_path


def test_torch_is_pinned_first():
    assert next(iter(pins("requirements.txt"))) == "torch"


def test_pins_satisfy_the_ranges(project: dict):
    declared = project["dependencies"] + project["optional-dependencies"]["dev"]
    ranges = {requirement.name: requirement.specifier for requirement in map(Requirement, declared)}
    pinned = pins("requirements.txt") | pins("requirements-dev.txt")
    assert set(pinned) == set(ranges)
    assert [name for name in pinned if pinned[name] not in ranges[name]] == []


@pytest.mark.parametrize(
    ("package", "floor"), [("torch", "2.10"), ("pillow", "13.0.0"), ("streamlit", "1.67"), ("python", "3.11")]
)
def test_floors(project: dict, package: str, floor: str):
    declared = [*project["dependencies"], f"python{project['requires-python']}"]
    specifier = next(found.specifier for found in map(Requirement, declared) if found.name == package)
    assert [bound.version for bound in specifier if bound.operator == ">="] == [floor]


def test_the_running_python_is_in_range(project: dict):
    assert platform.python_version() in SpecifierSet(project["requires-python"])


@pytest.mark.parametrize("answer", ["3.10", "3.14", "2.7", "Python 3.10.12", "3.1"])
@pytest.mark.parametrize("target", ["setup", "app", "test"])
def test_another_python_is_refused_in_a_sentence(bare_copy: Path, answer: str, target: str):
    other = script(bare_copy / "other python", f"#!/bin/sh\necho {answer}\n")
    done = run(["make", target, f"PYTHON={other}"], bare_copy)
    assert done.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr and f"other python is {answer}" in done.stderr
    assert "Traceback" not in done.stderr and not (bare_copy / ".venv").exists()


@pytest.mark.parametrize("body", ["exit 127", "echo 3.12; exit 1", "true"])
def test_a_shim_without_an_interpreter_is_passed_over(tmp_path: Path, body: str):
    script(tmp_path / "python3.11", f"#!/bin/sh\n{body}\n")
    script(tmp_path / "python3.12", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    done = run([ROOT / ".ci/python"], PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (done.returncode, done.stdout.strip()) == (0, "python3.12")


def test_a_python_without_venv_is_named(tmp_path: Path):
    lean = script(tmp_path / "lean", '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) echo 3.12 ;; esac\n')
    done = run([ROOT / ".ci/python"], PYTHON=str(lean))
    assert done.returncode == 1 and "has no venv module" in done.stderr and "python3.12-venv" in done.stderr


def test_setup_installs_torch_alone_and_first_and_only_once(bare_copy: Path):
    command = ["make", "setup-dev", f"PYTHON={bare_copy / 'stand-in'}"]
    assert run(command, bare_copy).returncode == 0
    asked = [line.split("--disable-pip-version-check ")[1] for line in (bare_copy / "pip.log").read_text().splitlines()]
    assert asked == [f"torch=={pins('requirements.txt')['torch']}", "-r requirements.txt", "-r requirements-dev.txt"]
    assert run(command, bare_copy).returncode == 0
    assert len((bare_copy / "pip.log").read_text().splitlines()) == 3


def test_setup_runs_again_when_the_pins_change(bare_copy: Path):
    command = ["make", "setup", f"PYTHON={bare_copy / 'stand-in'}"]
    run(command, bare_copy)
    later = time.time() + 5
    os.utime(bare_copy / "requirements.txt", (later, later))
    run(command, bare_copy)
    assert len((bare_copy / "pip.log").read_text().splitlines()) == 4


def test_a_failed_install_is_not_taken_for_done(bare_copy: Path):
    script(bare_copy / "stand-in", STAND_IN.replace('echo "$*" >> pip.log', "exit 1"))
    done = run(["make", "setup", f"PYTHON={bare_copy / 'stand-in'}"], bare_copy)
    assert done.returncode != 0 and not (bare_copy / ".venv/setup.done").exists()


def test_app_says_its_address(bare_copy: Path):
    done = run(["make", "app", f"PYTHON={bare_copy / 'stand-in'}", "PORT=8502"], bare_copy)
    assert done.returncode == 0 and "http://127.0.0.1:8502" in done.stdout


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with nothing on it but what a script cannot do without, and a stub where Chromium should be."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "id", "mktemp", "tail", "rm", "cp", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    script(folder / "chromium", "#!/bin/sh\necho use another package manager\nexit 1\n")
    return folder


def see_to_chromium(path: Path) -> subprocess.CompletedProcess:
    done = run(["/bin/sh", ROOT / ".ci/chromium"], PATH=str(path))
    assert done.returncode == 0, done.stderr
    return done


def act_as(path: Path, user: int) -> None:
    (path / "id").unlink()
    script(path / "id", f"#!/bin/sh\necho {user}\n")


def test_without_a_package_manager_browser_tests_are_said_to_skip(bare_path: Path):
    assert "browser tests will skip" in see_to_chromium(bare_path).stdout


def test_without_rights_browser_tests_are_said_to_skip(bare_path: Path):
    act_as(bare_path, 1000)
    script(bare_path / "apt-get", "#!/bin/sh\necho never\n")
    assert "needs root" in see_to_chromium(bare_path).stdout


def test_chromium_is_installed_once_where_that_is_possible(bare_path: Path):
    act_as(bare_path, 0)
    working = script(bare_path / "working", "#!/bin/sh\necho Chromium 156\n")
    install = (
        f'echo "$*" >> "{bare_path}/apt.log"\ncase "$*" in *chromium*) cp "{working}" "{bare_path}/chromium" ;; esac\n'
    )
    script(bare_path / "apt-get", f"#!/bin/sh\n{install}")
    assert "skip" not in see_to_chromium(bare_path).stdout
    assert see_to_chromium(bare_path).stdout == ""
    asked = (bare_path / "apt.log").read_text().splitlines()
    assert asked == ["update", "install -y --no-install-recommends chromium fonts-dejavu-core"]


def test_a_failed_installation_of_chromium_fails_nothing(bare_path: Path):
    act_as(bare_path, 0)
    script(bare_path / "apt-get", "#!/bin/sh\necho no network; exit 100\n")
    said = see_to_chromium(bare_path).stdout
    assert "no network" in said and "browser tests will skip" in said
