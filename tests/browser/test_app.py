"""The Runs pages in a real browser: a run is launched, watched, left alone, stopped and resumed; rows, odd names."""

import os
import re
import shutil
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from scl_core.runs import RunFolder
from tests.browser.driving import expect, no_error, settled, visit
from tests.fake_runs import NASTY_NAME, write_run
from tests.method_run import NAME
from tests.pages.test_spoilt_runs import change_settings

pytestmark = pytest.mark.browser


def fill(page, label: str, value: str) -> None:
    box = page.get_by_label(label, exact=True).locator("visible=true")
    box.fill(value)
    box.press("Tab")


def open_tab(page, name: str) -> None:
    """Once the page stands still, for a field that was just left may move what is below it."""
    settled(page)
    tab = page.get_by_role("tab", name=name)
    tab.click()
    expect(tab).to_have_attribute("aria-selected", "true")


def state(page):
    return page.locator('[data-testid="stMetric"]').filter(has_text="State")


COUNT_POINTS = "document.querySelector('.js-plotly-plot')?._fullData?.[0]?.x?.length ?? 0"


def wait_for_points(page, count: int) -> int:
    """Wait until the first curve of the first figure has that many points; returns how many it has."""
    page.wait_for_function(f"count => ({COUNT_POINTS}) >= count", arg=count)
    return page.evaluate(f"() => {COUNT_POINTS}")


def stop(page) -> None:
    """Ask the run to stop and wait until it has."""
    page.get_by_role("button", name="Stop").click()
    expect(state(page)).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Resume")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_run_is_launched_watched_left_alone_stopped_and_resumed(page, server):
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
    open_tab(page, "Model")
    fill(page, "Width", "0.25")
    fill(page, "Decoder channels", "16")
    open_tab(page, "Training")
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

    stop(page)
    done = len(RunFolder(server.runs / "tiny").metrics())
    page.get_by_role("button", name="Resume").click()
    expect(state(page)).to_contain_text("running")
    wait_for_points(page, done + 2)
    stop(page)
    steps = [row["step"] for row in RunFolder(server.runs / "tiny").metrics()]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > done
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


def large_pictures(root: Path, count: int = 150) -> None:
    """A folder of pictures of which each takes a while to read, the first four with masks."""
    for part, mode in (("images", "RGB"), ("masks", "L")):
        (root / part).mkdir(parents=True)
        first = root / part / "000.png"
        Image.new(mode, (1500, 1500)).save(first)
        for number in range(1, count if part == "images" else 4):
            os.link(first, root / part / f"{number:03}.png")


def test_long_work_in_the_page_is_cancelled_by_a_click_and_begun_again(page, server, trained):
    run = Path(shutil.copytree(trained / NAME, server.runs / "big"))
    large_pictures(server.runs.parent / "pictures")
    classes = list(RunFolder(run).evaluations()[0]["per_class_iou"])
    (server.runs.parent / "pictures" / "classes.txt").write_text("\n".join(classes))
    size = {"height": 48, "width": 64, "val_fraction": 0.5}
    change_settings(run, data={"name": "folder", "root": str(server.runs.parent / "pictures")} | size)
    visit(page, server, "health?run=big")
    expect(page.get_by_text(re.compile("Comparing pictures: .* of 150, about .* left"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Comparing pictures: cancelled.")).to_be_visible()
    expect(page.get_by_role("heading", name="Lists: – cannot say")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.get_by_role("button", name="Start again").click()
    expect(page.get_by_role("heading", name="Lists: ✔ sound")).to_be_visible()
    no_error(page)
