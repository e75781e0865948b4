from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scl_core.schedule import poly_learning_rate, ramp_up, unlabeled_factor


def test_poly_by_hand():
    assert poly_learning_rate(0.01, 0, 100, 0.9) == 0.01
    assert poly_learning_rate(0.01, 50, 100, 0.9) == pytest.approx(0.00535887, abs=1e-8)
    assert poly_learning_rate(0.01, 50, 100, 1.0) == pytest.approx(0.005)
    assert poly_learning_rate(0.01, 75, 100, 2.0) == pytest.approx(0.01 / 16)
    assert poly_learning_rate(0.01, 100, 100, 0.9) == 0.0


@given(st.integers(0, 300), st.integers(1, 200), st.floats(0.1, 3))
def test_poly_is_real_between_zero_and_the_start_and_never_rises(step, steps, power):
    rate = poly_learning_rate(0.1, step, steps, power)
    assert isinstance(rate, float) and 0.0 <= rate <= 0.1
    assert poly_learning_rate(0.1, step + 1, steps, power) <= rate


def test_a_schedule_without_steps_is_refused():
    with pytest.raises(ValueError, match="0 steps"):
        poly_learning_rate(0.1, 0, 0, 0.9)


def test_ramp_by_hand():
    assert ramp_up(0, 10) == pytest.approx(exp(-5))
    assert ramp_up(5, 10) == pytest.approx(exp(-1.25))
    assert ramp_up(10, 10) == ramp_up(11, 10) == 1.0
    assert ramp_up(0, 0) == ramp_up(1, 0) == 1.0
    assert ramp_up(-3, 10) == pytest.approx(exp(-5))


def test_unlabeled_factor_waits_then_rises_then_stays():
    factors = [unlabeled_factor(step, 100, start=0.2, ramp=0.5) for step in range(1, 101)]
    assert factors[:20] == [0.0] * 20 and 0 < factors[20] < 0.01
    assert factors == sorted(factors)
    assert factors[68] < 1.0 and factors[69:] == [1.0] * 31
    assert factors[44] == pytest.approx(exp(-1.25))


def test_no_start_and_no_ramp_is_full_weight_at_once():
    assert [unlabeled_factor(step, 10, 0.0, 0.0) for step in (1, 5, 10)] == [1.0, 1.0, 1.0]
    assert unlabeled_factor(10, 10, 1.0, 0.0) == 0.0


def test_one_rate_may_hold_for_an_epoch():
    rates = [poly_learning_rate(1.0, step, 12, 1.0, every=4) for step in range(12)]
    assert rates == pytest.approx([1.0] * 4 + [2 / 3] * 4 + [1 / 3] * 4)
