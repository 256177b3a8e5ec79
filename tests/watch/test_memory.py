"""The memory of a watch follows the counts of the run, and nothing else grows from look to look."""

from __future__ import annotations

import pytest

from benchmarks.soak import slope, soak

KB_PER_LUMISECTION = 1500
"""Counts of the run twice, what is judged and published of HB and HE, and as much again for what is never the same."""


@pytest.mark.slow
def test_a_hundred_lumisections_hold_the_slope() -> None:
    figures = soak(100, at_once=10)
    assert [look.lumisections for look in figures] == list(range(10, 101, 10))
    assert slope(figures) < KB_PER_LUMISECTION
