"""The per-class table and its bars."""

import numpy as np
import pytest

from scl_core.figures import iou, style

COLUMNS = {
    "A": {"Sky": 0.9, "Road": 0.8, "Train": None, "Bus": 0.1, "Sign": 0.3},
    "B": {"Sky": 0.7, "Road": 0.85, "Train": 0.2, "Bus": None, "Sign": 0.5},
}


def test_table_puts_the_largest_gain_first_and_absent_classes_last():
    table = iou.iou_table(COLUMNS)
    assert table.classes == ("Sign", "Road", "Sky", "Train", "Bus")
    np.testing.assert_allclose(table.deltas[:, 0], [0.2, 0.05, -0.2, np.nan, np.nan])


def test_means_leave_out_absent_classes():
    table = iou.iou_table({**COLUMNS, "C": {"Sky": None}})
    np.testing.assert_allclose(table.means, [(0.9 + 0.8 + 0.1 + 0.3) / 4, (0.7 + 0.85 + 0.2 + 0.5) / 4, np.nan])


def test_one_evaluation_is_sorted_by_its_own_values():
    table = iou.iou_table({"A": COLUMNS["A"]})
    assert table.classes == ("Sky", "Road", "Sign", "Bus", "Train")
    assert table.deltas.shape == (5, 0)


def test_classes_of_both_records_are_lined_up():
    table = iou.iou_table({"A": {"Sky": 0.5}, "B": {"Pole": 0.25}})
    assert set(table.classes) == {"Sky", "Pole"} and np.isnan(table.deltas).all()


def test_bars_write_the_value_and_mark_an_absent_class():
    table = iou.iou_table(COLUMNS)
    figure = iou.per_class_bars(table)
    texts = dict(zip(figure.data[0].y, figure.data[0].text, strict=True))
    assert texts["Train"] == "–" and texts["Sky"] == "90.0"
    assert list(figure.data[0].y) == list(table.classes) and figure.layout.yaxis.autorange == "reversed"
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape


def test_delta_bars_tell_gain_from_loss_by_sign_colour_and_hatch():
    figure = iou.delta_bars(iou.iou_table(COLUMNS))
    bars = figure.data[0]
    assert list(bars.text) == ["+20.0", "+5.0", "-20.0", "–", "–"]
    assert bars.marker.color[0] != bars.marker.color[2]
    assert bars.marker.pattern.shape[0] != bars.marker.pattern.shape[2]
    assert figure.layout.xaxis.title.text == "B minus A (percentage points)"


def test_delta_bars_of_three_evaluations_name_the_right_one():
    table = iou.iou_table({**COLUMNS, "C": {"Sky": 1.0}})
    assert iou.delta_bars(table, 0).layout.xaxis.title.text.startswith("B minus A")
    assert iou.delta_bars(table, 1).layout.xaxis.title.text.startswith("C minus A")
    assert "+10.0" in iou.delta_bars(table, 1).data[0].text


def test_class_names_are_drawn_letter_for_letter():
    figure = iou.per_class_bars(iou.iou_table({"A": {"<img src=x onerror=alert(1)>": 0.5}}))
    assert list(figure.data[0].y) == ["&lt;img src=x onerror=alert(1)&gt;"]


@pytest.mark.parametrize("columns", [{}, {"A": {}}, {"A": {}, "B": {}}, {"A": {"Sky": None}, "B": {"Sky": None}}])
def test_nothing_to_show_is_a_figure_and_not_a_crash(columns):
    table = iou.iou_table(columns)
    figures = [iou.per_class_bars(table)]
    if len(columns) > 1:
        figures.append(iou.delta_bars(table))
    for figure in figures:
        lengths = np.array([value for bar in figure.data for value in bar.x], dtype=float)
        assert not np.isfinite(lengths).any() or not lengths[np.isfinite(lengths)].any()


def test_twelve_series_never_look_the_same():
    assert len({style.series_style(index) for index in range(12)}) == 12
