"""The Kalman filter of one unit, with numbers that one can do by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.judge.verdict import RunSums
from hcal_root_ad.state.layers import LatestRuns, Layer, innovation, learn, new_layer, predict

HERE = np.array([1.0, 0.0])


def layer(variance: float, walk: float, noise: float, power_variance: float = 0.0) -> Layer:
    """One unit at level 0 with power 1."""
    return new_layer(
        np.array([[0.0, 1.0]]), np.array([[variance, power_variance]]), np.zeros(1, dtype=np.intp), np.array([walk]),
        np.array([noise]),
    )  # fmt: skip


def run(shift: float, information: float, u: float = 0.0) -> RunSums:
    """All lumisections at one log pileup."""
    w = np.array([information])
    return RunSums(np.stack([w, w * u, w * u**2]), np.stack([w * shift, w * shift * u]))


def test_a_step_adds_the_walk_but_not_to_what_is_frozen() -> None:
    free, held = np.array([False]), np.array([True])
    assert predict(layer(4.0, 1.0, 0.0), 3.0, free).covariance[0, 0, 0] == pytest.approx(7.0)
    assert predict(layer(4.0, 1.0, 0.0), 3.0, held).covariance[0, 0, 0] == 4.0


def test_a_run_as_sure_as_the_level_moves_it_half_way() -> None:
    after = learn(layer(1e-4, 0, 0), run(0.02, 1e4), HERE, np.array([True]))
    assert after.mean[0, 0] == pytest.approx(0.01)
    assert after.covariance[0, 0, 0] == pytest.approx(0.5e-4)


def test_the_noise_of_the_run_counts_against_it() -> None:
    # Variance of the measurement: 1e-4 by counting and 2e-4 of the run; of the level 1e-4: a gain of a quarter.
    after = learn(layer(1e-4, 0, 2e-4), run(0.02, 1e4), HERE, np.array([True]))
    assert after.mean[0, 0] == pytest.approx(0.005)
    assert after.covariance[0, 0, 0] == pytest.approx(0.75e-4)


def test_a_run_at_another_pileup_teaches_the_power() -> None:
    # At u = −1 the shift is level − power: with a sure level all of it is power.
    after = learn(layer(1e-12, 0, 0, 1e-2), run(0.02, 1e8, u=-1.0), HERE, np.array([True]))
    assert after.mean[0] == pytest.approx([0.0, 0.98], abs=1e-5)


def test_what_is_not_to_be_used_or_was_not_measured_stays() -> None:
    before = layer(1e-4, 0, 0)
    assert learn(before, run(0.02, 1e4), HERE, np.array([False])).mean[0, 0] == 0
    assert learn(before, run(0.02, 0.0), HERE, np.array([True])).mean[0, 0] == 0


def test_a_pull_is_the_shift_over_all_that_is_not_known() -> None:
    # 1e-4 of the level, 2e-4 of the run, 1e-4 by counting.
    off = innovation(layer(1e-4, 0, 2e-4), run(0.04, 1e4), HERE)
    assert off.pull[0] == pytest.approx(2.0)


@given(
    variances=st.tuples(st.floats(1e-8, 1e-2), st.floats(1e-8, 1e-2)),
    noise=st.floats(1e-8, 1e-2),
    runs=st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(1.0, 1e6), st.floats(-2.0, 0.5)), max_size=8),
)
def test_the_covariance_stays_one(
    variances: tuple[float, float], noise: float, runs: list[tuple[float, float, float]]
) -> None:
    one = layer(variances[0], 1e-6, noise, variances[1])
    for shift, information, u in runs:
        one = predict(one, 1.0, np.array([False]))
        before = np.trace(one.covariance[0])
        one = learn(one, run(shift, information, u), HERE, np.array([True]))
        assert np.linalg.eigvalsh(one.covariance[0]).min() > 0
        assert np.trace(one.covariance[0]) <= before * (1 + 1e-9)


@pytest.mark.parametrize(("changed", "begins"), [([3], [3]), ([1, 6], [1, 6]), ([2, 3, 4], []), ([1, 5, 10], [10])])
def test_settings_that_change_again_soon_are_no_change_of_settings(changed: list[int], begins: list[int]) -> None:
    flags = np.zeros((12, 1), dtype=bool)
    flags[changed] = True
    nothing = np.zeros((12, 0), dtype=np.float32)
    window = LatestRuns(np.zeros(0, dtype=np.intp), nothing, nothing, np.ones(12), flags)
    assert np.flatnonzero(window.begins).tolist() == begins
