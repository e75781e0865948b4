"""Curves of several runs: axes, mean and spread against a slow count."""

import numpy as np
import pytest

from scl_core.figures.run_groups import AXES, Curve, common, curve, overlay, scale_axes, spread

ROWS = [{"step": step, "loss": 4.0 / step, "seconds": 30.0} for step in (1, 2, 3, 4)]


def test_axes_are_steps_epochs_and_the_time_that_steps_took():
    assert curve(ROWS, "loss").x.tolist() == [1, 2, 3, 4]
    assert curve(ROWS, "loss", "epoch", steps_per_epoch=2).x.tolist() == [0.5, 1, 1.5, 2]
    assert curve(ROWS, "loss", "time").x.tolist() == [0.5, 1, 1.5, 2]
    scores = [{"step": 2, "mean_iou": 0.2}, {"step": 4, "mean_iou": 0.3}]
    assert curve(scores, "mean_iou", "time", seconds=ROWS).x.tolist() == [1, 2]
    with pytest.raises(ValueError, match="sideways"):
        curve(ROWS, "loss", "sideways")


def test_an_epoch_of_unknown_length_draws_nothing_and_says_so():
    figure = overlay({"a": curve(ROWS, "loss", "epoch")}, "loss", "epoch")
    assert figure.layout.xaxis.title.text == AXES["epoch"]


def test_a_smoothed_curve_keeps_its_raw_line_to_the_end():
    raw, smoothed = overlay({"a": curve(ROWS, "loss")}, "loss", smoothing=0.9).data
    assert raw.y[-1] == 1.0 and raw.x[-1] == smoothed.x[-1] == 4 and smoothed.y[-1] > 1.0


def test_mean_and_spread_are_those_of_the_runs():
    curves = [Curve(np.arange(5.0), np.array([1.0, 2, 3, 4, 5]) * factor) for factor in (1, 2, 4)]
    band, mean = spread({"a": curves}, "loss").data
    assert mean.name == "a (n = 3)"
    np.testing.assert_allclose(mean.y, [7 / 3 * k for k in (1, 2, 3, 4, 5)])
    deviation = [np.std([k, 2 * k, 4 * k], ddof=1) for k in (1, 2, 3, 4, 5)]
    np.testing.assert_allclose(band.y[5:][::-1] - mean.y, deviation)
    np.testing.assert_allclose(mean.y - band.y[:5], deviation)


def test_a_group_is_drawn_where_all_its_runs_are():
    short, long = Curve(np.array([1.0, 2]), np.array([1.0, 1])), Curve(np.array([1.0, 2, 3]), np.array([3.0, 3, 3]))
    x, values = common([short, long])
    assert x.tolist() == [1, 2] and values.mean(0).tolist() == [2, 2]
    assert common([short, Curve(np.empty(0), np.empty(0))])[0].size == 0


def test_a_group_of_one_has_no_band_and_nothing_has_a_sentence():
    assert len(spread({"a": [curve(ROWS, "loss")]}, "loss").data) == 1
    empty = spread({}, "loss")
    assert "None of these runs" in empty.layout.annotations[0].text


def test_both_axes_can_be_logarithmic():
    figure = scale_axes(overlay({"a": curve(ROWS, "loss")}, "loss"), True, False)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "linear")
