"""Numbers by hand, and laws, of the occupancy statistics."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hcal_root_ad.stats.binomial import Binomial, deviance, information, log_rate, probability, pull, slope


def test_probability_of_rate_one_is_one_minus_one_over_e() -> None:
    assert probability(np.array([0.0]))[0] == pytest.approx(1 - 1 / np.e)


@given(st.floats(1e-4, 1 - 1e-4))
def test_rate_and_probability_are_inverse(p: float) -> None:
    assert probability(log_rate(np.array([p])))[0] == pytest.approx(p, rel=1e-9)


@given(st.floats(-6, 1.5))
def test_slope_is_the_derivative(eta: float) -> None:
    step = 1e-5
    numeric = (probability(np.array([eta + step])) - probability(np.array([eta - step]))) / (2 * step)
    assert slope(probability(np.array([eta])))[0] == pytest.approx(numeric[0], rel=1e-5)


def test_pull_by_hand() -> None:
    # 100 events at p = 0.5: variance 25, so 60 digis are (60 − 50) / 5 = 2 standard deviations.
    assert pull(np.array([60]), np.array([100.0]), np.array([0.5]))[0] == pytest.approx(2.0)
    assert pull(np.array([0]), np.array([0.0]), np.array([0.5]))[0] == 0.0


def test_information_is_the_inverse_variance_of_the_estimated_log_rate() -> None:
    draw = np.random.default_rng(1)
    counts = draw.binomial(2000, 0.4, size=20_000)
    estimates = log_rate(counts / 2000)
    assert information(np.array([2000.0]), np.array([0.4]))[0] == pytest.approx(1 / estimates.var(), rel=0.03)


@given(st.integers(0, 200), st.floats(0.01, 0.99))
@example(198, 0.99)
def test_deviance_is_never_negative_and_zero_at_the_observed_fraction(n: int, p: float) -> None:
    events = np.array([200.0])
    assert deviance(np.array([n]), events, np.array([p]))[0] >= 0
    if 0 < n < 200:
        assert deviance(np.array([n]), events, np.array([n / 200]))[0] == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 1000), st.floats(-6, 1.5))
def test_a_binomial_says_what_the_functions_say(count: int, eta: float) -> None:
    events, log_rates = np.array([1000.0]), np.array([eta])
    expected, p = Binomial(events, log_rates), probability(log_rates)
    assert expected.mean == pytest.approx(1000 * p)
    assert expected.variance == pytest.approx(1000 * p * (1 - p))
    assert expected.pull(np.array([count])) == pytest.approx(pull(np.array([count]), events, p), rel=1e-6, abs=1e-9)
    assert expected.information == pytest.approx(information(events, p), rel=1e-6)
    # The score on log λ is steepness times the difference: information times the shift that would explain it.
    assert expected.steepness * expected.variance == pytest.approx(events * slope(p), rel=1e-6)


@given(st.floats(-20, 20))
def test_single_precision_stays_single_and_inside_the_bounds(eta: float) -> None:
    single = probability(np.array([eta], dtype=np.float32))
    assert single.dtype == np.float32
    assert single[0] == pytest.approx(probability(np.array([eta]))[0], rel=1e-5)
    assert 0 < single[0] < 1
