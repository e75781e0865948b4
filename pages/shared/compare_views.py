"""The parts of the comparison page: classes with intervals, confusion matrices, pictures."""

import numpy as np
import pandas as pd
import streamlit as st

from pages.shared import comparing
from pages.shared import evaluations as ev
from pages.shared.messages import say_why_not
from pages.shared.words import plain_name
from scl_core import comparison
from scl_core.errors import UserError
from scl_core.figures.confusion import KINDS, confusion_figure
from scl_core.figures.iou import IouTable, delta_bars, iou_table, per_class_bars
from scl_core.figures.style import plain

PICTURES = 200
ROWS_IN_SIGHT = 10
"""Rows of the table of pictures at most."""
SHOWN_KINDS = {"row": "by row", "column": "by column", "count": "counts", "difference": "difference"}


def pick_area(chosen: list[ev.Evaluation], key: str = "area") -> str:
    """The whole picture, or the band along the borders of the labels, where all evaluations have it."""
    if not all(isinstance(item.record.get("boundary_iou"), dict) for item in chosen):
        return "whole"
    pixels = chosen[0].record.get("boundary_pixels")
    help = f"The band: pixels at most {pixels} rows and columns from another class, at the mask's own size."
    return st.segmented_control(
        "Score on", list(comparing.AREAS), format_func=comparing.AREAS.get, default="whole", required=True,
        key=key, bind="query-params", help=help,
    )  # fmt: skip


def pick_block(pictures: int) -> int:
    """How many neighbouring pictures are drawn together."""
    return st.number_input(
        "Block of neighbouring pictures", 1, max(pictures, 1), comparison.usual_block(pictures), key="block", width=230,
        help="Frames of one video are alike: the interval draws them in blocks of this many neighbours of the list.",
    )  # fmt: skip


def show_classes(chosen: list[ev.Evaluation]) -> None:
    """IoU by class as a table to read and save, the differences as bars with their interval, all values as bars."""
    controls = st.container(horizontal=True, vertical_alignment="bottom")
    with controls:
        area = pick_area(chosen)
    labels = ev.short_labels(chosen)
    table = iou_table({label: ev.class_scores(item, area) for label, item in zip(labels, chosen, strict=True)})
    if len(chosen) > 1 and not np.isfinite(table.deltas).any():
        say_why_not(UserError("these evaluations have no class in common, so there is no difference to show"))
    found, support = intervals(chosen, labels, area, controls)
    others = labels[1:]
    reading, *drawing = st.columns(2, gap="medium") if len(others) < 2 else [st.container(), *st.columns(2)]
    with reading:
        frame, formats = class_table(table, support, found)
        st.dataframe(
            frame, hide_index=True, placeholder="–", column_config=formats, height="content", alt="IoU, class by class"
        )
        st.caption("IoU in percent, Δ in percentage points. A dash: neither labels nor prediction have the class.")
    for index, label in enumerate(others):
        ends = {name: found[label][1:] for name, found in found.items() if label in found}
        place = drawing[index % len(drawing)]
        place.plotly_chart(delta_bars(table, index, ends), key=f"delta-{label}", alt="IoU differences by class")
    (st if others else drawing[0]).plotly_chart(per_class_bars(table), key="bars", alt="IoU by class")


def intervals(chosen: list[ev.Evaluation], labels: list[str], area: str, controls) -> tuple[dict, dict[str, int]]:
    """For each class and label (difference, low, high), and the labeled pixels of each class; says what is missing.

    The block length is asked for in `controls`.
    """
    try:
        matrices = [comparing.matrices_of(item) for item in chosen]
        support = dict(zip(matrices[0].classes, comparison.support(matrices[0].of(area)).tolist(), strict=True))
    except (UserError, OSError) as error:
        say_why_not(error)
        return {}, {}
    found: dict[str, dict[str, tuple]] = {}
    if len(chosen) > 1:
        with controls:
            block = pick_block(len(matrices[0].names))
        for label, second in zip(labels[1:], matrices[1:], strict=True):
            add_intervals(found, label, matrices[0], second, area, block)
    return found, support


