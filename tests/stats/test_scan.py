from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.stats.scan import (
    Null,
    empirical_null,
    excess_variance,
    medians,
    quantiles,
    quiet,
    robust_scale,
    stretches,
    strongest,
)
from hcal_root_ad.stats.windows import Sums, windows

NORMAL = np.random.default_rng(1).standard_normal((1, 4000))


def _null(b, w, prior):
    return empirical_null(Sums.of(b, w, np.full(b.shape[1], prior)))


def test_medians_of_rows_leave_out_what_is_not_a_number():
    nan = np.nan
    rows = np.array([[3.0, 1.0, 2.0, 10.0], [nan, 4.0, 1.0, nan], [nan, 7.0, nan, nan], [nan] * 4])
    assert medians(rows)[:3].tolist() == [2.5, 2.5, 7.0]
    assert np.isnan(medians(rows)[3])
    assert medians(rows[:, 1:3].T[:, :1]).tolist() == [1.0, 2.0]


def test_scale_of_a_normal_sample_is_one_and_failed_series_do_not_widen_it():
    assert robust_scale(NORMAL)[0] == pytest.approx(1.0, abs=0.05)
    spoiled = NORMAL.copy()
    spoiled[0, :400] = -50  # a tenth of the series failed
    assert robust_scale(spoiled)[0] < 1.4


def test_what_all_series_do_beyond_their_errors_is_added_to_all():
    shift = 0.3 * NORMAL
    excess = excess_variance(shift, np.full_like(shift, 0.01))
    assert np.sqrt(excess[0] + 0.01) == pytest.approx(0.3, rel=0.1)
    assert excess_variance(0.1 * NORMAL, np.full_like(NORMAL, 0.01))[0] < 0.001


def _series(seed: int, lumisections: int = 40, series: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    w = np.full((lumisections, series), 400.0)
    return draw.standard_normal(w.shape) / np.sqrt(w) * w, w


def test_a_step_is_found_with_its_edges_and_size():
    b, w = _series(2)
    b[10:20, 7] -= 0.5 * w[10:20, 7]
    null = _null(b, w, 1e-4)
    (window,) = strongest(Sums.of(b, w, np.full(60, 1e-4)), null, 5.0).items()
    assert window[0] == 7
    assert window[1].shift == pytest.approx(-0.5, abs=0.1)
    (stretch,) = stretches(b[:, 7], w[:, 7], 1e-4, 0.0, null, 5.0, 0.1)
    assert (stretch.first, stretch.last) == (10, 19)
    assert stretch.shift == pytest.approx(-0.5, abs=0.05)
    assert stretch.significance < -20


def test_two_stretches_of_different_sign_are_two():
    b, w = _series(3)
    b[5:8, 0] -= 0.8 * w[5:8, 0]
    b[30:35, 0] += 0.8 * w[30:35, 0]
    found = stretches(b[:, 0], w[:, 0], 1e-4, 0.0, _null(b, w, 1e-4), 5.0, 0.1)
    assert sorted((s.first, s.last, np.sign(s.shift)) for s in found) == [(5, 7, -1), (30, 34, 1)]


def test_what_moves_all_series_at_once_is_no_fault_of_one():
    draw = np.random.default_rng(4)
    b, w = _series(4)
    b[20:] += 0.2 * draw.standard_normal(60) * w[20:]
    null = _null(b, w, 1e-4)
    assert not strongest(Sums.of(b, w, np.full(60, 1e-4)), null, 5.0)


def test_a_shift_within_the_prior_is_health():
    b, w = _series(5)
    b[:, 3] += 0.02 * w[:, 3]
    found = stretches(b[:, 3], w[:, 3], 0.01**2, 0.0, _null(b, w, 0.01**2), 5.0, 0.01)
    assert found == []


def test_faults_smaller_than_the_least_are_left_out():
    b, w = _series(6)
    b[10:30, 0] -= 0.2 * w[10:30, 0]
    null = _null(b, w, 1e-4)
    assert stretches(b[:, 0], w[:, 0], 1e-4, 0.0, null, 5.0, 0.1)
    assert stretches(b[:, 0], w[:, 0], 1e-4, 0.0, null, 5.0, 0.5) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 20))
