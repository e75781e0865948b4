"""The documents hold what they say: commands and examples work, links lead somewhere, the tree is the tree."""

import fnmatch
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import Entry, anchors, blocks, commands, links, tree

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")])
HARMLESS = {"cd", "git", "source", ".", "pip", "python3", "ls"}


@pytest.fixture(scope="module")
def readme() -> str:
    if not README.is_file():
        pytest.skip("README.md is not written yet")
    return README.read_text(encoding="utf-8")


@pytest.fixture
def tidy_root(tmp_path: Path) -> Path:
    """The project seen from an empty folder, so that what an example writes does not land in the project."""
    for path in ROOT.iterdir():
        if path.name not in {".git", "runs"}:
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def run(argv: list[str], cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def top_level_names() -> set[str]:
    """What lies at the project's top: what git tracks; in a copy without git, what .gitignore does not name."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0 and tracked.stdout:
        return {name.split("/")[0] for name in tracked.stdout.split("\0") if name} - {".gitignore"}
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()] + [".git", ".gitignore"]
    return {name for name in os.listdir(ROOT) if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)}


def module_paths() -> list[str]:
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "scl_core").rglob("*.py")]
    return sorted(path for path in found if not path.endswith("__init__.py"))


def annotated_tree(readme: str) -> list[Entry]:
    found = [block for block in blocks(readme, "", "text") if "app.py" in block and "scl_core/" in block]
    assert len(found) == 1, "README.md needs one fenced tree that names app.py and scl_core/"
    return tree(found[0])


def is_named(path: str, entries: list[Entry]) -> bool:
    """A module is named as a path of its own, or, inside a package, by its stem in the package's remark."""
    package, stem = os.path.dirname(path) + "/", Path(path).stem
    remarks = [entry.remark for entry in entries if entry.path == package]
    in_remark = package != "scl_core/" and any(stem in remark.replace(",", " ").split() for remark in remarks)
    return in_remark or any(entry.path == path for entry in entries)


def check_command(words: list[str], root: Path) -> str:
    """What is wrong with one of the README's commands, or an empty text."""
    program = Path(words[0]).name
    if program == "make":
        return check_make([word for word in words[1:] if "=" not in word], root)
    if program == "streamlit":
        return "" if words[1:3] == ["run", "app.py"] and (root / "app.py").is_file() else "starts no app of ours"
    if program in {"python", "torchrun"} and "-m" in words:
        at = words.index("-m")
        return check_module(words[at + 1], words[at + 2 :], root)
    return "" if program in HARMLESS else f"no check knows the program {program}"


def check_make(targets: list[str], root: Path) -> str:
    done = run(["make", "--dry-run", *targets], root)
    return "" if done.returncode == 0 else done.stderr


def check_module(module: str, options: list[str], root: Path) -> str:
    """Training prints its resolved settings, which reads files and options; another command must know its options."""
    if not module.startswith("scl_core."):
        return f"{module} is not ours"
    if module == "scl_core.train" and "--resume" not in options:
        done = run([sys.executable, "-m", module, *options, "--print_config"], root)
        return "" if done.returncode == 0 else done.stderr
    done = run([sys.executable, "-m", module, "--help"], root)
    named = {option.split("=")[0].replace("-", "_") for option in options if option.startswith("--")}
    missing = [name for name in named if name not in done.stdout.replace("-", "_")]
    return done.stderr if done.returncode else ", ".join(f"--help does not know {name}" for name in missing)


def dead_links(document: Path, root: Path) -> list[str]:
    """The links of a document that lead to no file inside the project, or to no heading."""
    dead = []
    for link in links(document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (document.parent / path).resolve() if path else document
        wrong_heading = (
            anchor and target.suffix == ".md" and target.is_file() and anchor not in anchors(target.read_text())
        )
        if not target.exists() or not target.is_relative_to(root) or wrong_heading:
            dead.append(link)
    return dead


def test_commands_work(readme: str, tidy_root: Path):
    found = commands(readme)
    wrong = {" ".join(words): problem for words in found if (problem := check_command(words, tidy_root))}
    assert found and not wrong, wrong


def test_the_two_commands_are_there(readme: str):
    assert {"make app", "make test"} <= {" ".join(words) for words in commands(readme)}


def test_python_examples_run(readme: str, tidy_root: Path):
    examples = blocks(readme, "python")
    assert examples
    for example in examples:
        done = run([sys.executable, "-c", example], tidy_root)
        assert done.returncode == 0, f"{example}\n{done.stderr}"


def test_every_path_of_the_tree_exists(readme: str):
    assert [entry.path for entry in annotated_tree(readme) if not (ROOT / entry.path).exists()] == []


def test_the_tree_names_everything_at_the_top(readme: str):
    shown = {entry.path.split("/")[0] for entry in annotated_tree(readme)}
    assert top_level_names() - shown == set()


def test_the_tree_names_every_module(readme: str):
    entries = annotated_tree(readme)
    assert [path for path in module_paths() if not is_named(path, entries)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path):
    assert dead_links(document, ROOT) == []


SAMPLE = """# A title: here
See [docs](docs/a.md#part-two), [none](gone.md), ![picture](gone.png), [up](#a-title-here), [web](https://example.org/x).
`[code](not/a/link)`
```bash
$ cd here && make test   # all
OMP_NUM_THREADS=1 torchrun --standalone \\
    -m scl_core.train --config a.yaml
```
```
app.py                remark
scl_core/             the core
  train.py ema.py     two
  losses/             supervised · structured
tests/ experiments/  both
```
```python
print(1)
```
"""


def test_reading_a_document(tmp_path: Path):
    assert commands(SAMPLE) == [
        ["cd", "here"],
        ["make", "test"],
        ["torchrun", "--standalone", "-m", "scl_core.train", "--config", "a.yaml"],
    ]
    assert blocks(SAMPLE, "python") == ["print(1)\n"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("## Part two\n")
    (tmp_path / "README.md").write_text(SAMPLE)
    assert dead_links(tmp_path / "README.md", tmp_path) == ["gone.md", "gone.png"]


@pytest.mark.parametrize(
    "drawn",
    [None, "app.py\nscl_core/\n├── train.py   remark\n├── ema.py  # two\n└── losses/   supervised · structured\n"],
)
def test_reading_a_tree(drawn: str | None):
    entries = tree(drawn or blocks(SAMPLE, "")[0])
    paths = ["app.py", "scl_core/", "scl_core/train.py", "scl_core/ema.py", "scl_core/losses/"]
    assert [entry.path for entry in entries][:5] == paths
    assert is_named("scl_core/ema.py", entries) and is_named("scl_core/losses/structured.py", entries)
    assert not is_named("scl_core/losses/gone.py", entries) and not is_named("scl_core/gone.py", entries)


@pytest.mark.parametrize(
    "words",
    [["make", "nonsense"], ["streamlit", "run", "gone.py"], ["curl", "x"], ["python", "-m", "scl_core.nonsense"]],
)
def test_a_wrong_command_is_noticed(words: list[str]):
    assert check_command(words, ROOT)


def test_a_right_command_passes():
    assert check_command(["make", "test", "TESTS=tests/losses"], ROOT) == ""
