"""Photograph every page of the app for the documents:  python -m experiments.screenshots [RUNS_ROOT [PAGE ...]]

Without RUNS_ROOT the recorded demo is shown. A folder of one's own needs a supervised and an SCL run on `scenes`, named
scenes-supervised and scenes-scl (nothing else may be shown in a picture of the repository); an RC2L run scenes-rc2l
is photographed where it is there.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from scl_core.data.scenes import draw_scene
from scl_core.demo import RECORDED

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
PREPARED = ROOT / "build" / "screenshots"
SIZE = {"width": 1440, "height": 1000}
WIDTH = 1152
MOST_BYTES = 150_000
VIEWS = {
    "overview": "/?run=scenes-scl",
    "launch": "/launch",
    "curves": "/curves?curves=scenes-supervised&curves=scenes-scl&quantity=loss&curve_smoothing=0.9",
    "compare": "/compare?runs=scenes-supervised&runs=scenes-scl",
    "health": "/health?run=scenes-scl",
    "predictions": "/predictions?run_a=scenes-supervised&run_b=scenes-scl",
    "next_to_label": "/next_to_label?run_a=scenes-scl",
    "upload": "/upload?run_a=scenes-scl",
    "cutmix": "/cutmix?run=scenes-scl",
    "similarity": "/similarity?run=scenes-scl",
    "pairs": "/pairs?run=scenes-scl",
    "playground": "/playground?run=scenes-scl",
    "others": "/others?run=scenes-rc2l",
    "lesson": "/lesson",
    "glossary": "/glossary",
}
QUIET_CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


def prepare() -> Path:
    """The recorded demo under the names of the pictures, its unlabeled pictures ranked; below the ignored `build`."""
    shutil.rmtree(PREPARED, ignore_errors=True)
    for name in ("supervised", "scl"):
        shutil.copytree(RECORDED / f"demo-{name}", PREPARED / f"scenes-{name}")
    subprocess.run([sys.executable, "-m", "scl_core.agreement", PREPARED / "scenes-scl"], cwd=ROOT, check=True)
    return PREPARED


def named_briefly(folder: Path) -> Path:
    """The folder as the app is told it: below the project without the machine's own folders, which no reader has."""
    return folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_app(runs_root: Path, port: int) -> subprocess.Popen:
    """The app on these runs; returns when it has run once."""
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    command += ["--server.headless", "true"]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"SCL_RUNS": str(runs_root)})
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                return server
        except OSError:
            time.sleep(0.2)
    server.kill()
    raise SystemExit("the app does not answer")


def wait_until_still(page: Page) -> None:
    """Until the page has run, no spinner turns and the charts are drawn."""
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_function("document.querySelectorAll('[data-testid=stSpinner]').length === 0")
    page.wait_for_timeout(3000)


def photograph(page: Page, name: str, address: str, file: Path) -> None:
    """One page, from top to bottom, once nothing moves any more."""
    page.goto(address)
    wait_until_still(page)
    if name == "upload":
        page.locator("input[type=file]").set_input_files(
            files=[{"name": "street.png", "mimeType": "image/png", "buffer": own_picture()}]
        )
        page.get_by_role("button", name="Download the overlay").wait_for()
        wait_until_still(page)
    main = page.locator("[data-testid=stMainBlockContainer]")
    height = int(main.evaluate("element => element.scrollHeight"))
    page.set_viewport_size(SIZE | {"height": min(max(height, 600), 2400)})
    page.wait_for_timeout(1500)
    save_small(page.screenshot(), file)
    page.set_viewport_size(SIZE)


def own_picture() -> bytes:
    """A street that no run has seen, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(99, 1, 192, 384)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def save_small(content: bytes, file: Path) -> None:
    """A picture of WIDTH with as many colours as MOST_BYTES allow, 256 at most."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    for colors in (256, 160, 96, 64, 48, 32, 24):
        picture.quantize(colors, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size <= MOST_BYTES:
            break


def main(runs_root: str | None = None, *only: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    root = named_briefly(Path(runs_root).resolve() if runs_root else prepare())
    views = {name: view for name, view in VIEWS.items() if name in (only or VIEWS)}
    if not (ROOT / root / "scenes-rc2l").is_dir():
        views.pop("others", None)
    port = free_port()
    server = start_app(root, port)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET_CHROMIUM)
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=scheme)
                page.set_default_timeout(300_000)
                page.goto(f"http://127.0.0.1:{port}/")
                wait_until_still(page)
                for name, view in views.items():
                    photograph(page, name, f"http://127.0.0.1:{port}{view}", PICTURES / f"{name}-{scheme}.png")
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
