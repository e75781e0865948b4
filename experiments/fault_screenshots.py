"""Photograph the checks that find the planted faults:  python -m experiments.fault_screenshots FOLDER

Trains the runs of experiments/faults in FOLDER where they are not there yet, half a minute each, and photographs of
each run the check that speaks up, for docs/reading-the-microscope.md.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from experiments import leaking_data
from experiments.screenshots import PICTURES, QUIET_CHROMIUM, ROOT, SIZE, free_port, start_app

CHECKS = {"swamped": "terms", "stale": "teacher", "saturated": "confidence", "leaking": "lists", "tiny_boxes": "boxes"}


def train(runs: Path, data: Path) -> None:
    """Train what is missing, and the data of the leaking run."""
    if not data.exists():
        leaking_data.main(str(data))
    for name in ("sound", *CHECKS):
        command = [sys.executable, "-m", "scl_core.train", "--config", f"experiments/faults/{name}.yaml"]
        command += ["--run_dir", str(runs / name), "--train.threads", "1"]
        if not (runs / name).exists():
            subprocess.run(command + (["--data.root", str(data)] if name == "leaking" else []), cwd=ROOT, check=True)


def photograph(page: Page, address: str, check: str, file: Path) -> None:
    """One check of a run, once its figures stand still."""
    page.goto(address)
    part = page.locator(f".st-key-check_{check}")
    part.wait_for(timeout=120_000)
    part.scroll_into_view_if_needed()
    page.wait_for_timeout(5000)
    part.screenshot(path=file)


def main(folder: str) -> None:
    runs = Path(folder).resolve() / "runs"
    train(runs, runs.parent / "leaking_data")
    port = free_port()
    server = start_app(runs, port)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET_CHROMIUM)
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            for name, check in CHECKS.items():
                photograph(page, f"http://127.0.0.1:{port}/health?run={name}", check, PICTURES / f"fault-{check}.png")
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
