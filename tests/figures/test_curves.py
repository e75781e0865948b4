"""Curves against slow, obvious counterparts."""

import numpy as np
import pytest

from scl_core.figures import curves, run_groups

ROWS = [
    {"step": 1, "loss": 3.0, "supervised": 2.0, "structured": 0.1, "learning_rate": 0.01, "seconds": 0.5},
    {"step": 2, "loss": None, "supervised": 1.5, "structured": 0.2, "learning_rate": 0.009, "seconds": 0.5},
    {"step": 3, "loss": 1.0, "supervised": 1.0, "structured": 0.3, "learning_rate": 0.008, "seconds": 0.5},
]


def slow_average(values, weight):
    """Weighted mean of all earlier values, the weights falling by `weight` from each to the one before."""
    result = []
    for index in range(len(values)):
        past = [value for value in values[: index + 1] if np.isfinite(value)]
        weights = [weight**age for age in range(len(past))][::-1]
        result.append(np.average(past, weights=weights) if np.isfinite(values[index]) else np.nan)
    return result


def test_smooth_is_the_weighted_mean_of_the_past_and_leaves_gaps_alone():
    values = np.array([5.0, 1.0, np.nan, 4.0, -2.0, 3.5])
    np.testing.assert_allclose(curves.smooth(values, 0.8), slow_average(values, 0.8))
    np.testing.assert_array_equal(curves.smooth(values, 0.0), values)


def test_smooth_refuses_a_weight_that_would_draw_a_flat_line():
    with pytest.raises(ValueError, match="below 1"):
        curves.smooth(np.ones(3), 1.0)


def test_series_sorts_steps_takes_the_last_record_and_turns_null_into_a_gap():
    steps, values = curves.series([{"step": 2, "loss": 9.0}, *ROWS], "loss")
    assert steps.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(values, [3.0, np.nan, 1.0])


def test_loss_terms_start_with_the_total_and_leave_out_what_is_no_loss():
    assert curves.loss_terms([{"structured": 1.0, **row} for row in ROWS]) == ["loss", "structured", "supervised"]
    assert curves.loss_terms([{"step": 1, "loss": 1.0, "never": None}]) == ["loss"]


def test_downsample_keeps_the_spikes_and_the_limit():
    steps = np.arange(50_000)
    values = np.sin(steps / 900.0)
    values[31_234], values[7] = 50.0, -50.0
    few_steps, few = curves.downsample(steps, values)
    assert len(few) <= curves.MAX_POINTS
    assert few.max() == 50.0 and few.min() == -50.0
    np.testing.assert_array_equal(values[few_steps], few)
    assert (np.diff(few_steps) > 0).all()


def test_downsample_keeps_a_gap_as_a_gap():
    values = np.ones(10_000)
    values[2_000:4_000] = np.nan
    assert np.isnan(curves.downsample(np.arange(10_000), values)[1]).any()


def test_loss_curves_show_the_raw_line_behind_the_smoothed_one():
    figure = curves.loss_curves(ROWS, ["supervised"], smoothing=0.5)
    raw, smoothed = figure.data
    np.testing.assert_array_equal(raw.y, [2.0, 1.5, 1.0])
    np.testing.assert_allclose(smoothed.y, slow_average([2.0, 1.5, 1.0], 0.5))
    assert raw.opacity < 0.5 and raw.line.color == smoothed.line.color


def test_loss_curves_differ_in_more_than_colour_and_name_their_axes():
    figure = curves.loss_curves(ROWS, log_scale=True)
    assert len({trace.line.color for trace in figure.data}) == 3
    assert len({trace.line.dash for trace in figure.data}) == 3
    assert figure.layout.xaxis.title.text == "step" and "loss" in figure.layout.yaxis.title.text
    assert figure.layout.yaxis.type == "log" and figure.layout.title.text


def test_figures_without_records_say_so():
    for figure in (curves.loss_curves([]), curves.learning_rate_curve([]), curves.mean_iou_curves({})):
        assert "yet" in figure.layout.annotations[0].text


def test_mean_iou_curves_are_in_percent_one_line_for_each_network():
    evaluations = [
        {"step": 10, "split": "val", "network": "student", "mean_iou": 0.25},
        {"step": 10, "split": "val", "network": "teacher", "mean_iou": 0.5},
        {"step": 10, "split": "test", "network": "student", "mean_iou": 0.9},
    ]
    figure = curves.mean_iou_curves(curves.by_network(evaluations, "val"))
    assert [trace.name for trace in figure.data] == ["student", "teacher"]
    assert [trace.y[0] for trace in figure.data] == [25.0, 50.0]
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol


def test_a_run_name_is_drawn_letter_for_letter():
    figure = run_groups.overlay({"<b>bold</b> & co": run_groups.curve(ROWS, "loss")}, "loss")
    assert figure.data[0].name == "&lt;b&gt;bold&lt;/b&gt; &amp; co"


@pytest.mark.parametrize(("last", "tick"), [(1, 1), (3, 1), (600, None)])
def test_few_steps_are_counted_one_by_one(last, tick):
    records = [{"step": 1, "loss": 3.0}, {"step": last, "loss": 2.0}]
    assert curves.loss_curves(records).layout.xaxis.dtick == tick


def test_no_step_can_be_drawn_without_a_term():
    assert not curves.loss_curves(ROWS, terms=[]).data


def test_learning_rate_curve_starts_its_axis_at_zero():
    figure = curves.learning_rate_curve(ROWS)
    assert figure.layout.yaxis.rangemode == "tozero"
    np.testing.assert_array_equal(figure.data[0].y, [0.01, 0.009, 0.008])


MEASURED = [
    {"step": 1, "loss": 1.0, "gradient/supervised": None, "gradient/structured": None, "cosine/structured": None},
    {"step": 2, "gradient/supervised": 4.8, "gradient/structured": 6.9, "cosine/structured": 0.2},
    {"step": 3, "gradient/supervised": None, "targets/classes": 1.5, "labels/classes": 6.0},
    {"step": 4, "gradient/supervised": 4.0, "gradient/structured": 0.0, "cosine/structured": None},
]


def test_gradient_curves_join_the_measured_steps():
    norms, cosines = curves.gradient_curves(MEASURED), curves.cosine_curves(MEASURED)
    assert {line.name: list(line.y) for line in norms.data} == {"supervised": [4.8, 4.0], "structured": [6.9, 0.0]}
    assert [list(line.x) for line in norms.data] == [[2, 4], [2, 4]] and norms.layout.yaxis.type == "log"
    assert [(line.name, list(line.x), list(line.y)) for line in cosines.data] == [("structured", [2], [0.2])]
    assert cosines.data[0].line.color == norms.data[1].line.color
    assert curves.loss_terms(MEASURED) == ["loss"]


def test_target_curves_stand_beside_the_labels():
    figure = curves.target_curves(MEASURED)
    assert [(line.name, list(line.y)) for line in figure.data] == [
        ("targets of unlabeled pictures", [1.5]),
        ("labels", [6.0]),
    ]


@pytest.mark.parametrize("draw", [curves.gradient_curves, curves.cosine_curves, curves.target_curves])
@pytest.mark.parametrize("records", [[], [{"step": 1, "loss": 0.5}]])
def test_figures_of_measurements_say_when_there_are_none(draw, records):
    (note,) = draw(records).layout.annotations
    assert "measured" in note.text or "counted" in note.text
