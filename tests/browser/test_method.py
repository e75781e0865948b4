"""The Method pages in a real browser: a click and a key in the viewer reach the library's numbers."""

import re
from pathlib import Path

import pytest

from scl_core.probe import Probe, similarity_matrices, similarity_rows
from tests.browser.driving import expect, settled
from tests.method_run import NAME, library_probe

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def probe(trained: Path) -> Probe:
    return library_probe(trained / NAME)


@pytest.fixture
def address(trained_server) -> str:
    return trained_server.address


def open_viewer(page, address: str, query: str = ""):
    page.goto(f"{address}/similarity?run={NAME}{query}")
    viewer = page.get_by_role("application")
    expect(page.get_by_role("heading", name="Pixel 1")).to_be_visible()
    expect(page.locator(".place")).to_contain_text("row")
    return viewer


def click_pixel(viewer, probe: Probe, row: int, column: int, **options) -> None:
    frame = viewer.bounding_box()
    height, width = probe.owner.shape
    place = {"x": (column + 0.5) * frame["width"] / width, "y": (row + 0.5) * frame["height"] / height}
    viewer.click(position=place, **options)


PLACE = """(canvas, [row, column]) => {
  const view = canvas.shape, frame = canvas.getBoundingClientRect();
  return [frame.left + view.places[0] + (column + 0.5) * view.zoom, frame.top + view.title + (row + 0.5) * view.zoom];
}"""


def place_in_panel(canvas, column: int, row: int) -> tuple[float, float]:
    """Where the first of the panels has this cell on the screen."""
    canvas.scroll_into_view_if_needed()
    return tuple(canvas.evaluate(PLACE, [row, column]))


def click_in_panel(canvas, column: int, row: int) -> None:
    """Click a cell of the first panel."""
    canvas.page.mouse.click(*place_in_panel(canvas, column, row))


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
    expect(heading).to_contain_text(f"box {number}?")
    click_pixel(viewer, probe, *second, modifiers=["Shift"])
    teacher, student = similarity_rows(probe, number, *first)
    box = probe.report[number]
    for label, values in (("Teacher", teacher), ("Student", student)):
        wanted = f"{values[second[0] - box.top, second[1] - box.left]:.4f}"
        expect(page.get_by_test_id("stMetric").filter(has_text=label)).to_contain_text(wanted)
    page.goto(page.url)  # the address alone shows the same
    expect(heading).to_contain_text(f"box {number}?")
    expect(page.get_by_test_id("stMetric").filter(has_text="Student")).to_contain_text(wanted)


def test_keys_move_the_cursor_and_take_the_pixel(page, address, probe):
    number, first, _ = far_apart(probe)
    viewer = open_viewer(page, address, "&box={}&pixel={}-{}".format(number, *first))
    page.mouse.move(5, 5)
    viewer.focus()
    row, column = first[0] + 1, first[1] + 2
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator(".place")).to_contain_text(f"row {row}, column {column}")
    page.keyboard.press("Enter")
    number = int(probe.owner[row, column])
    expect(page.get_by_role("heading", name=f"Pixel 1, row {row}, column {column}")).to_contain_text(f"box {number}?")


def test_an_overlay_stays_when_a_pixel_is_clicked(page, address, probe):
    viewer = open_viewer(page, address)
    page.get_by_role("button", name="Loss per pixel").click()
    _, _, last = far_apart(probe)
    click_pixel(viewer, probe, *last)
    expect(page.get_by_role("heading", name=f"Pixel 1, row {last[0]}, column {last[1]}")).to_be_visible()
    expect(page.get_by_role("button", name="Loss per pixel")).to_have_attribute("aria-pressed", "true")


def test_a_click_outside_of_every_box_says_so(page, address, probe):
    viewer = open_viewer(page, address)
    row, column = (probe.owner < 0).nonzero()[0].tolist()
    click_pixel(viewer, probe, row, column)
    expect(page.get_by_test_id("stToast")).to_contain_text("No loss box shows this pixel")


def test_a_click_on_a_cell_marks_its_two_pixels(page, address, probe):
    open_viewer(page, address, "&order=row+by+row")
    heaviest = max((box for box in probe.report if box.in_loss), key=lambda box: box.term)
    found = similarity_matrices(probe, heaviest.number, 96)
    matrices = page.get_by_role("img", name="Similarity matrices")
    click_in_panel(matrices, 5, 2)
    row, column = found.places[2].tolist()
    expect(page.get_by_role("heading", name=f"Pixel 1, row {row}, column {column}")).to_be_visible()
    for label, values in (("Teacher", found.teacher), ("Student", found.student)):
        expect(page.get_by_test_id("stMetric").filter(has_text=label)).to_contain_text(f"{values[2, 5]:.4f}")


def test_the_map_holds_the_librarys_numbers_pixel_for_pixel_and_tells_them_under_the_pointer(page, address, probe):
    number, first, other = far_apart(probe)
    open_viewer(page, address, "&box={}&pixel={}-{}".format(number, *first))
    teacher, student = similarity_rows(probe, number, *first)
    box, chart = probe.report[number], page.get_by_role("img", name="Similarity of one pixel")
    expect(chart).to_have_attribute("data-marks", "{}-{}".format(*first))
    row, column = other[0] - box.top, other[1] - box.left
    page.mouse.move(*place_in_panel(chart, column, row))
    told = page.locator(".cell").filter(has_text="row {}, column {}".format(*other))
    for symbol, value in (("aᵗ", teacher), ("aˢ", student), ("aˢ − aᵗ", student - teacher)):
        expect(told).to_contain_text(f"{symbol} = {value[row, column]:.4f}".replace("-0.0000", "0.0000"))


def test_a_clicked_pixel_runs_again_what_it_changes_and_no_more(page, address, probe):
    """The rest of the page keeps the very elements that it had: nothing is run, sent or drawn anew."""
    _, first, _ = far_apart(probe)
    number = int(probe.owner[first])
    viewer = open_viewer(page, address, f"&box={number}")
    chart = page.get_by_role("img", name="Similarity of one pixel")
    expect(chart).to_have_attribute("data-marks", re.compile(r"^\d+-\d+$"))
    settled(page)
    sent = []
    page.evaluate(COUNT_PICTURES)
    page.on("websocket", lambda _: sent.append("a new connection"))
    click_pixel(viewer, probe, *first)
    expect(chart).to_have_attribute("data-marks", "{}-{}".format(*first))
    settled(page)
    assert page.evaluate("globalThis.sclPicturesSent") == 0 and not sent


COUNT_PICTURES = """() => {
  globalThis.sclPicturesSent = 0;
  addEventListener("scl-layers", () => { globalThis.sclPicturesSent += 1; });
}"""


def test_cutmix_draws_its_pictures(page, address):
    page.goto(f"{address}/cutmix?what_if=true&boxes=6&pasted=4&box=2")
    expect(page.get_by_role("heading", name="Box 2 shows")).to_be_visible()
    expect(page.locator(".js-plotly-plot .imagelayer image")).to_have_count(3)
    outlines = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace")
    expect(outlines).to_have_count(4 + 2)  # dark lines lie under the coloured ones, the chosen box's apart
