"""The Method pages in a real browser: a click and a key in the viewer reach the library's numbers."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from scl_core.probe import Probe, similarity_matrices, similarity_rows
from tests.conftest import ROOT, kill_tree
from tests.method_run import NAME, library_probe, train_small_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
playwright.expect.set_options(timeout=30_000)
pytestmark = pytest.mark.browser
BROWSER_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train_small_run(folder, train__evaluate_every=1)
    return folder


@pytest.fixture(scope="module")
def address(runs: Path, tmp_path_factory) -> Iterator[str]:
    """The address of a server of the app, on a free port that the server itself chose."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", "0"]
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"SCL_RUNS": str(runs)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield wait_until_up(server, log)
    finally:
        kill_tree(server.pid)
        server.wait()


def wait_until_up(server: subprocess.Popen, log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        found = re.search(r"http://[\w.]+:(\d+)", log.read_text())
        if found:
            address = f"http://127.0.0.1:{found[1]}"
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=10) as answer:
                assert answer.read() == b"ok"
            return address
        time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser(chromium_path: str, address: str):
    """A browser that has seen the app once: its scripts are in the cache, and the server has run its navigation."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium_path, args=BROWSER_OPTIONS)
        context = found.new_context(viewport={"width": 1400, "height": 1800})
        page = context.new_page()
        page.goto(address)
        page.get_by_test_id("stSidebarNav").get_by_text("CutMix").wait_for(timeout=60_000)
        page.close()
        yield context
        found.close()


@pytest.fixture
def page(browser):
    """An empty tab; a JavaScript error fails the test."""
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not errors


@pytest.fixture(scope="module")
def probe(runs: Path) -> Probe:
    return library_probe(runs / NAME)


def open_viewer(page, address: str, query: str = ""):
    page.goto(f"{address}/similarity?run={NAME}{query}")
    viewer = page.get_by_role("application")
    playwright.expect(page.get_by_role("heading", name="Pixel 1")).to_be_visible()
    playwright.expect(page.locator(".place")).to_contain_text("row")
    return viewer


def click_pixel(viewer, probe: Probe, row: int, column: int, **options) -> None:
    frame = viewer.bounding_box()
    height, width = probe.owner.shape
    place = {"x": (column + 0.5) * frame["width"] / width, "y": (row + 0.5) * frame["height"] / height}
    viewer.click(position=place, **options)


def far_apart(probe: Probe) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """The loss box that shows most, and its first and last pixel."""
    box = max((box for box in probe.report if box.in_loss), key=lambda box: box.visible)
    places = probe.shown(box.number).nonzero().tolist()
    return box.number, tuple(places[0]), tuple(places[-1])


def test_clicked_pixels_read_the_numbers_that_the_library_computes(page, address, probe):
    number, first, second = far_apart(probe)
    viewer = open_viewer(page, address)
    click_pixel(viewer, probe, *first)
    heading = page.get_by_role("heading", name=f"Pixel 1, row {first[0]}, column {first[1]}")
    playwright.expect(heading).to_contain_text(f"box {number}?")
    click_pixel(viewer, probe, *second, modifiers=["Shift"])
    teacher, student = similarity_rows(probe, number, *first)
    box = probe.report[number]
    for label, values in (("Teacher", teacher), ("Student", student)):
        wanted = f"{values[second[0] - box.top, second[1] - box.left]:.4f}"
        playwright.expect(page.get_by_test_id("stMetric").filter(has_text=label)).to_contain_text(wanted)
    page.goto(page.url)  # the address alone shows the same
    playwright.expect(heading).to_contain_text(f"box {number}?")
    playwright.expect(page.get_by_test_id("stMetric").filter(has_text="Student")).to_contain_text(wanted)


def test_keys_move_the_cursor_and_take_the_pixel(page, address, probe):
    number, first, _ = far_apart(probe)
    viewer = open_viewer(page, address, "&box={}&pixel={}-{}".format(number, *first))
    page.mouse.move(5, 5)
    viewer.focus()
    row, column = first[0] + 1, first[1] + 2
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    playwright.expect(page.locator(".place")).to_contain_text(f"row {row}, column {column}")
    page.keyboard.press("Enter")
    number = int(probe.owner[row, column])
    playwright.expect(page.get_by_role("heading", name=f"Pixel 1, row {row}, column {column}")).to_contain_text(
        f"box {number}?"
    )


def test_an_overlay_stays_when_a_pixel_is_clicked(page, address, probe):
    viewer = open_viewer(page, address)
    page.get_by_role("button", name="Loss per pixel").click()
    _, _, last = far_apart(probe)
    click_pixel(viewer, probe, *last)
    playwright.expect(page.get_by_role("heading", name=f"Pixel 1, row {last[0]}, column {last[1]}")).to_be_visible()
    playwright.expect(page.get_by_role("button", name="Loss per pixel")).to_have_attribute("aria-pressed", "true")


def test_a_click_outside_of_every_box_says_so(page, address, probe):
    viewer = open_viewer(page, address)
    row, column = (probe.owner < 0).nonzero()[0].tolist()
    click_pixel(viewer, probe, row, column)
    playwright.expect(page.get_by_test_id("stToast")).to_contain_text("No loss box shows this pixel")


CELL = """([x, y]) => {
  const plot = document.querySelector('.js-plotly-plot'), frame = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  return [frame.left + xaxis._offset + xaxis.d2p(x), frame.top + yaxis._offset + yaxis.d2p(y)];
}"""


def test_a_click_on_a_cell_marks_its_two_pixels(page, address, probe):
    open_viewer(page, address, "&order=row+by+row")
    heaviest = max((box for box in probe.report if box.in_loss), key=lambda box: box.term)
    found = similarity_matrices(probe, heaviest.number, 96)
    page.locator(".js-plotly-plot .nsewdrag").first.wait_for()
    page.wait_for_timeout(1000)  # plotly has drawn, but its hover layer comes a moment later
    page.mouse.move(*page.evaluate(CELL, [5, 2]))
    page.wait_for_timeout(300)
    page.mouse.click(*page.evaluate(CELL, [5, 2]))
    row, column = found.places[2].tolist()
    playwright.expect(page.get_by_role("heading", name=f"Pixel 1, row {row}, column {column}")).to_be_visible()
    for label, values in (("Teacher", found.teacher), ("Student", found.student)):
        playwright.expect(page.get_by_test_id("stMetric").filter(has_text=label)).to_contain_text(f"{values[2, 5]:.4f}")


def test_cutmix_draws_its_pictures(page, address):
    page.goto(f"{address}/cutmix?what_if=true&boxes=6&pasted=4&box=2")
    playwright.expect(page.get_by_role("heading", name="Box 2 shows")).to_be_visible()
    playwright.expect(page.locator(".js-plotly-plot .imagelayer image")).to_have_count(4)
    outlines = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace")
    playwright.expect(outlines).to_have_count(2 * 4)  # each box has a dark line under its coloured one
