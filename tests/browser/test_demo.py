"""The demo in a real browser, very short: from the empty first page through both trainings to their comparison."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scl_core.runs import RunFolder
from tests.browser.driving import expect, no_error, visit
from tests.browser.server import Server

pytestmark = pytest.mark.browser

SHORT = """
data: {height: 32, width: 64, labeled: 4, unlabeled: 6, val: 3, test: 2}
model: {width: 0.25, decoder_channels: 8}
train: {steps: 8, batch_labeled: 2, batch_unlabeled: 2, evaluate_every: 4, log_every: 1, threads: 1}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "short.yaml").write_text(SHORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCL_DEMO_CONFIG", str(folder / "short.yaml"))
        server = Server(folder / "runs")
    yield server
    server.end()


def test_from_the_empty_page_to_the_comparison_of_both_runs(page, server):
    visit(page, server)
    page.get_by_role("button", name="Run the demo").click()
    expect(page.get_by_text("The demo trains")).to_be_visible()
    expect(page.get_by_text(re.compile("demo-scl: ◌ queued"))).to_be_visible()
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    assert re.search("runs=demo-supervised&runs=demo-scl", page.url)
    assert [RunFolder(Path(server.runs) / name).status().state for name in ("demo-supervised", "demo-scl")] == [
        "finished",
        "finished",
    ]
    expect(page.locator('[data-testid="stDataFrame"]').first).to_be_visible()
    no_error(page)


def test_the_recorded_demo_beside_it(page, server):
    (server.runs / "demo-scl").rename(server.runs.parent / "demo-scl")
    (server.runs / "demo-supervised").rename(server.runs.parent / "demo-supervised")
    visit(page, server)
    page.get_by_role("button", name="Look at the recorded demo").click()
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    no_error(page)