def add_intervals(found: dict, label: str, first, second, area: str, block: int) -> None:
    """Put the interval of each class under this label, and say that of the mean."""
    try:
        result = comparing.differences(first, second, area, block)
    except UserError as error:
        say_why_not(error)
        return
    for name, *numbers in zip(first.classes, result.classes, result.low, result.high, strict=True):
        found.setdefault(name, {})[label] = tuple(map(float, numbers))
    st.text(
        f"mIoU, {plain_name(label)}: {100 * result.mean:+.1f} points, from {100 * result.mean_low:+.1f} to "
        f"{100 * result.mean_high:+.1f} in 95 % of 1,000 resamples of the pictures. Another seed may move it more."
    )


def class_table(table: IouTable, support: dict[str, int], found: dict) -> tuple[pd.DataFrame, dict]:
    """One row for each class, largest gain first, and how its columns are written."""
    frame = pd.DataFrame(100 * table.values, columns=list(table.labels))
    frame.insert(0, "Class", [plain_name(name) for name in table.classes])
    for index, label in enumerate(table.labels[1:]):
        frame[f"Δ {label}"] = 100 * table.deltas[:, index]
        ends = [found.get(name, {}).get(label) for name in table.classes]
        if any(ends):
            frame[f"95 % {label}"] = [ends_text(item) for item in ends]
    if support:
        frame["Pixels"] = [support.get(name) for name in table.classes]
    number = st.column_config.NumberColumn
    formats = {
        name: number(name, format="%+.1f" if name[0] == "Δ" else "%.1f")
        for name in frame.columns[1:]
        if name != "Pixels" and not name.startswith("95 %")
    }
    return frame, formats | {"Pixels": number("Pixels", format="localized", help="Labeled pixels of the class.")}


def ends_text(numbers: tuple[float, float, float] | None) -> str | None:
    """An interval in points as text; None where there is none."""
    if numbers is None or not np.isfinite(numbers[1:]).all():
        return None
    return f"{100 * numbers[1]:+.1f} … {100 * numbers[2]:+.1f}"


def show_confusion(items: list[ev.Evaluation]) -> None:
    """Confusion matrices of one or two evaluations; a picked cell leads to the pictures that hold it."""
    kinds = [kind for kind in KINDS if len(items) > 1 or kind != "difference"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        area = pick_area(items, "confusion_area")
        kind = st.segmented_control(
            "Numbers", kinds, format_func=SHOWN_KINDS.get, default="row", required=True, key="kind", bind="query-params"
        )
    try:
        matrices = same_pictures(items)
        sums = [item.of(area).sum(0) for item in matrices]
    except (UserError, OSError) as error:
        say_why_not(error)
        return
    st.caption(f"Rows are labels, columns predictions; {KINDS[kind]}. Click a cell for the pictures that hold it.")
    draw_matrices(sums, matrices[0].classes, ev.short_labels(items), kind)
    cell = cell_in_address(len(items), *sums[0].shape)
    if cell is not None:
        show_cell(items, matrices, cell, area)


def same_pictures(items: list[ev.Evaluation]) -> list[comparing.Matrices]:
    """The matrices of these evaluations. Raises `UserError` where one has none or they are of different pictures."""
    matrices = [comparing.matrices_of(item) for item in items]
    for other in matrices[1:]:
        comparing.require_same_pictures(matrices[0], other)
    return matrices


def draw_matrices(sums: list[np.ndarray], classes: tuple[str, ...], labels: list[str], kind: str) -> None:
    """One matrix beside the other, or their difference."""
    if kind == "difference":
        rows = [comparison.shares(matrix, axis=1) for matrix in sums]
        figures = [confusion_figure(rows[1] - rows[0], classes, kind, plain(f"{labels[1]} minus {labels[0]}"))]
    else:
        values = [m if kind == "count" else comparison.shares(m, axis=1 if kind == "row" else 0) for m in sums]
        figures = [
            confusion_figure(value, classes, kind, plain(label)) for value, label in zip(values, labels, strict=True)
        ]
    for index, (column, figure) in enumerate(zip(st.columns(len(figures)), figures, strict=True)):
        key = f"confusion-{kind}-{index}"
        column.plotly_chart(
            figure, key=key, on_select=lambda k=key, i=index: remember_cell(k, i), alt="Confusion matrix",
            selection_mode="points",
        )  # fmt: skip


def cell_in_address(matrices: int, rows: int, columns: int) -> tuple[int, int, int] | None:
    """(which matrix, row, column) of the cell in the address, None where it has none that is there."""
    parts = st.query_params.get("cell", "").split("-")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 4 for part in parts):
        return None
    which, row, column = map(int, parts)
    return (which, row, column) if which < matrices and row < rows and column < columns else None


