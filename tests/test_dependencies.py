"""Which file may import which, and what no file may call: read from the source, so that nothing needs to run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_graph import Import, imports_of, module_file, module_name, python_files, reachable
from tests.unsafe_calls import unsafe_calls

ROOT = Path(__file__).resolve().parent.parent
# A module imports only from the layers above its own line here (its own package aside); figures stand apart.
LAYERS = [
    {"errors", "settings"},
    {"allocator", "comparison", "cutmix", "ema", "losses", "metrics", "schedule", "seeding", "storage"},
    {"batch_norm", "config_files", "progress", "protocol", "sharding", "structured_form", "watchdog"},
    {"checkpoint", "distributed", "runs"},
    {"models", "data", "launch"},
    {"probe", "inference", "jobs"},
    {"methods"},
    {"config"},
    {"command_line", "restore"},
    {"in_turn"},
    {"demo"},
    {"evaluate", "predict"},
    {"agreement", "doctor", "export", "training"},
    {"train"},
    {"microscope"},
]
LEAVES = {"comparison", "cutmix", "ema", "losses", "metrics", "schedule", "seeding"}
APART = {"figures": {"errors"}}
CORE_FILES = python_files(ROOT, "scl_core")
PAGE_FILES = python_files(ROOT, "app.py", "pages")
COMMANDS = ["train", "evaluate", "predict", "export"]


def unit(dotted: str) -> str:
    """The first-level module of scl_core that a dotted name belongs to: `scl_core.losses.structured` -> `losses`."""
    return (dotted.split(".") + [""])[1]


def layer(name: str) -> int:
    return next((number for number, names in enumerate(LAYERS) if name in names), -1)


def upward_imports(root: Path, files: list[Path]) -> list[Import]:
    """The imports of scl_core's files that do not go to a lower layer or stay in their own package."""
    return [
        item
        for file in files
        for item in imports_of(root, file)
        if item.top == "scl_core" and not goes_down(unit(module_name(root, file)), unit(item.target))
    ]


def goes_down(importer: str, imported: str) -> bool:
    if importer == imported or importer == "":
        return True
    if importer in APART:
        return imported in APART[importer]
    return 0 <= layer(imported) < layer(importer)


