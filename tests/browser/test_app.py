"""The app in a real browser: a run is launched, watched, left alone and stopped; names, themes, clicks, downloads."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fake_runs import NASTY_NAME, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
expect = playwright.expect

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
PAGES = ("", "launch", "curves", "compare", "cutmix", "similarity")
SLOW = 60_000
expect.set_options(timeout=SLOW)


class Server:
    """One Streamlit server of the app on a port of its own, started as `make app` does; it can be killed."""

    def __init__(self, runs: Path):
        self.runs = runs
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self, warm: bool = True) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        command += ["--server.headless", "true", "--server.address", "127.0.0.1"]
        environment = os.environ | {"SCL_RUNS": str(self.runs), "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
        end = time.monotonic() + 60
        while not self.healthy():
            assert self.process.poll() is None and time.monotonic() < end, "the app's server did not start"
            time.sleep(0.1)
        if warm:
            subprocess.run([sys.executable, str(ROOT / ".ci" / "warm_up"), str(self.port)], timeout=150)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=2) as answer:
                return answer.read() == b"ok"
        except OSError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("browser") / "runs")
    yield server
    server.kill()
    end_runs(server.runs)


def end_runs(runs: Path) -> None:
    """Leave no training behind, whatever a failed test left running: all that have the runs folder in their command."""
    for process in psutil.process_iter(["cmdline"]):
        if str(runs) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
            process.kill()


@pytest.fixture(scope="module")
def browser(chromium_path: str):
    with playwright.sync_playwright() as api:
        yield api.chromium.launch(executable_path=chromium_path, headless=True, args=CHROMIUM_OPTIONS)


@pytest.fixture
def page(browser, server: Server):
    """A page in a context of its own; a dialog, say by a script in a name, fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 1200}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield page
    context.close()
    assert not dialogs


def visit(page, server: Server, path: str = "") -> None:
    page.goto(f"{server.address}/{path}")
    expect(page.locator('[data-testid="stMain"] h1')).to_be_visible()


def no_error(page) -> None:
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)


def fill(page, label: str, value: str) -> None:
    box = page.get_by_label(label, exact=True).locator("visible=true")
    box.fill(value)
    box.press("Tab")


def state(page):
    return page.locator('[data-testid="stMetric"]').filter(has_text="State")


COUNT_POINTS = "document.querySelector('.js-plotly-plot')?._fullData?.[0]?.x?.length ?? 0"


def wait_for_points(page, count: int) -> int:
    """Wait until the first curve of the first figure has that many points; returns how many it has."""
    page.wait_for_function(f"count => ({COUNT_POINTS}) >= count", arg=count)
    return page.evaluate(f"() => {COUNT_POINTS}")


def test_a_run_is_launched_watched_left_alone_and_stopped(page, server):
    visit(page, server)
    expect(page.get_by_text("No run yet")).to_be_visible()
    page.get_by_role("button", name="Launch the first run").click()
    expect(page.get_by_role("heading", name="Launch a run")).to_be_visible()
    for label, value in {"Steps": "5000", "Labeled pictures a step": "2", "Mixed pictures a step": "2"}.items():
        fill(page, label, value)
    fill(page, "Run name", "tiny")
    page.get_by_text("All other settings").click()
    fill(page, "Height", "64")
    fill(page, "Width", "128")
    page.get_by_role("tab", name="Model").click()
    fill(page, "Width", "0.25")
    fill(page, "Decoder channels", "16")
    page.get_by_role("tab", name="Training").click()
    fill(page, "Log every", "1")
    command = page.locator('[data-testid="stCode"]').filter(has_text="--train.steps 5000")
    expect(command).to_contain_text("--train.log_every 1")
    page.get_by_role("button", name="Start the run").dblclick()

    expect(page).to_have_url(re.compile("run=tiny"))
    expect(state(page)).to_contain_text("running")
    before = wait_for_points(page, 2)
    before = wait_for_points(page, before + 2)
    assert [path.name for path in server.runs.iterdir() if path.name[0] != "."] == ["tiny"]

    server.kill()
    server.start()
    page.reload()
    expect(state(page)).to_contain_text("running")
    wait_for_points(page, before + 1)

    page.get_by_role("button", name="Stop").click()
    expect(state(page)).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Resume")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    no_error(page)


def test_a_click_on_a_row_picks_the_run_and_the_address_keeps_it(page, server):
    write_run(server.runs, "aa-picked")
    write_run(server.runs, "ab-other")
    visit(page, server, "?filter=a%20scl")
    table = page.locator('[data-testid="stDataFrame"]').first
    expect(table).to_be_visible()
    names = sorted(
        (path.name for path in server.runs.iterdir() if path.name[0] != "." and "a" in path.name), reverse=True
    )
    box, row = table.bounding_box(), names.index("aa-picked")
    page.mouse.click(box["x"] + 16, box["y"] + (row + 1.5) * box["height"] / (len(names) + 1))
    expect(page).to_have_url(re.compile("run=aa-picked"))
    expect(state(page)).to_contain_text("finished")
    page.reload()
    expect(state(page)).to_contain_text("finished")
    assert "run=aa-picked" in page.url


def test_two_runs_are_compared_and_saved_as_csv(page, server):
    write_run(server.runs, "plain", method="supervised")
    write_run(server.runs, "better", gain=0.05)
    visit(page, server, "compare?runs=plain&runs=better")
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    expect(page.get_by_text("B · teacher minus A · student (percentage points)")).to_be_visible()
    page.get_by_role("tab", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).locator("visible=true").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "Class,A · student,B · teacher,Δ B · teacher,95 % B · teacher"
    assert "Train,–,–,–,–" in lines and lines[-1].startswith("mean,")
    no_error(page)


def test_markup_in_names_is_shown_letter_by_letter(page, server):
    name = NASTY_NAME.replace("/", "_")
    write_run(server.runs, name, state="stopped", reason=NASTY_NAME, classes=("Sky", NASTY_NAME))
    for path in ("?run=", "compare?runs="):
        visit(page, server, path + urllib.request.quote(name))
        shown = page.get_by_role("combobox", name="Run", exact=True) if "?run=" in path else page.get_by_text(name)
        expect(shown.first).to_be_visible()
        expect(page.locator(".js-plotly-plot").first).to_be_visible()
        assert page.locator('img[src="x"]').count() == 0
        assert page.locator('a[href^="javascript"]').count() == 0
        no_error(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_in_both_themes(page, server, scheme):
    page.emulate_media(color_scheme=scheme)
    for path in PAGES:
        visit(page, server, path)
        expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()
        no_error(page)
        color = page.locator('[data-testid="stApp"]').evaluate("app => getComputedStyle(app).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", color)[:3])) / 3
        assert (brightness > 128) == (scheme == "light")


def test_the_very_first_request_of_a_server_may_be_a_link_to_a_page(page, server):
    server.kill()
    server.start(warm=False)
    visit(page, server, "curves")
    expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
