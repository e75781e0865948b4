"""Steps that the browser tests have in common, and reading pictures off the page. They wait on conditions alone."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.server import Server

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

SLOW = 90_000
"""Milliseconds that a machine with other work may take for what is usually there at once."""
expect.set_options(timeout=SLOW)
CELL = """(plot, [x, y]) => {
  const frame = plot.getBoundingClientRect(), { xaxis, yaxis } = plot._fullLayout;
  return [frame.left + xaxis._offset + xaxis.d2p(x), frame.top + yaxis._offset + yaxis.d2p(y)];
}"""


def visit(page, server: Server, path: str = "") -> None:
    """Open a page of the app and wait for its title."""
    page.goto(f"{server.address}/{path}")
    expect(page.locator('[data-testid="stMain"] h1')).to_be_visible()


def settled(page) -> None:
    """Wait until the page's script has run to its end."""
    expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()


def no_error(page) -> None:
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)


def downloaded(page, button) -> bytes:
    """What a download button gives."""
    with page.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


def click_cell(page, plot, x: int, y: int) -> None:
    """Click a place of a figure, in numbers of its axes, as soon as the figure answers the pointer there."""
    plot.locator(".nsewdrag").first.wait_for()
    plot.scroll_into_view_if_needed()
    for _ in range(60):
        left, top = plot.evaluate(CELL, [x, y])
        page.mouse.move(left - 2, top - 2)
        page.mouse.move(left, top)
        try:
            page.wait_for_function("plot => plot._hoverdata?.length", arg=plot.element_handle(), timeout=1000)
        except playwright.TimeoutError:
            continue
        page.mouse.click(left, top)
        return
    raise AssertionError("the figure does not answer the pointer")


def pixels_of(content: bytes) -> np.ndarray:
    """A PNG file as uint8 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def uri_pixels(uri: str) -> np.ndarray:
    """A PNG data URI as uint8 [H, W, 3]."""
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return pixels_of(base64.b64decode(content))


def canvas_pixels(canvas) -> np.ndarray:
    """What a canvas shows, as it is drawn: uint8 [H, W, 3]."""
    return uri_pixels(canvas.evaluate("canvas => canvas.toDataURL('image/png')"))


def unzoomed(drawn: np.ndarray, height: int, width: int) -> np.ndarray:
    """One pixel of each of the sharp squares of which a picture [height, width] is drawn: uint8 [height, width, 3]."""
    scale = drawn.shape[1] // width
    assert drawn.shape[:2] == (height * scale, width * scale)
    return drawn[scale // 2 :: scale, scale // 2 :: scale]