def report(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def test_every_module_has_a_layer():
    known = set().union(*LAYERS, APART)
    names = {unit(module_name(ROOT, file)) for file in CORE_FILES} - {""}
    assert names <= known, f"say in LAYERS where these belong: {sorted(names - known)}"


def test_no_module_has_two_layers():
    named = [name for names in LAYERS for name in names]
    assert sorted(named) == sorted(set(named))


def test_arrows_point_inward():
    found = upward_imports(ROOT, CORE_FILES)
    assert not found, report(found)


def test_leaves_import_nothing_of_ours():
    found = [
        item
        for file in CORE_FILES
        if (name := unit(module_name(ROOT, file))) in LEAVES
        for item in imports_of(ROOT, file)
        if item.top == "scl_core" and unit(item.target) not in {"errors", "settings", name}
    ]
    assert not found, report(found)


def test_the_structured_loss_can_be_taken_away_as_one_file():
    found = imports_of(ROOT, ROOT / "scl_core/losses/structured.py")
    assert not [item for item in found if item.top != "torch" and item.top not in sys.stdlib_module_names], report(
        found
    )


def test_the_core_knows_no_app():
    forbidden = {"streamlit", "app", "pages", "tests", "experiments"}
    found = [item for file in CORE_FILES for item in imports_of(ROOT, file) if item.top in forbidden]
    assert not found, report(found)


def test_pages_use_only_the_core_and_what_they_share():
    ours = {module_name(ROOT, file).split(".")[0] for file in python_files(ROOT, "app.py", "tests", "experiments")}
    found = [item for file in PAGE_FILES for item in imports_of(ROOT, file) if item.top in ours]
    found += [item for file in PAGE_FILES for item in imports_of(ROOT, file) if item.is_below("scl_core.train")]
    assert not found, report(found)


def test_no_page_lies_directly_in_pages():
    assert not list((ROOT / "pages").glob("*.py")), (
        "Streamlit would serve it around app.py: put it in a section's folder"
    )


@pytest.mark.parametrize("command", [name for name in COMMANDS if module_file(ROOT, f"scl_core.{name}")])
def test_commands_need_no_screen(command: str):
    forbidden = {"streamlit", "plotly", "pandas"}
    found = [item for item in reachable(ROOT, f"scl_core.{command}") if item.top in forbidden]
    assert not found, report(found)


def test_training_loads_nothing_of_the_app():
    script = "import sys, scl_core.train; print(sorted({'streamlit', 'plotly', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_listing_runs_needs_no_torch():
    found = [item for item in reachable(ROOT, "scl_core.runs") if item.top == "torch"]
    assert not found, report(found)


@pytest.mark.parametrize(
    "file",
    python_files(ROOT, "app.py", "pages", "scl_core", "experiments"),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_nothing_runs_what_a_file_says(file: Path):
    assert unsafe_calls(file.read_text(encoding="utf-8")) == []


@pytest.fixture
def bad_tree(tmp_path: Path) -> Path:
    """A small scl_core that breaks the rules in the ways that are easy to miss."""
    files = {
        "scl_core/__init__.py": "",
        "scl_core/train.py": "import plotly.graph_objects as go\n",
        "scl_core/cutmix.py": "def late():\n    from .train import main\n",
        "scl_core/data/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scl_core.train\n",
        "scl_core/data/lists.py": "from scl_core import train\nfrom . import images\nfrom ..errors import UserError\n",
        "scl_core/figures/iou.py": "from scl_core.metrics import mean_iou\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_walk_sees_late_relative_and_hidden_imports(bad_tree: Path):
    found = upward_imports(bad_tree, python_files(bad_tree, "scl_core"))
    assert [(str(item.file), item.line, item.target) for item in found] == [
        ("scl_core/cutmix.py", 2, "scl_core.train.main"),
        ("scl_core/data/lists.py", 1, "scl_core.train"),
        ("scl_core/figures/iou.py", 1, "scl_core.metrics.mean_iou"),
    ]


def test_the_walk_follows_a_chain(bad_tree: Path):
    assert "plotly" in {item.top for item in reachable(bad_tree, "scl_core.data.lists")}
    assert "plotly" not in {item.top for item in reachable(bad_tree, "scl_core.data")}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import torch; torch.load(f)",
        "import torch as t; t.load(f, map_location='cpu')",
        "from torch import load as read; read(f)",
        "import torch; torch.load(f, weights_only=False)",
        "import torch; torch.load(f, weights_only=safe)",
        "import torch; torch.export.load(f)",
        "import yaml; yaml.load(f, Loader=yaml.SafeLoader)",
        "from yaml import unsafe_load; unsafe_load(f)",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import numpy as np; np.load(f, allow_pickle=True)",
        "import streamlit as st; st.markdown(name, unsafe_allow_html=True)",
        "import streamlit as st; st.html(name)",
        "import streamlit as st; st.html(f'<style>{name}</style>')",
        "import streamlit as st; st.html('<style>' + name + '</style>')",
        "import streamlit as st; st.html('<b>bold</b>')",
        "import streamlit as st; st.html('<style></style><script></script>')",
        "import streamlit.components.v1 as components; components.html(name)",
        "eval(text)",
    ],
)
def test_the_lint_finds(line: str):
    assert unsafe_calls(line), line


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch.load(f, weights_only=True)",
        "import yaml; yaml.safe_load(f)",
        "import json; json.load(f)",
        "text = 'torch.load(f) and pickle.load(f), shell=True'  # yaml.load",
        "import subprocess; subprocess.run(['ls'], shell=False)",
        "model.eval(); re.compile(x); cursor.exec(y)",
        "import numpy as np; np.load(f, allow_pickle=False)",
        "import streamlit as st; st.html('<style>p { margin: 0; }</style>')",
    ],
)
def test_the_lint_leaves_alone(line: str):
    assert unsafe_calls(line) == []
