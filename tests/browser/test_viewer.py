"""The viewer of predictions in a real browser: each of its pictures is, pixel for pixel, what the library predicts."""

import re
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import torch

from scl_core.comparison import pictures_with
from scl_core.inference import predict_probs
from scl_core.restore import restore
from scl_core.runs import RunFolder
from tests.browser.driving import canvas_pixels, click_cell, expect, no_error, settled, unzoomed, uri_pixels, visit
from tests.method_run import NAME

pytestmark = pytest.mark.browser
BOTH = {f"{key}_{side}": value for side in "ab" for key, value in (("run", NAME), ("checkpoint", "3"))}
BOTH |= {"network_a": "teacher", "network_b": "student"}


class Shown:
    """A picture of the validation list with its labels and what both networks say of it."""

    def __init__(self, run: Path, index: int):
        restored = restore(run, 3)
        pictures = restored.open_data().pictures("val")
        self.name, self.picture, self.truth = pictures.names[index], pictures.image(index), pictures.mask(index)
        self.palette = np.asarray(restored.palette, dtype=np.uint8)
        self.class_names = restored.class_names
        self.probs = {
            side: predict_probs(
                restored.network(name), pictures.input(index), self.truth.shape, torch.device("cpu")
            ).numpy()
            for side, name in (("A", "teacher"), ("B", "student"))
        }

    def classes(self, side: str) -> np.ndarray:
        return self.probs[side].argmax(0)

    def painted(self, classes: np.ndarray, hidden: int = -1) -> np.ndarray:
        """The picture under opaque classes, those of `hidden` and the ignored pixels left bare."""
        bare = (classes == 255) | (classes == hidden)
        return np.where(bare[..., None], self.picture, self.palette[np.where(bare, 0, classes)])


@pytest.fixture(scope="module")
def shown(trained: Path) -> Shown:
    """The picture that the two networks see most differently."""
    pictures = [Shown(trained / NAME, index) for index in range(4)]
    return max(pictures, key=lambda item: int((item.classes("A") != item.classes("B")).sum()))


@pytest.fixture
def viewer(page, trained_server, shown):
    """The viewer with both networks, its overlays opaque and no cursor in it."""
    visit(page, trained_server, "predictions?" + urlencode(BOTH | {"order": "as listed", "picture": shown.name}))
    expect(page.locator("figcaption")).to_have_count(5)
    slide(page, "Opacity of the overlay", 100)
    page.mouse.move(2, 2)
    return page


