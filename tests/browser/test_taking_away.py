"""Everything that the app gives to take away, downloaded in a real browser and opened: it holds what the page shows."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from scl_core.agreement import rank_run
from scl_core.comparison import picture_scores, worst_first
from scl_core.data.images import resize_picture
from scl_core.inference import overlay, predict_classes
from scl_core.restore import restore
from scl_core.runs import RunFolder
from tests.browser.driving import downloaded, expect, no_error, pixels_of, settled, uri_pixels, visit
from tests.method_run import NAME

pytestmark = pytest.mark.browser
CPU = torch.device("cpu")
FORMATS = ("CSV", "JSON", "Markdown", "LaTeX", "HTML report")


@pytest.fixture(scope="module")
def run(trained: Path) -> RunFolder:
    return RunFolder(trained / NAME)


@pytest.fixture(scope="module")
def files(context, trained_server) -> dict[str, bytes]:
    """Every export of the comparison of teacher and student, by its button; the HTML report with two pictures."""
    page = context.new_page()
    visit(page, trained_server, f"compare?runs={NAME}")
    page.get_by_role("tab", name="Export").click()
    count = page.get_by_role("spinbutton", name="Pictures in the HTML report")
    count.fill("2")
    count.press("Enter")
    buttons = {name: page.get_by_role("button", name=name, exact=True) for name in FORMATS}
    expect(page.get_by_text(re.compile(r"mIoU teacher .*\n.*mIoU teacher"))).to_be_visible()
    settled(page)
    found = {name: downloaded(page, button) for name, button in buttons.items()}
    no_error(page)
    page.close()
    return found


@pytest.fixture(scope="module")
def rows(files) -> list[list[str]]:
    """The table of the CSV file, which the other formats hold as well."""
    return list(csv.reader(io.StringIO(files["CSV"].decode())))


def test_csv_has_the_scores_of_the_run(rows, run):
    head, *body = rows
    assert head == ["Class", "teacher", "student", "Δ student", "95 % student", "Pixels"]
    record, confusions, _ = run.read_evaluation(3, "val", "student")
    found = {row[0]: row[2] for row in body}
    expected = {name: "–" if iou is None else f"{100 * iou:.1f}" for name, iou in record["per_class_iou"].items()}
    assert found == expected | {"mean": f"{100 * record['mean_iou']:.1f}"}
    assert body[-1][0] == "mean" and int(body[-1][-1]) == confusions.sum()


def test_json_has_every_digit(files, run):
    found = json.loads(files["JSON"])
    for network in ("teacher", "student"):
        record, confusions, _ = run.read_evaluation(3, "val", network)
        assert found["iou"][network] == record["per_class_iou"]
        assert found["confusion"][network] == confusions.sum(0).tolist()
    assert {item["run"] for item in found["evaluations"]} == {NAME}


def test_markdown_and_latex_have_the_same_table(files, rows):
    head, _, *body = [line for line in files["Markdown"].decode().splitlines() if line.startswith("|")]
    markdown = [line.replace("\\", "").strip("| ").split(" | ") for line in (head, *body)]
    assert markdown == rows
    latex = files["LaTeX"].decode()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1 and r"\toprule" in latex
    table = [line.removesuffix(r" \\").split(" & ") for line in latex.splitlines() if line.endswith(r"\\")]
    plain = [[re.sub(r"\\textbf{(.*)}", r"\1", cell) for cell in row] for row in table]
    spoken = str.maketrans({"–": "--", "Δ": r"$\Delta$", "…": r"\ldots{}", "%": r"\%", "_": r"\_"})
    assert plain == [[cell.translate(spoken) for cell in row] for row in rows]


@pytest.fixture(scope="module")
def report(browser, files, tmp_path_factory):
    """The HTML report as a reader without the app and without a network sees it."""
    file = tmp_path_factory.mktemp("report") / "comparison.html"
    file.write_bytes(files["HTML report"])
    context = browser.new_context(offline=True)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(file.as_uri())
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    yield page
    context.close()
    assert not wrong and not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def test_the_report_opens_without_app_and_network(report, rows, files):
    expect(report.get_by_role("heading", level=1)).to_contain_text("Comparison of teacher, student")
    expect(report.locator(".js-plotly-plot")).to_have_count(4)
    for index in range(4):
        expect(report.locator(".js-plotly-plot").nth(index).locator(".trace, .hm").first).to_be_attached()
    table = report.locator("table").filter(has_text="95 %").locator("tr")
    assert [row.locator("th, td").all_text_contents() for row in table.all()] == rows
    assert json.loads(report.locator("#data").text_content()) == json.loads(files["JSON"])


def test_the_reports_pictures_are_the_librarys(report, run):
    scores = [picture_scores(run.read_evaluation(3, "val", network)[1]) for network in ("teacher", "student")]
    restored = restore(run.path, 3)
    pictures = restored.open_data().pictures("val")
    order = worst_first(-np.abs(scores[1] - scores[0]))[:2]
    expect(report.locator("figure img")).to_have_count(2)
    for image, caption, index in zip(
        report.locator("figure img").all(), report.locator("figcaption").all_text_contents(), order, strict=True
    ):
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
        assert caption.startswith(f"{pictures.names[index]}: mIoU teacher {100 * scores[0][index]:.1f} %")
        truth, picture = pictures.mask(index), pictures.image(index)
        networks = [restored.network(name) for name in ("teacher", "student")]
        maps = [truth, *(predict_classes(n, pictures.input(index), truth.shape, CPU).numpy() for n in networks)]
        sides = [overlay(picture, classes.astype(np.uint8), restored.palette) for classes in maps]
        np.testing.assert_array_equal(uri_pixels(image.get_attribute("src")), np.hstack([picture, *sides]))


def test_a_chart_is_saved_by_its_camera(page, trained_server):
    visit(page, trained_server, f"compare?runs={NAME}")
    plot = page.locator(".js-plotly-plot").locator("visible=true").first
    plot.hover()
    picture = pixels_of(downloaded(page, plot.locator('[data-title*="Download plot"]')))
    assert min(picture.shape[:2]) > 200 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_predictions_are_saved_as_they_are_drawn(page, run, trained_server):
    restored = restore(run.path, 3)
    pictures = restored.open_data().pictures("val")
    query = f"run_a={NAME}&network_a=teacher&run_b={NAME}&network_b=student&order=as+listed&picture={pictures.names[1]}"
    visit(page, trained_server, "predictions?" + query)
    for letter, network in (("A", "teacher"), ("B", "student")):
        saved = pixels_of(downloaded(page, page.get_by_role("button", name=f"Save {letter}", exact=True)))
        size = pictures.mask(1).shape
        classes = predict_classes(restored.network(network), pictures.input(1), size, CPU).numpy()
        np.testing.assert_array_equal(saved, overlay(pictures.image(1), classes.astype(np.uint8), restored.palette))


def test_an_uploaded_picture_is_predicted_and_its_prediction_saved(page, run, trained_server):
    photo = data.astronaut()[:100, :140]
    file = io.BytesIO()
    Image.fromarray(photo).save(file, format="PNG")
    visit(page, trained_server, f"upload?run_a={NAME}")
    expect(page.get_by_text("Choose a picture")).to_be_visible()
    chooser = page.locator("input[type=file]").first
    chooser.set_input_files({"name": "photo.png", "mimeType": "image/png", "buffer": file.getvalue()})
    expect(page.locator("figcaption")).to_have_count(2)
    restored = restore(run.path)
    classes = predict_classes(restored.network(), resize_picture(photo, 48, 64), (100, 140), CPU).numpy()
    name = f"{restored.class_names[np.bincount(classes.ravel()).argmax()]}"
    expect(page.get_by_role("group", name="Classes that are shown").get_by_role("button", name=name)).to_be_visible()
    content = downloaded(page, page.get_by_role("button", name="Download the class map"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), classes)
    saved = pixels_of(downloaded(page, page.get_by_role("button", name="Download the overlay")))
    np.testing.assert_array_equal(saved, overlay(photo, classes.astype(np.uint8), restored.palette))
    chooser.set_input_files({"name": "torn.png", "mimeType": "image/png", "buffer": file.getvalue()[:200]})
    expect(page.get_by_text("torn.png cannot be used")).to_be_visible()
    no_error(page)


def test_the_list_to_label_is_the_ranking(page, run, trained_server):
    ranking = rank_run(restore(run.path, 3), run, "unlabeled", CPU)
    visit(page, trained_server, f"next_to_label?run_a={NAME}&measure=entropy")
    count = page.get_by_label("Pictures to label")
    count.fill("3")
    count.press("Enter")
    expect(page.get_by_role("img", name=re.compile("^Picture"))).to_have_count(3)
    lines = downloaded(page, page.get_by_role("button", name="Download the list")).decode().splitlines()
    assert lines == [ranking.lines[index].split("\t")[0] for index in ranking.by("entropy")[:3]]
