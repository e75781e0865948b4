"""A comparison to take away: CSV, JSON, Markdown and LaTeX tables, each a pure function of one record."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scl_core.figures.iou import IouTable

DASH = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", DASH: "--", "Δ": r"$\Delta$", "…": r"\ldots{}",
}  # fmt: skip
MARKDOWN = str.maketrans({char: "\\" + char for char in "\\|`*_<>[]#"})


@dataclass(frozen=True)
class Report:
    """What is compared: the IoU of each evaluation by class, what each evaluation is, and what stands beside it.

    `about`: for each label of `table` what it is of (run, network, step, list hash …). `ends`: for a label and class
    the ends of the interval of the difference, 0..1. `support`: labeled pixels by class. `settings`: rows of setting
    and one value for each run. `matrices`: summed confusion matrices by label, [C, C or C + 1], in order of `classes`.
    """

    title: str
    table: IouTable
    about: Sequence[Mapping[str, object]]
    ends: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    support: Mapping[str, int] = field(default_factory=dict)
    settings: Sequence[Mapping[str, str]] = ()
    matrices: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()


def header(report: Report) -> list[str]:
    """The columns of the table of classes."""
    labels = report.table.labels
    differences = [name for label in labels[1:] for name in (f"Δ {label}", f"95 % {label}")]
    return ["Class", *labels, *differences, *(["Pixels"] if report.support else [])]


def rows(report: Report) -> list[list[str]]:
    """One row for each class and a last one for the mean, as texts: IoU in percent, differences in points."""
    table, found = report.table, []
    for index, name in enumerate(table.classes):
        cells = [number(value) for value in table.values[index]]
        for column, label in enumerate(table.labels[1:]):
            ends = report.ends.get(label, {}).get(name)
            cells += [signed(table.deltas[index, column]), interval(ends)]
        found.append([name, *cells, *([str(report.support.get(name, DASH))] if report.support else [])])
    means = table.means
    cells = [number(value) for value in means]
    for label, value in zip(table.labels[1:], means[1:], strict=True):
        cells += [signed(value - means[0]), interval(report.ends.get(label, {}).get("mean"))]
    total = [str(sum(report.support.values()))] if report.support else []
    return [*found, ["mean", *cells, *total]]


def number(value: float) -> str:
    """A share in percent; a dash for an absent class."""
    return DASH if math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float) -> str:
    """A difference in points with its sign; a dash where there is none."""
    return DASH if math.isnan(value) else f"{100 * value:+.1f}"


def interval(ends: tuple[float, float] | None) -> str:
    """The two ends of an interval in points; a dash where there is none."""
    return DASH if ends is None or any(map(math.isnan, ends)) else f"{100 * ends[0]:+.1f} … {100 * ends[1]:+.1f}"


def to_csv(report: Report) -> str:
    """The table of classes; cells that a spreadsheet would take for a formula begin with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([harmless(name) for name in header(report)])
    writer.writerows([harmless(row[0]), *row[1:]] for row in rows(report))
    return text.getvalue()


def harmless(name: str) -> str:
    """A name that no spreadsheet runs."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name


def to_json(report: Report) -> str:
    """Everything in full precision; absent classes are null."""
    table = report.table
    value = {
        "title": report.title,
        "evaluations": [dict(item) for item in report.about],
        "iou": {label: by_class(table.classes, table.values[:, i]) for i, label in enumerate(table.labels)},
        "mean_iou": by_class(table.labels, table.means),
        "difference": {label: by_class(table.classes, table.deltas[:, i]) for i, label in enumerate(table.labels[1:])},
        "interval_95": {
            label: {k: list(map(or_none, v)) for k, v in ends.items()} for label, ends in report.ends.items()
        },
        "pixels": dict(report.support),
        "confusion": {label: matrix.tolist() for label, matrix in report.matrices.items()},
        "confusion_classes": list(report.classes),
        "settings": [dict(row) for row in report.settings],
        "notes": list(report.notes),
    }
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def by_class(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    """Numbers by name, None for NaN."""
    return {name: or_none(value) for name, value in zip(names, values, strict=True)}


def or_none(value: float) -> float | None:
    """The number, or None for NaN, which JSON does not know."""
    return None if math.isnan(value) else float(value)


def to_markdown(report: Report) -> str:
    """The table of classes and a line for each evaluation."""
    names = header(report)
    lines = [f"# {report.title.translate(MARKDOWN)}", ""]
    lines += [f"- {line.translate(MARKDOWN)}" for line in (*map(about_line, report.about), *report.notes)]
    lines += ["", markdown_row(names), markdown_row(["---", *["---:"] * (len(names) - 1)], escape=False)]
    return "\n".join([*lines, *map(markdown_row, rows(report))]) + "\n"


def about_line(item: Mapping[str, object]) -> str:
    """What one evaluation is, in a line."""
    return ", ".join(f"{key}: {value}" for key, value in item.items() if value is not None)


def markdown_row(cells: Sequence[str], escape: bool = True) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell.translate(MARKDOWN) if escape else cell for cell in cells) + " |"


def to_latex(report: Report) -> str:
    """The table of classes with booktabs rules; the best IoU of each row is bold."""
    names = header(report)
    lines = [
        "% " + "".join(char for char in report.title if char.isprintable()),
        rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
        r"\toprule",
        latex_row(names),
        r"\midrule",
    ]
    *classes, mean = rows(report)
    count = len(report.table.labels)
    lines += [latex_row(row, best(row[1 : 1 + count])) for row in classes]
    lines += [r"\midrule", latex_row(mean, best(mean[1 : 1 + count])), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def best(cells: Sequence[str]) -> set[int]:
    """The places, from 1, of the highest of several numbers."""
    values = [float(cell) if cell != DASH else -math.inf for cell in cells]
    top = max(values)
    return (
        {index for index, value in enumerate(values, start=1) if value == top > -math.inf} if len(cells) > 1 else set()
    )


def latex_row(cells: Sequence[str], bold: set[int] = frozenset()) -> str:
    """A line of a table."""
    texts = ["".join(LATEX.get(char, char) for char in cell) for cell in cells]
    return " & ".join(rf"\textbf{{{text}}}" if i in bold else text for i, text in enumerate(texts)) + r" \\"
