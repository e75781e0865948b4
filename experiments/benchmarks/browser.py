"""The app's server and a browser for `app.py`: clicks and keys that tell, in the page, when the answer was there."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Locator, Page, sync_playwright

from experiments.picture import QUIET_CHROMIUM

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1400, "height": 1800}
IDLE = "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
HEADING = "document.querySelector('[data-testid=stMain] h1')"
MAP = """[...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].some((part) => part.shadowRoot
  ?.querySelector('canvas[aria-label^="Similarity of one pixel"]')?.dataset.marks?.split(' ')
  .includes('{row}-{column}'))"""
WATCH = """(element, act) => {{
  let start = performance.now();
  window.answered = new Promise((done) => {{
    const look = () => ({condition}) ? done((performance.now() - start) / 1000) : requestAnimationFrame(look);
    requestAnimationFrame(look);
  }});
  {act}
}}"""
RELEASE = "addEventListener('pointerup', () => { start = performance.now(); }, { once: true, capture: true });"
CLICK = """const frame = element.getBoundingClientRect();
  const clientX = Math.ceil(frame.left + {x} * frame.width), clientY = Math.ceil(frame.top + {y} * frame.height);
  element.dispatchEvent(new MouseEvent('click', {{ clientX, clientY, bubbles: true, composed: true }}));"""


@contextmanager
def serving(runs: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server of the app on these runs, on a port that it chose, and its process."""
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", "0"]
    log = runs.parent / "server.txt"
    with log.open("w") as out:
        environment = os.environ | {"SCL_RUNS": str(runs)}
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )  # fmt: skip
    try:
        yield address_of(server, log), psutil.Process(server.pid)
    finally:
        server.kill()
        server.wait()


def address_of(server: subprocess.Popen, log: Path) -> str:
    """Wait until the server has said where it listens."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        found = re.search(r"http://[\w.]+:(\d+)", log.read_text())
        if found:
            return f"http://127.0.0.1:{found[1]}"
        time.sleep(0.1)
    raise SystemExit(f"the app did not start: {log.read_text().strip()}")


@contextmanager
def browsing() -> Iterator:
    """A Chromium context that keeps what it has loaded."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit("there is no Chromium on this machine: install it from the system's packages")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET_CHROMIUM))
        context = browser.new_context(viewport=SIZE)
        context.set_default_timeout(120_000)
        yield context
        browser.close()


def open_page(page: Page, address: str) -> float:
    """Seconds until the page has its heading and its script has ended."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(f"{HEADING} && {IDLE}", polling="raf")
    return time.perf_counter() - start


def start_click(viewer: Locator, shape: tuple[int, int], place: tuple[int, int], whole: bool = False) -> None:
    """Click a pixel (row, column) of the viewer; `answer` gives when its similarity map, or the `whole` page, stood."""
    (height, width), (row, column) = shape, place
    condition = MAP.format(row=row, column=column)
    act = CLICK.format(x=(column + 0.01) / width, y=(row + 0.01) / height)  # an event's place is in whole pixels
    viewer.evaluate(WATCH.format(condition=f"{condition} && {IDLE}" if whole else condition, act=act), None)


def start_slide(page: Page, slider: Locator, share: float, metric: str) -> None:
    """Click a slider's track; `answer` gives when, after the button's release, the metric and the page had followed."""
    value = f"[...document.querySelectorAll('[data-testid=stMetric]')].find((m) => m.textContent.includes('{metric}'))"
    before = page.evaluate(f"{value}.textContent")
    condition = f"{value} && {value}.textContent !== {before!r} && {IDLE}"
    slider.evaluate(WATCH.format(condition=condition, act=RELEASE), None)
    track = slider.locator("xpath=ancestor::*[@data-orientation][1]").bounding_box()
    page.mouse.click(track["x"] + share * track["width"], track["y"] + track["height"] / 2, delay=120)  # as a hand does


def answer(page: Page) -> float:
    """Seconds from the last `start_...` of this page to its answer."""
    return page.evaluate("Promise.race([window.answered, new Promise((_, no) => setTimeout(no, 120000))])")