def slide(page, name: str, value: int) -> None:
    """Move a slider of the viewer."""
    page.get_by_role("slider", name=name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def panel(page, title: str) -> np.ndarray:
    """The canvas under a caption that begins so, as it is drawn."""
    caption = page.locator("figcaption", has_text=re.compile(f"^{title}"))
    return canvas_pixels(page.locator("figure").filter(has=caption).locator("canvas"))


def test_every_panel_shows_the_librarys_pixels(viewer, shown):
    size = shown.truth.shape
    expected = {"Picture": shown.picture, "Truth": shown.painted(shown.truth)}
    expected |= {f"{side}: ": shown.painted(shown.classes(side)) for side in "AB"}
    for title, pixels in expected.items():
        np.testing.assert_array_equal(unzoomed(panel(viewer, title), *size), pixels, err_msg=title)
    for side in "AB":
        labeled = shown.truth != 255
        missed = (shown.classes(side) != shown.truth)[labeled].mean()
        expect(viewer.locator("figcaption", has_text=f"{side}: ")).to_contain_text(f"{missed:.1%} of pixels wrong")
    drawn = unzoomed(panel(viewer, "Wrong"), *size)
    assert np.abs(drawn.astype(int) - errors(shown)).max() <= 1
    slide(viewer, "Opacity of the overlay", 0)
    np.testing.assert_array_equal(unzoomed(panel(viewer, "A: "), *size), shown.picture)


def errors(shown: Shown) -> np.ndarray:
    """The dimmed picture, hatched one way where A alone is wrong, the other way where B alone is, full where both."""
    rows, columns = np.indices(shown.truth.shape)
    a, b = ((shown.classes(side) != shown.truth) & (shown.truth != 255) for side in "AB")
    found = np.round(0.55 * shown.picture).astype(int)
    found[a & ~b & ((rows + columns) % 4 < 2)] = [230, 159, 0]
    found[b & ~a & ((rows - columns) % 4 < 2)] = [86, 180, 233]
    found[a & b] = [213, 94, 0]
    return found


def test_the_slider_divides_a_from_b(viewer, shown):
    assert (shown.classes("A") != shown.classes("B")).any(), "this picture tells A from B"
    viewer.get_by_role("button", name="A | B", exact=True).click()
    canvas = viewer.locator("figure canvas")
    expect(canvas).to_have_count(1)
    height, width = shown.truth.shape
    for share in (25, 80):
        slide(viewer, "Where A ends and B begins", share)
        drawn = unzoomed(canvas_pixels(canvas), height, width)
        columns = np.arange(width) + 0.5
        left, right = columns < width * share / 100 - 1, columns > width * share / 100 + 1
        np.testing.assert_array_equal(drawn[:, left], shown.painted(shown.classes("A"))[:, left])
        np.testing.assert_array_equal(drawn[:, right], shown.painted(shown.classes("B"))[:, right])


def test_blinking_shows_one_after_the_other_under_its_own_title(viewer, shown):
    viewer.get_by_role("button", name="Blink").click()
    figure = viewer.locator("figure")
    expect(figure).to_have_count(1)
    for side in "ABA":
        expect(figure.locator("figcaption")).to_contain_text(f"{side}: ")
        title, uri = figure.evaluate(
            "figure => [figure.querySelector('figcaption').textContent, figure.querySelector('canvas').toDataURL()]"
        )
        found = unzoomed(uri_pixels(uri), *shown.truth.shape)
        np.testing.assert_array_equal(found, shown.painted(shown.classes(title.strip()[0])))


def test_a_class_is_taken_away_and_brought_back(viewer, shown):
    classes = shown.classes("A")
    hidden = int(np.bincount(classes.ravel()).argmax())
    button = viewer.get_by_role("group", name="Classes that are shown").get_by_role(
        "button", name=shown.class_names[hidden], exact=True
    )
    for state, pixels in (("false", shown.painted(classes, hidden)), ("true", shown.painted(classes))):
        button.click()
        expect(button).to_have_attribute("aria-pressed", state)
        np.testing.assert_array_equal(unzoomed(panel(viewer, "A: "), *classes.shape), pixels)


def test_arrow_keys_move_one_cursor_in_all_panels_and_enter_marks_it(viewer, shown):
    height, width = shown.truth.shape
    before = [canvas_pixels(canvas) for canvas in viewer.locator("figure canvas").all()]
    viewer.get_by_role("application").focus()
    for key in ("Shift+ArrowDown", "ArrowUp", "ArrowRight"):
        viewer.keyboard.press(key)
    row, column = height // 2 + 8 - 1, width // 2 + 1
    expect(viewer.locator(".place")).to_have_text(told(shown, row, column))
    after = [canvas_pixels(canvas) for canvas in viewer.locator("figure canvas").all()]
    assert len(after) == 5
    for first, second in zip(before, after, strict=True):
        scale = first.shape[1] // width
        rows, columns = np.nonzero((first != second).any(-1))
        assert abs((rows.min() + rows.max() + 1) / 2 - (row + 0.5) * scale) <= 1
        assert abs((columns.min() + columns.max() + 1) / 2 - (column + 0.5) * scale) <= 1
        assert rows.max() - rows.min() < 0.05 * first.shape[1], "a ring, and nothing else"
    viewer.keyboard.press("Enter")
    expect(viewer).to_have_url(re.compile(f"pixel={row}-{column}"))
    settled(viewer)
    no_error(viewer)


def told(shown: Shown, row: int, column: int) -> str:
    """What the viewer says of a pixel."""
    words = [f"row {row}, column {column}"]
    truth = shown.truth[row, column]
    words.append("truth: " + ("ignored" if truth == 255 else shown.class_names[truth]))
    for side in "AB":
        probs = shown.probs[side][:, row, column]
        sure = int(np.floor(np.round(255 * probs.max()) / 2.55 + 0.5))
        words.append(f"{side}: {shown.class_names[probs.argmax()]} {sure} %")
    return " · ".join(words)


def test_a_confusion_cell_opens_the_pictures_that_hold_it(page, trained, trained_server):
    record, confusions, names = RunFolder(trained / NAME).read_evaluation(3, "val", "teacher")
    total = confusions.sum(0)[:, : confusions.shape[1]]
    row, column = np.unravel_index(np.argmax(total * (1 - np.eye(len(total), dtype=int))), total.shape)
    order, counts = pictures_with(confusions, row, column)
    visit(page, trained_server, f"compare?runs={NAME}")
    page.get_by_role("tab", name="Confusion").click()
    plots = page.locator(".js-plotly-plot").locator("visible=true")
    expect(plots).to_have_count(2)
    click_cell(page, plots.first, int(column), int(row))
    expect(page.get_by_text(f"{len(order)} pictures hold it")).to_be_visible()
    classes = [*record["per_class_iou"], "void"]
    told = f"{classes[row]} taken for {classes[column]}, by A · teacher · val · step 3: {counts.sum():,} pixels"
    expect(page.get_by_text(told)).to_be_visible()
    page.get_by_role("link", name="Look at these pictures").locator("visible=true").click()
    expect(page.get_by_role("heading", name="Predictions")).to_be_visible()
    expect(page.get_by_role("combobox", name=re.compile("^Picture, of"))).to_have_value(names[order[0]])
    expect(page.get_by_role("combobox", name="Order")).to_have_value("most of a confusion")
    expect(page.get_by_text(f"{counts[0]:,} pixels")).to_be_visible()
    expect(page.locator("figcaption")).to_have_count(5)
    no_error(page)
