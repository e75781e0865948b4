"""What the tests of the pages share: the app opened at a page, and one small real run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from scl_core.runs.processes import describe_process
from tests.fake_runs import write_json
from tests.method_run import train_small_run

OVERVIEW = "pages/runs/overview.py"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps on drawn scenes, scored after each; to be copied, not changed."""
    return train_small_run(tmp_path_factory.mktemp("small"), data__val=4, train__evaluate_every=1)


@pytest.fixture
def runs(tmp_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the app takes for its runs."""
    monkeypatch.setenv("SCL_RUNS", str(tmp_runs))
    st.cache_data.clear()
    return tmp_runs


@pytest.fixture
def copy_run(runs: Path, small_run: Path) -> Callable[[str], Path]:
    """`copy_run("name")` puts the small run into the app's folder under a name."""
    return lambda name: Path(shutil.copytree(small_run, runs / name))


@pytest.fixture
def visit(runs: Path, project_root: Path) -> Callable[..., AppTest]:
    """`visit(page, run="a")` opens a page of the app, by default the first, with this address."""

    def visit(page: str = OVERVIEW, **query: str | list[str]) -> AppTest:
        app = AppTest.from_file(project_root / "app.py", default_timeout=90)
        for key, value in query.items():
            app.query_params[key] = value
        return run(app.switch_page(page))

    return visit


def run(app: AppTest) -> AppTest:
    """The app run once more, with everything on disk read anew; an exception fails the test."""
    st.cache_data.clear()
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    """The app, once it is sure that no exception reached the page."""
    assert not app.exception, app.exception
    return app


def start_running(folder: Path) -> None:
    """Make this test's own process the one that works on the run, seen working a moment ago."""
    write_json(folder / "process.json", describe_process())


def charts(app: AppTest) -> list[dict]:
    """The figures of the page as plotly draws them."""
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def titles(app: AppTest) -> list[str]:
    return [chart["layout"]["title"]["text"] for chart in charts(app)]


def texts(*groups) -> str:
    """What these elements say, a line each."""
    return "\n".join(str(element.value) for group in groups for element in group)


@pytest.fixture
def with_run(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The app shows the small run itself; this is its folder."""
    monkeypatch.setenv("SCL_RUNS", str(small_run.parent))
    st.cache_data.clear()
    return small_run


@pytest.fixture
def open_view(project_root: Path) -> Callable[..., AppTest]:
    """`open_view(CUTMIX, seed="3")` opens a page with that address and whatever runs the app is given."""

    def open_view(page: str, **query: str) -> AppTest:
        app = AppTest.from_file(project_root / "app.py", default_timeout=90)
        for key, value in query.items():
            app.query_params[key] = value
        app.switch_page(page)
        return checked(app.run())

    return open_view
