"""Windows of a series and the level outside of them, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hcal_root_ad.stats.windows import Sums, Window, windows


def test_windows_begin_everywhere_when_short_and_end_with_the_whole_run():
    every = windows(10)
    assert [window.length for window in every] == [1, 2, 3, 5, 8, 10]
    assert every[1].first.tolist() == list(range(9))
    assert every[-1].first.tolist() == [0]
    assert [window.length for window in windows(1)] == [1]


def test_a_window_is_held_against_the_level_outside_of_it():
    # Four LS of information 100: x = 0.1, 0.1, 0.3, 0.1; prior variance 1 hardly matters.
    x, w = np.array([[0.1], [0.1], [0.3], [0.1]]), np.full((4, 1), 100.0)
    shift, variance = Sums.of(x * w, w, np.array([1.0])).deviations(Window(1, np.array([2])))
    outside = 30.0 / 301.0
    assert shift[0, 0] == pytest.approx(0.3 - outside, rel=1e-5)
    assert variance[0, 0] == pytest.approx(1 / 100 + 1 / 301, rel=1e-5)


def test_the_level_outside_counts_up_to_two_prior_widths():
    x, w = np.array([[0.0], [5.0], [5.0], [5.0]]), np.full((4, 1), 100.0)
    shift, _ = Sums.of(x * w, w, np.array([0.01])).deviations(Window(1, np.array([0])))
    assert shift[0, 0] == pytest.approx(-0.2, rel=1e-5)


def test_a_healthy_series_wanders_over_the_whole_run_and_not_only_outside_of_a_window() -> None:
    """Of a walk of 0.0003 per LS the means of two halves of 40 LS differ by √(40 · 0.0003 / 3) = 0.063."""
    still = np.full((40, 1), 1e9)
    sums = Sums.of(np.zeros_like(still), still, np.array([1.0]), walk=3e-4)
    by_length = {int(window.length): sums.deviations(window)[1] for window in windows(40)}
    assert by_length[21] == pytest.approx(0.004, rel=1e-4)
    assert by_length[1] == pytest.approx(0.004, rel=1e-4)
    assert by_length[40] == pytest.approx(1.0, rel=1e-4), "over the whole run there is only the prior"
