"""Runs that are spoilt on disk, page by page: one plain sentence where it happened, and the rest of the page stays."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from scl_core.restore import restore
from tests.conftest import build_tiny_folder
from tests.pages.conftest import run, texts

PAGES = {path.stem: str(path) for path in sorted(Path("pages").glob("*/*.py")) if path.parent.name != "shared"}
NETWORKS = ("next_to_label", "predictions", "upload", "pairs", "playground", "similarity", "health")
DATA = ("predictions", "cutmix", "pairs", "playground", "similarity", "health")
NEITHER = ("overview", "launch", "curves", "compare", "others", "lesson", "glossary")


def address(page: str, name: str = "a") -> dict[str, str]:
    """The address under which a page shows a run."""
    keys = {"predictions": "run_a", "next_to_label": "run_a", "upload": "run_a", "compare": "runs", "curves": "curves"}
    return {} if page in ("launch", "lesson", "glossary") else {keys.get(page, "run"): name}


def change_settings(folder: Path, **sections) -> None:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | sections))


def tear_weights(folder: Path) -> None:
    for file in folder.glob("checkpoints/*/*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])


def widen_network(folder: Path) -> None:
    model = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    change_settings(folder, model=model | {"width": 0.5})


def lose_data(folder: Path) -> None:
    change_settings(folder, data={"name": "folder", "root": str(folder.parent.parent / "nowhere")})


def move_to_folder(folder: Path, same_classes: bool = True) -> Path:
    """Let the run have a folder data set of the same classes, or of three others."""
    root = build_tiny_folder(folder.parent.parent / "data")
    if same_classes:
        found = restore(folder)
        colors = zip(found.class_names, found.palette.tolist(), strict=True)
        (root / "classes.txt").write_text("".join(f"{name} {r} {g} {b}\n" for name, (r, g, b) in colors))
    change_settings(folder, data={"name": "folder", "root": str(root), "val_fraction": 0.5})
    return root


def tear_pictures(folder: Path) -> None:
    for file in (move_to_folder(folder) / "images").iterdir():
        file.write_bytes(file.read_bytes()[:300])


def shrink_masks(folder: Path) -> None:
    for file in (move_to_folder(folder) / "masks").iterdir():
        Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(file)


SPOILT = {
    "torn weights": (tear_weights, (*NETWORKS, "cutmix"), "damaged"),
    "weights of another width": (widen_network, NETWORKS, "does not fit the networks"),
    "data that are gone": (lose_data, (*DATA, "next_to_label"), "nowhere does not exist"),
    "data of other classes": (
        lambda folder: move_to_folder(folder, same_classes=False),
        ("predictions", "pairs", "playground", "similarity"),
        "put back the classes",
    ),
    "torn pictures": (tear_pictures, DATA, "truncated or damaged"),
    "masks of another size": (shrink_masks, DATA, "they must be the same"),
}


@pytest.mark.parametrize(("state", "page"), [(state, page) for state in SPOILT for page in SPOILT[state][1]])
def test_what_is_wrong_is_one_sentence_and_the_choices_stay(copy_run, visit, state, page):
    spoil, _, words = SPOILT[state]
    spoil(copy_run("a"))
    app = visit(PAGES[page], **address(page))
    assert [error.value for error in app.error] == ["This cannot be shown:"]
    assert words in app.code[0].value and "\n" not in app.code[0].value and "Error" not in app.code[0].value
    assert app.title and app.selectbox


def test_boxes_are_drawn_without_a_network_that_fits(copy_run, visit):
    widen_network(copy_run("a"))
    app = visit(PAGES["cutmix"], run="a", checkpoint="3")
    assert "Without losses" in texts(app.caption) and app.get("plotly_chart") and not app.error


@pytest.mark.parametrize("page", NEITHER)
def test_pages_that_need_neither_networks_nor_data_are_as_before(copy_run, visit, page):
    tear_weights(copy_run("a"))
    lose_data(copy_run("b"))
    for name in ("a", "b"):
        app = visit(PAGES[page], **address(page, name))
        assert not app.error and not app.warning, [e.value for e in (*app.error, *app.warning)]


GONE = {
    "overview": "not in the runs folder",
    "curves": "Pick at least one run",
    "compare": "Pick at least one evaluation",
    "health": "not in the runs folder; another one is shown",
    "predictions": "Run A of this address has no checkpoint here",
    "next_to_label": "Run of this address has no checkpoint here",
    "upload": "Run of this address has no checkpoint here",
    "similarity": "not in the runs folder; drawn scenes are shown instead",
    "others": "not in the runs folder; drawn scenes are shown instead",
}


@pytest.mark.parametrize("page", GONE)
def test_a_run_that_is_deleted_while_it_is_looked_at(copy_run, visit, page):
    folder = copy_run("a")
    copy_run("b")
    app = visit(PAGES[page], **address(page))
    assert GONE[page] not in texts(app.warning, app.info)
    shutil.rmtree(folder)
    run(app)
    assert GONE[page] in texts(app.warning, app.info) and app.title
