"""The comparison to take away: files that are made when their button is pressed."""

import streamlit as st

from pages.shared import comparing
from pages.shared import evaluations as ev
from pages.shared.settings_diff import settings_table
from pages.shared.words import plain_name
from scl_core.comparison import support, usual_block
from scl_core.errors import UserError
from scl_core.figures.iou import iou_table
from scl_core.figures.report import Report, to_csv, to_json, to_latex, to_markdown
from scl_core.figures.report_page import to_html

FILES = {
    "CSV": ("comparison.csv", "text/csv", to_csv),
    "JSON": ("comparison.json", "application/json", to_json),
    "Markdown": ("comparison.md", "text/markdown", to_markdown),
    "LaTeX": ("comparison.tex", "text/x-tex", to_latex),
    "HTML report": ("comparison.html", "text/html", to_html),
}


def show_exports(chosen: list[ev.Evaluation], names: list[str], block: int | None) -> None:
    """A button for each format, and what each of them holds."""
    report = report_of(chosen, names, block)
    with st.container(horizontal=True):
        for label, (file, mime, write) in FILES.items():
            st.download_button(
                label, lambda write=write: write(report), file, mime, key=f"export-{file}", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip
    st.caption(
        "The HTML report is one file of 5 MB that opens without the app and without a network. JSON has everything in "
        "full precision. LaTeX needs the package booktabs. A chart as PNG: the camera at its upper right corner."
    )


def report_of(chosen: list[ev.Evaluation], names: list[str], block: int | None) -> Report:
    """The record of what the page shows."""
    labels = ev.short_labels(chosen)
    table = iou_table({label: ev.class_scores(item) for label, item in zip(labels, chosen, strict=True)})
    about = [about_of(item) | {"label": label} for label, item in zip(labels, chosen, strict=True)]
    notes = [f"Taken on different {what}: these scores cannot be compared." for what in ev.disagreements(chosen)]
    columns = {f"{ev.letter(index)} · {plain_name(name)}": name for index, name in enumerate(names)}
    settings = settings_table(columns, only_differences=True).to_dict("records") if len(names) > 1 else []
    parts = matrix_parts(chosen, labels, block)
    return Report("Comparison of " + ", ".join(map(plain_name, labels)), table, about, settings=settings,
                  notes=[*notes, *parts.pop("notes")], **parts)  # fmt: skip


def about_of(item: ev.Evaluation) -> dict[str, object]:
    """What an evaluation is of, as text that is safe to show."""
    record = item.record
    keys = ("network", "split", "mean_iou", "boundary_mean_iou", "pictures", "list_hash", "protocol")
    found = {key: record.get(key) for key in keys}
    shown = {key: plain_name(value) if isinstance(value, str) else value for key, value in found.items()}
    return {"run": plain_name(item.run), "step": item.step} | shown


def matrix_parts(chosen: list[ev.Evaluation], labels: list[str], block: int | None) -> dict:
    """What needs the stored matrices: intervals, support, confusions; and a note where they are missing."""
    parts: dict = {"ends": {}, "support": {}, "matrices": {}, "classes": (), "notes": []}
    try:
        matrices = [comparing.matrices_of(item) for item in chosen]
        first = matrices[0]
        parts["support"] = dict(zip(first.classes, support(first.whole).tolist(), strict=True))
        parts["classes"] = first.classes
        for label, second in zip(labels[1:], matrices[1:], strict=True):
            result = comparing.differences(first, second, "whole", block or usual_block(len(first.names)))
            ends = zip(first.classes, zip(result.low, result.high, strict=True), strict=True)
            parts["ends"][label] = dict(ends) | {"mean": (result.mean_low, result.mean_high)}
        parts["matrices"] = {label: item.whole.sum(0) for label, item in zip(labels, matrices, strict=True)}
        if parts["ends"]:
            parts["notes"].append("95 %: block bootstrap over the pictures; nothing is said about other seeds.")
    except (UserError, OSError) as error:
        parts["notes"].append(f"Without intervals or matrices: {plain_name(error)}.")
    return parts