def test_order_of_series_changes_nothing(seed: int, length: int, first: int):
    b, w = _series(seed, 32, 20)
    b[first : first + length, 5] -= 0.6 * w[first : first + length, 5]
    order = np.random.default_rng(seed).permutation(20)
    direct = strongest(Sums.of(b, w, np.full(20, 1e-4)), _null(b, w, 1e-4), 2.0)
    b, w = b[:, order], w[:, order]
    shuffled = strongest(Sums.of(b, w, np.full(20, 1e-4)), _null(b, w, 1e-4), 2.0)
    assert {int(order[k]): stretch for k, stretch in shuffled.items()} == direct


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 90), st.floats(-1, 1), st.floats(1e-5, 1e-2), st.floats(2, 8))
def test_the_bound_leaves_out_no_series(seed: int, length: int, size: float, prior: float, threshold: float):
    b, w = _series(seed, 90, 20)
    w *= np.random.default_rng(seed).uniform(0.1, 3, w.shape)
    b[:length, 5] += size * w[:length, 5]
    b[3, 6] = w[3, 6] = 0
    condition, response = np.linspace(-1, 1, 90), np.full(20, 1e-4)
    sums = Sums.of(b, w, np.full(20, prior), 1e-7, condition, response)
    null = empirical_null(sums)
    wide = sums.widened(null.prior)
    every = [wide.significances(window, excess) for window, excess in zip(windows(90), null.excess, strict=True)]
    largest = np.sqrt(np.array([size.max(axis=0) for size in every]).max(axis=0))
    assert set(strongest(sums, null, threshold)) == set(np.flatnonzero(largest > threshold).tolist())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.5), st.floats(1e-6, 1e-2), st.floats(2, 8))
def test_a_quiet_lumisection_has_no_series_that_is_off(seed: int, size: float, prior: float, threshold: float) -> None:
    b, w = _series(seed, 1, 20)
    b[0, 3] += size * w[0, 3]
    sums = Sums.of(b, w, np.full(20, prior))
    if quiet(b, w, sums.prior, threshold):
        assert not strongest(sums, empirical_null(sums), threshold)


def test_a_series_far_off_is_not_quiet_and_neither_are_two_lumisections() -> None:
    """0.3 ± 0.1 under a prior of 0.1 is 0.3 / √0.02 = 2.12 standard deviations off."""
    b, w, prior = np.array([[30.0]]), np.array([[100.0]]), np.array([0.01])
    assert quiet(b, w, prior, 2.2)
    assert not quiet(b, w, prior, 2.1)
    assert not quiet(np.zeros((2, 1)), np.ones((2, 1)), prior, 2.2)


@given(st.integers(1, 20), st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_quantiles_are_those_of_numpy(size: int, fractions: list[float]) -> None:
    values = np.random.default_rng(size).normal(size=(size, 2))
    np.testing.assert_allclose(quantiles(values, fractions), np.quantile(values, fractions, axis=0), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 30), (4, 8), (40, 30)])
def test_windows_looked_at_together_say_what_they_say_one_by_one(shape: tuple[int, int]) -> None:
    b, w = _series(3, *shape)
    b[: shape[0] // 2 + 1, 2] += 0.5 * w[: shape[0] // 2 + 1, 2]
    sums = Sums.of(b, w, np.full(shape[1], 1e-4), 1e-7, np.linspace(0, 1, shape[0]), np.full(shape[1], 1e-4))
    null = empirical_null(sums)
    wide = sums.widened(null.prior)
    for window, excess in zip(windows(shape[0]), null.scatter, strict=True):
        np.testing.assert_array_equal(excess, excess_variance(*wide.deviations(window)))
    largest = max(
        float(wide.significances(window, excess)[:, 2].max())
        for window, excess in zip(windows(shape[0]), null.excess, strict=True)
    )
    assert strongest(sums, null, 2.0)[2].significance == pytest.approx(np.sqrt(largest), rel=1e-6)


@pytest.mark.parametrize(("series", "significance"), [(400, 5.0), (36, 3.75)])
def test_a_scatter_that_few_series_told_makes_a_window_less_significant(series: int, significance: float) -> None:
    """Five times a scatter that is all excess; 36 series tell it with 0.37 × 36 degrees of freedom."""
    null = Null(prior=0.0, scatter=[np.array([1.0])], series=series)
    assert np.sqrt(null.as_normal(np.array([25.0]), np.array([1.0]))) == pytest.approx(significance, abs=0.01)


def test_a_window_that_scatters_more_than_the_others_of_its_length_makes_no_scatter_unsure() -> None:
    null = Null(prior=0.0, scatter=[np.array([0.0, 0.0, 1.0])], series=36)
    assert null.as_normal(np.full(3, 25.0), np.ones(3)).tolist() == [25.0, 25.0, 25.0]
