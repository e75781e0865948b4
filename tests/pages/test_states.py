"""Page by page, what is said where something is missing or wrong: one sentence where it happened, the page stays."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image

from scl_core.checkpoint import read_checkpoint, save_checkpoint
from scl_core.command_line import run_command
from scl_core.methods.cps import SECOND
from scl_core.train import main as train
from tests.method_run import NAME
from tests.pages.conftest import checked, run, texts
from tests.pages.test_spoilt_runs import PAGES, address, move_to_folder
from tests.tiny import tiny_options

METHOD = ("cutmix", "similarity", "pairs", "playground")
OWN_NETWORKS = """
import torch
class Raises(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)
    def forward(self, images):
        raise KeyError("no such layer")
def raises_when_called(num_classes):
    return Raises()
def raises_when_built(num_classes):
    raise OSError("weights.pt is not there")
def flat(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(num_classes))
def words(num_classes):
    return "no network"
"""


@pytest.fixture
def somebodys(tmp_path, monkeypatch):
    """A module with networks that do not work, and one that cannot be imported."""
    (tmp_path / "somebodys_broken.py").write_text(OWN_NETWORKS)
    (tmp_path / "somebodys_syntax.py").write_text("def build(")
    monkeypatch.syspath_prepend(tmp_path)
    st.cache_resource.clear()
    yield
    for name in ("somebodys_broken", "somebodys_syntax"):
        sys.modules.pop(name, None)


BROKEN = {
    "somebodys_broken:raises_when_called": "no such layer",
    "somebodys_broken:raises_when_built": "weights.pt is not there",
    "somebodys_broken:flat": "somebodys_broken:flat",
    "somebodys_broken:words": "somebodys_broken:words",
    "somebodys_syntax:build": "somebodys_syntax",
    "somebodys_nowhere:build": "somebodys_nowhere",
}
FIRST = next(iter(BROKEN))


@pytest.mark.parametrize(
    ("page", "network"),
    [("similarity", name) for name in BROKEN] + [(page, FIRST) for page in METHOD if page != "similarity"],
)
def test_a_network_of_ones_own_that_does_not_work(with_run, open_view, somebodys, page, network):
    app = open_view(PAGES[page], run=NAME, checkpoint="own module", network=network)
    checked(app.button(key="open_network").click().run())
    said = texts(app.code, app.caption)
    assert BROKEN[network] in said and "Traceback" not in said
    if page == "cutmix":
        assert "Without losses" in texts(app.caption) and app.get("plotly_chart")
    else:
        assert [error.value for error in app.error] == ["This cannot be shown:"] and "\n" not in app.code[0].value
    assert app.text_input(key="network").value == network


@pytest.fixture(scope="module")
def small_cps(tmp_path_factory) -> Path:
    """A run of CPS; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("cps")
    few = {"train__steps": 2, "train__checkpoint_every": 1, "train__evaluate_every": 2}
    assert run_command(train, tiny_options(folder / "a", method__name="cps", **few)) == 0
    return folder


@pytest.fixture
def cps(small_cps, runs) -> Path:
    return Path(shutil.copytree(small_cps / "a", runs / "a"))


def rewrite(folder: Path, change) -> None:
    """Commit each checkpoint anew with other tensors, whole in itself."""
    for path in sorted(folder.glob("checkpoints/[0-9]*")):
        stored = read_checkpoint(path)
        tensors = {name: dict(part) for name, part in stored.tensors.items()}
        change(tensors)
        info = {key: stored.manifest[key] for key in ("torch", "threads", "world_size")}
        save_checkpoint(folder, stored.step, tensors, stored.state, info)


def lose_second(tensors: dict) -> None:
    """Keep the first network alone."""
    first = {name: tensor for name, tensor in tensors["student"].items() if SECOND not in name}
    assert 0 < len(first) < len(tensors["student"])
    tensors["student"] = first


@pytest.mark.parametrize("page", [*METHOD[1:], "others", "predictions", "next_to_label", "upload", "health"])
def test_a_cps_checkpoint_with_one_network_alone(cps, visit, page):
    rewrite(cps, lose_second)
    app = visit(PAGES[page], **address(page), **({"checkpoint": "last"} if page in (*METHOD, "others") else {}))
    assert [error.value for error in app.error] == ["This cannot be shown:"]
    assert (
        "\n" not in app.code[0].value
        and "Traceback" not in app.code[0].value
        and "no second network" in app.code[0].value
    )


def test_boxes_of_cps_are_drawn_without_its_networks(cps, visit):
    rewrite(cps, lose_second)
    app = visit(PAGES["cutmix"], run="a", checkpoint="last")
    assert "Without losses" in texts(app.caption) and app.get("plotly_chart") and not app.error


def one_class(folder: Path) -> None:
    """Pictures whose masks hold one class, which is all there is to learn."""
    root = move_to_folder(folder)
    for file in (root / "masks").iterdir():
        Image.fromarray(np.zeros((48, 64), dtype=np.uint8)).save(file)


@pytest.mark.parametrize("page", ["predictions", *METHOD, "health"])
def test_pictures_of_one_class_are_shown(copy_run, visit, page):
    one_class(copy_run("a"))
    app = visit(PAGES[page], **address(page))
    assert not app.error and app.title, texts(app.error, app.code)


@pytest.mark.parametrize("page", ["overview", "curves", "compare", "others", "cutmix", "pairs", "playground"])
def test_a_run_without_checkpoint(copy_run, visit, page):
    shutil.rmtree(copy_run("a") / "checkpoints")
    app = visit(PAGES[page], **address(page))
    assert not app.error and app.title, texts(app.error, app.code)


@pytest.mark.parametrize("page", ["predictions", "next_to_label", "upload"])
def test_without_a_checkpoint_the_pictures_lead_on(copy_run, visit, page):
    shutil.rmtree(copy_run("a") / "checkpoints")
    app = visit(PAGES[page])
    assert "no checkpoint yet" in texts(app.info) and app.button[0].label == "Launch a run"


@pytest.mark.parametrize("page", [*METHOD, "others"])
def test_the_method_pages_open_without_any_run(visit, page):
    app = visit(PAGES[page], parameters="false")
    assert not app.error and app.info or page == "cutmix" and app.get("plotly_chart")


@pytest.mark.parametrize("page", ["cutmix", "pairs", "playground"])
def test_a_run_that_is_deleted_while_a_method_page_shows_it(copy_run, visit, page):
    folder = copy_run("a")
    app = visit(PAGES[page], **address(page))
    shutil.rmtree(folder)
    run(app)
    assert "drawn scenes are shown instead" in texts(app.warning) and not app.error
