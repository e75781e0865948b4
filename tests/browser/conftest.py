"""What the browser tests share: a server, a browser, a tab, and one small trained run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.server import Server
from tests.method_run import train_small_run

CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one of three steps on drawn scenes, scored after each step; not to be changed."""
    return train_small_run(tmp_path_factory.mktemp("trained"), data__val=4, train__evaluate_every=1).parent


@pytest.fixture(scope="session")
def trained_server(trained: Path, chromium_path: str) -> Iterator[Server]:
    """The app on that folder, one server for all tests that only look."""
    server = Server(trained)
    yield server
    server.end()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[Server]:
    """The app on an empty folder of the test file's own."""
    server = Server(tmp_path_factory.mktemp("browser") / "runs")
    yield server
    server.end()


@pytest.fixture(scope="module")
def browser(chromium_path: str):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as api:
        found = api.chromium.launch(executable_path=chromium_path, headless=True, args=CHROMIUM_OPTIONS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def context(browser):
    """A visitor whose browser keeps the app's scripts in its cache from test to test."""
    from tests.browser.driving import SLOW

    context = browser.new_context(viewport={"width": 1400, "height": 1800}, accept_downloads=True)
    context.set_default_timeout(SLOW)
    yield context
    context.close()


@pytest.fixture
def page(context):
    """An empty tab; a JavaScript error, or a dialog as by a script in a name, fails the test."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    yield page
    page.close()
    assert not wrong
