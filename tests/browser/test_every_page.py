"""Each page in a real browser by its link alone, from a server's very first request on, light and then dark."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.browser.driving import expect, no_error, pixels_of, settled, uri_pixels
from tests.browser.server import Server
from tests.conftest import ROOT
from tests.method_run import NAME

pytestmark = pytest.mark.browser
LINKS = {
    "cutmix": (f"run={NAME}&step=3&what_if=true&boxes=6&pasted=4&box=2", "heading", "Box 2 shows"),
    "overview": (f"run={NAME}&sort=Step", "combobox", ("Run", NAME)),
    "launch": ("preset=scenes+%2F+unimatch", "combobox", ("Method", "unimatch")),
    "curves": (f"curves={NAME}&quantity=structured&log_y=true", "combobox", ("Quantity", "structured")),
    "compare": (f"runs={NAME}&area=boundary+band", "radio", "boundary band"),
    "health": (f"run={NAME}", "heading", "Terms"),
    "predictions": (f"run_a={NAME}&checkpoint_a=2&network_a=student&split=test", "combobox", ("Checkpoint A", "2")),
    "next_to_label": (f"run_a={NAME}&checkpoint_a=2", "combobox", ("Checkpoint", "2")),
    "upload": (f"run_a={NAME}&network_a=student", "combobox", ("Network", "student")),
    "similarity": (f"run={NAME}&checkpoint=2&step=3&pair=0&order=row+by+row", "spinbutton", ("Step", "3")),
    "pairs": (f"run={NAME}&checkpoint=2&step=3&n_pair=100", "spinbutton", ("Step", "3")),
    "playground": (f"run={NAME}&checkpoint=2&step=3", "heading", "How sure may the networks be?"),
    "others": (f"run={NAME}", "combobox", ("Run", NAME)),
    "lesson": ("lesson=4&lesson_pair=2", "heading", "4. "),
    "glossary": ("term=owner", "textbox", ("Search", "owner")),
}
"""For each page what its link says, and what must then stand on it: a role with its name, or with its value."""
PICTURES = '[data-testid="stImage"] img, .segmentation canvas, .viewer canvas'
IN_CHARTS = ".js-plotly-plot .imagelayer image"
COUNTS = {"cutmix": (4, 3), "health": (0, 2), "predictions": (4, 0), "similarity": (1, 0), "pairs": (1, 1)}
"""How many pictures stand on a page whose pictures are compared, on their own and in charts."""


@pytest.fixture(scope="module")
def cold_server(trained: Path, chromium_path: str):
    """A server that nobody has asked for anything yet."""
    server = Server(trained, warm=False)
    yield server
    server.end()


def test_the_table_has_every_page():
    assert set(LINKS) == {path.stem for path in ROOT.glob("pages/*/*.py") if path.parent.name != "shared"}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_opens_its_view_in_both_themes_with_the_same_pictures(page, cold_server, name):
    query, role, wanted = LINKS[name]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(f"{cold_server.address}/{'' if name == 'overview' else name}?{query}")
    shows(page, role, wanted)
    settled(page)
    no_error(page)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert brightness(page) > 200
    counts = COUNTS.get(name)
    light = drawn_pictures(page, *counts) if counts else []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"({BACKGROUND})().startsWith('rgb(18, 23, 30')")
    settled(page)
    dark = drawn_pictures(page, *counts) if counts else []
    for before, after in zip(light, dark, strict=True):
        np.testing.assert_array_equal(before, after)
    no_error(page)


def shows(page, role: str, wanted: str | tuple[str, str]) -> None:
    """What the link asks for is on the page."""
    if role == "radio":
        expect(page.get_by_role(role, name=wanted).locator("visible=true").first).to_be_checked()
    elif isinstance(wanted, str):
        expect(page.get_by_role(role, name=re.compile("^" + re.escape(wanted))).first).to_be_visible()
    else:
        expect(page.get_by_role(role, name=wanted[0], exact=True).first).to_have_value(wanted[1])


BACKGROUND = "() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


def brightness(page) -> float:
    """Mean of the background's red, green and blue."""
    return sum(map(int, re.findall(r"\d+", page.evaluate(BACKGROUND))[:3])) / 3


def drawn_pictures(page, on_their_own: int, in_charts: int) -> list[np.ndarray]:
    """Photos and masks as they stand on the screen, without their rounded corners; those in charts as they are sent."""
    expect(page.locator(PICTURES)).to_have_count(on_their_own)
    expect(page.locator(IN_CHARTS)).to_have_count(in_charts)
    shown = [pixels_of(picture.screenshot())[8:-8, 8:-8] for picture in page.locator(PICTURES).all()]
    assert all(picture.std() > 5 for picture in shown), "nothing is blank"
    sent = [image.get_attribute("href") or image.get_attribute("xlink:href") for image in page.locator(IN_CHARTS).all()]
    return shown + [uri_pixels(uri) for uri in sent]
