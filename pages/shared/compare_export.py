"""The comparison to take away: files that are made when their button is pressed."""

import numpy as np
import streamlit as st

from pages.shared import comparing, long_work
from pages.shared import evaluations as ev
from pages.shared import prediction_data as data
from pages.shared.compare_views import same_pictures, scores_and_order
from pages.shared.messages import say_why_not
from pages.shared.settings_diff import settings_table
from pages.shared.words import plain_name
from scl_core.comparison import support, usual_block
from scl_core.errors import UserError
from scl_core.figures.iou import iou_table
from scl_core.figures.pictures import png_uri
from scl_core.figures.report import Report, to_csv, to_json, to_latex, to_markdown
from scl_core.figures.report_page import to_html
from scl_core.inference import overlay
from scl_core.progress import Tell, unheard

MOST_PICTURES = 12
FILES = {
    "CSV": ("comparison.csv", "text/csv", to_csv),
    "JSON": ("comparison.json", "application/json", to_json),
    "Markdown": ("comparison.md", "text/markdown", to_markdown),
    "LaTeX": ("comparison.tex", "text/x-tex", to_latex),
    "HTML report": ("comparison.html", "text/html", to_html),
}


def show_exports(chosen: list[ev.Evaluation], pair: list[ev.Evaluation], names: list[str], block: int | None) -> None:
    """A button for each format, and what each of them holds; `pair`: whose pictures the HTML report may show."""
    report = report_of(chosen, names, block)
    pictures = pick_pictures(pair)
    with st.container(horizontal=True):
        for label, (file, mime, write) in FILES.items():
            st.download_button(
                label, lambda write=write: write_out(write, report, pictures), file, mime, key=f"export-{file}",
                on_click="ignore", icon=":material/download:",
            )  # fmt: skip
    st.caption(
        "The HTML report is one file of about 5 MB that opens without the app and without a network. JSON has "
        "everything in full precision. LaTeX needs the package booktabs. A chart as PNG: the camera at its corner."
    )


def write_out(write, report: Report, pictures: dict[str, str]) -> str:
    """One file; the HTML report alone has pictures."""
    return to_html(report, pictures) if write is to_html else write(report)


def pick_pictures(pair: list[ev.Evaluation]) -> dict[str, str]:
    """As many pictures for the HTML report as are asked for, as PNG data URIs by caption; the page lists these."""
    help = "Picture, labels and predictions side by side: the largest difference, or the worst, first."
    count = st.number_input(
        "Pictures in the HTML report", 0, MOST_PICTURES, 0, key="report_pictures", help=help, width=230
    )
    if not count:
        return {}
    try:
        key, words = tuple(item.label for item in pair), "Predicting the pictures of the report"
        if long_work.is_cancelled("report", key, words):
            return {}
        with long_work.watched("report", key, words) as tell:
            found = report_pictures(pair, count, tell)
    except (UserError, OSError) as error:
        say_why_not(error)
        return {}
    st.text("\n".join(found))
    return found


def report_pictures(pair: list[ev.Evaluation], count: int, tell: Tell = unheard) -> dict[str, str]:
    """The pictures by caption. Raises `UserError` where a network or its scores are not on disk."""
    matrices = same_pictures(pair)
    split = pair[0].record["split"]
    source = data.source_of(pair[0].run)
    listed = source.pictures(split)
    scores, order = scores_and_order(matrices)
    found = {}
    for place in order[:count]:
        name = matrices[0].names[place]
        if name not in listed.names:
            raise UserError(f"the {split} list of {pair[0].run} has changed since it was scored: evaluate it again")
        values = ", ".join(
            f"{label} {100 * score[place]:.1f} %" for label, score in zip(ev.short_labels(pair), scores, strict=True)
        )
        found[plain_name(f"{name}: mIoU {values}")] = png_uri(
            side_by_side(pair, source, split, listed.names.index(name))
        )
        tell(len(found), count)
    return found


def side_by_side(pair: list[ev.Evaluation], source, split: str, index: int) -> np.ndarray:
    """Picture, labels and predictions of one picture of the list, uint8 [H, n W, 3], from left to right."""
    listed = source.pictures(split)
    sides = [data.Side(item.run, item.step, item.record["network"]) for item in pair]
    maps = [data.predict_listed(side, split, index).classes for side in sides]
    truth = data.truth_of(listed, index)
    maps = maps if truth is None else [truth, *maps]
    picture = data.resize_picture(listed.image(index), *maps[0].shape)
    return np.hstack([picture, *(overlay(picture, classes, source.palette) for classes in maps)])


def report_of(chosen: list[ev.Evaluation], names: list[str], block: int | None) -> Report:
    """The record of what the page shows."""
    labels = ev.short_labels(chosen)
    table = iou_table({label: ev.class_scores(item) for label, item in zip(labels, chosen, strict=True)})
    about = [about_of(item) | {"label": label} for label, item in zip(labels, chosen, strict=True)]
    notes = [f"They have different {what}: these scores cannot be compared." for what in ev.disagreements(chosen)]
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