def remember_cell(key: str, which: int) -> None:
    """Put the picked cell into the address."""
    points = st.session_state[key]["selection"]["points"]
    if points:
        row, column = points[0]["customdata"][:2]
        st.query_params["cell"] = f"{which}-{int(row)}-{int(column)}"


def show_cell(items, matrices, cell: tuple[int, int, int], area: str) -> None:
    """The pictures that hold the confusion of a cell, the most of it first, with the way to the viewer."""
    which, row, column = cell
    names = (*matrices[which].classes, "void")
    order, counts = comparison.pictures_with(matrices[which].of(area), row, column)
    what = f"{names[row]} taken for {names[column]}" if row != column else f"{names[row]} found"
    st.markdown(f"**{len(order)} pictures hold it**")
    st.text(f"{plain_name(what)}, by {plain_name(items[which].label)}: {int(counts.sum()):,} pixels")
    if len(order):
        pictures = [matrices[which].names[index] for index in order[:PICTURES]]
        frame = pd.DataFrame({"Picture": map(plain_name, pictures), "Pixels": counts[:PICTURES]})
        st.dataframe(frame, hide_index=True, height=220, alt="Pictures that hold this confusion")
        viewer_link(items, pictures[0], "Look at these pictures", truth=names[row], predicted=names[column])


def show_pictures(items: list[ev.Evaluation]) -> None:
    """Pictures by their own score: where two evaluations differ most first, or the worst of one first."""
    try:
        matrices = same_pictures(items)
    except (UserError, OSError) as error:
        say_why_not(error)
        return
    scores, order = scores_and_order(matrices)
    frame = pd.DataFrame({"Picture": [plain_name(name) for name in matrices[0].names]})
    for label, values in zip(ev.short_labels(items), scores, strict=True):
        frame[f"mIoU {label}"] = 100 * values
    if len(items) > 1:
        frame["Δ"] = 100 * (scores[1] - scores[0])
    st.caption(
        "Each picture's own mean IoU in percent. " + ("Largest difference first." if len(items) > 1 else "Worst first.")
    )
    number = st.column_config.NumberColumn
    formats = {name: number(format="%+.1f" if name == "Δ" else "%.1f") for name in frame.columns[1:]}
    height = 400 if len(order) > ROWS_IN_SIGHT else "content"
    st.dataframe(
        frame.iloc[order[:PICTURES]], hide_index=True, column_config=formats, height=height, alt="mIoU of each picture"
    )
    viewer_link(items, matrices[0].names[order[0]], "Look at these pictures")


def scores_and_order(matrices: list[comparing.Matrices]) -> tuple[list[np.ndarray], np.ndarray]:
    """The mean IoU of each picture by evaluation, and the pictures in order: largest difference, or worst, first."""
    scores = [comparison.picture_scores(item.whole) for item in matrices]
    return scores, comparison.worst_first(-np.abs(scores[1] - scores[0]) if len(scores) > 1 else scores[0])


def viewer_link(items, picture: str, label: str, **words: str) -> None:
    """The way to the viewer with these evaluations and this picture."""
    query = {"split": items[0].record["split"], "picture": picture} | words
    for side, item in zip("ab", items, strict=False):
        query |= {
            f"run_{side}": item.run,
            f"checkpoint_{side}": str(item.step),
            f"network_{side}": item.record["network"],
        }
    st.page_link("pages/images/predictions.py", label=label, icon=":material/image_search:", query_params=query)
