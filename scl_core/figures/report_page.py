"""A comparison as one HTML file that opens without the app and without a network: figures, tables, data inside."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from scl_core.figures.confusion import confusion_figure
from scl_core.figures.iou import delta_bars, per_class_bars
from scl_core.figures.report import Report, header, rows, to_json
from scl_core.figures.style import plain

STYLE = """
:root { color-scheme: light; }
body { font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
body { color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ccc; padding: 0.25rem 0.7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tbody tr:last-child.mean { font-weight: 600; border-top: 2px solid #333; }
.wide { overflow-x: auto; }
.pictures img { max-width: 100%; }
"""


def to_html(report: Report, pictures: Mapping[str, str] | None = None) -> str:
    """The whole report; `pictures` are PNG data URIs under their captions. Every name is shown letter for letter."""
    figures = [delta_bars(report.table, index, ends_of(report, label)) for index, label in others(report)]
    figures.append(per_class_bars(report.table))
    figures += matrix_figures(report)
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in report.notes) + "</ul>",
        "<h2>What is compared</h2>",
        dict_table(report.about),
        "<h2>IoU by class (%)</h2>",
        html_table(header(report), rows(report), last="mean"),
        *(figure_part(figure) for figure in figures),
        "<h2>Settings that differ</h2>" + dict_table(report.settings) if report.settings else "",
        *(picture_part(caption, uri) for caption, uri in (pictures or {}).items()),
    ]
    data = to_json(report).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body>\n{chr(10).join(filter(None, parts))}\n"
        f'<script type="application/json" id="data">{data}</script>\n</body></html>\n'
    )


def others(report: Report) -> list[tuple[int, str]]:
    """The labels that are compared with the first, and their places among the differences."""
    return list(enumerate(report.table.labels[1:]))


def ends_of(report: Report, label: str) -> dict[str, tuple[float, float]]:
    """The intervals of one label by class."""
    return {name: ends for name, ends in report.ends.get(label, {}).items() if name != "mean"}


def matrix_figures(report: Report) -> list[go.Figure]:
    """The confusion matrices, each by row."""
    figures = []
    for label, matrix in report.matrices.items():
        total = matrix.sum(1, keepdims=True)
        shares = matrix / total.clip(min=1)
        shares[total[:, 0] == 0] = float("nan")
        figures.append(confusion_figure(shares, report.classes, "row", f"Confusion by row: {plain(label)}"))
    return figures


def figure_part(figure: go.Figure) -> str:
    """A figure that is drawn by the script in the page's head."""
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})


def html_table(names: Sequence[str], cells: Sequence[Sequence[object]], last: str = "") -> str:
    """A table; a row whose first cell is `last` is marked as that of the mean."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    body = "".join(
        f'<tr class="{"mean" if last and row[0] == last else ""}">'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in row)
        + "</tr>"
        for row in cells
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def dict_table(items: Sequence[Mapping[str, object]]) -> str:
    """A table of records that have the same fields."""
    names = list(dict.fromkeys(name for item in items for name in item))
    return html_table(names, [["–" if item.get(name) is None else item[name] for name in names] for item in items])


def picture_part(caption: str, uri: str) -> str:
    """A picture with its caption. Raises ValueError for anything but a PNG data URI."""
    if not uri.startswith("data:image/png;base64,"):
        raise ValueError(f"{caption}: only PNG data URIs are shown")
    words = escape(caption)
    return f'<figure class="pictures"><img src="{escape(uri)}" alt="{words}"><figcaption>{words}</figcaption></figure>'
