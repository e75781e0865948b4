"""Photograph every page of the app for the documents:  python -m experiments.screenshots RUNS_ROOT

RUNS_ROOT holds a supervised and an SCL run on `scenes` (nothing else may be shown in a picture of the repository).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
SIZE = {"width": 1440, "height": 1000}
VIEWS = {
    "overview": "/?run=scenes-scl",
    "launch": "/launch",
    "curves": "/curves?curves=scenes-supervised&curves=scenes-scl&quantity=loss&curve_smoothing=0.9",
    "compare": "/compare?runs=scenes-supervised&runs=scenes-scl",
    "cutmix": "/cutmix?run=scenes-scl",
    "similarity": "/similarity?run=scenes-scl&box=4&pixel=82-140&second=70-100",
    "pairs": "/pairs?run=scenes-scl",
    "playground": "/playground?run=scenes-scl",
}
QUIET_CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_app(runs_root: Path, port: int) -> subprocess.Popen:
    """The app on these runs; returns when it answers."""
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"SCL_RUNS": str(runs_root)})
    for _ in range(150):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                return server
        except OSError:
            time.sleep(0.2)
    server.kill()
    raise SystemExit("the app does not answer")


def photograph(page: Page, address: str, file: Path) -> None:
    """One page, from top to bottom, once nothing moves any more."""
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for(timeout=60_000)
    page.wait_for_timeout(6000)
    main = page.locator("[data-testid=stMainBlockContainer]")
    height = int(main.evaluate("element => element.scrollHeight"))
    page.set_viewport_size(SIZE | {"height": max(height, 600)})
    page.wait_for_timeout(1500)
    page.screenshot(path=file)
    page.set_viewport_size(SIZE)


def main(runs_root: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    port = free_port()
    server = start_app(Path(runs_root).resolve(), port)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET_CHROMIUM)
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=scheme)
                page.goto(f"http://127.0.0.1:{port}/")
                page.wait_for_timeout(3000)
                for name, view in VIEWS.items():
                    photograph(page, f"http://127.0.0.1:{port}{view}", PICTURES / f"{name}-{scheme}.png")
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
