"""The files of a comparison, opened again: the numbers are those of the table, names are only names."""

import csv
import io
import json
import re

import numpy as np
import pytest

from scl_core.figures.iou import iou_table
from scl_core.figures.report import Report, to_csv, to_json, to_latex, to_markdown
from scl_core.figures.report_page import picture_part, to_html

NASTY = "</script><script>alert(1)</script>"


@pytest.fixture
def report() -> Report:
    first = {"Road": 0.9, "Car_2": 0.4, "=cmd()": 0.1, "Train": None}
    second = {"Road": 0.92, "Car_2": 0.3, "=cmd()": 0.15, "Train": None}
    table = iou_table({"A": first, "B": second})
    about = [{"label": "A", "run": NASTY, "step": 400}, {"label": "B", "run": "plain", "step": 400}]
    return Report(
        f"A and B {NASTY}",
        table,
        about,
        ends={"B": {"Road": (0.01, 0.03), "mean": (-0.02, 0.02), "Train": (np.nan, np.nan)}},
        support={"Road": 100, "Car_2": 20, "=cmd()": 3, "Train": 0},
        settings=[{"Setting": "seed", "A": "0", "B": "1"}],
        matrices={"A": np.array([[5, 1], [0, 0]])},
        classes=("Road", "Train"),
        notes=["a | note"],
    )


def test_csv_reads_back(report):
    head, *body = csv.reader(io.StringIO(to_csv(report)))
    assert head == ["Class", "A", "B", "Δ B", "95 % B", "Pixels"]
    assert [row[0] for row in body] == ["'=cmd()", "Road", "Car_2", "Train", "mean"]
    assert body[1] == ["Road", "90.0", "92.0", "+2.0", "+1.0 … +3.0", "100"]
    assert body[3][1:] == ["–", "–", "–", "–", "0"] and body[-1][-1] == "123"


def test_json_has_every_digit_and_null_for_absent(report):
    found = json.loads(to_json(report))
    assert found["iou"]["B"]["Road"] == 0.92 and found["iou"]["B"]["Train"] is None
    assert found["interval_95"]["B"]["Train"] == [None, None]
    assert found["confusion"]["A"] == [[5, 1], [0, 0]] and found["settings"][0]["Setting"] == "seed"
    assert found["mean_iou"]["A"] == pytest.approx((0.9 + 0.4 + 0.1) / 3)


def test_markdown_is_one_table_of_equal_rows(report):
    lines = [line for line in to_markdown(report).splitlines() if line.startswith("|")]
    assert len(lines) == 7 and len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert r"Car\_2" in to_markdown(report) and r"a \| note" in to_markdown(report)


def test_latex_escapes_and_prints_the_best_bold(report):
    text = to_latex(report)
    assert r"Car\_2" in text and r"\textbf{92.0}" in text and r"\textbf{90.0}" not in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {5}
    assert text.count("{") == text.count("}")


def test_html_is_whole_and_its_data_reads_back(report):
    page = to_html(report, {"A picture": "data:image/png;base64,AAAA"})
    assert "<script>alert(1)" not in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert json.loads(data)["evaluations"][0]["run"] == NASTY
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r'(src|href)="http', outside) and 'src="data:image/png' in outside
    assert page.count("plotly-graph-div") >= 3


def test_pictures_of_the_web_are_refused():
    with pytest.raises(ValueError, match="data URIs"):
        picture_part("x", "http://example.org/x.png")
