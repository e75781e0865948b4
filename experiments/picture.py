"""A plotly figure as a PNG file, drawn by the browser that the tests use too."""

import shutil
from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright

QUIET_CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


def save_picture(figure: go.Figure, file: Path, width: int = 900) -> None:
    """Draw `figure` on white at `width` pixels and its own height."""
    figure = go.Figure(figure).update_layout(width=width, paper_bgcolor="white", template="plotly_white")
    page_source = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET_CHROMIUM))
        page = browser.new_page(viewport={"width": width + 20, "height": int(figure.layout.height or 450) + 20})
        page.set_content(page_source)
        plot = page.locator(".js-plotly-plot")
        plot.locator(".main-svg").first.wait_for()
        file.parent.mkdir(parents=True, exist_ok=True)
        plot.screenshot(path=file)
        browser.close()
