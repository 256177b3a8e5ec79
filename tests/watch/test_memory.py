"""The memory of a watch follows the counts of the run, and nothing else grows from look to look."""

from __future__ import annotations

import pytest

from benchmarks.soak import slope, soak

KB_PER_LUMISECTION = 450
"""Over the first lumisections, whose counts are too few for scratch files: three times those of an LS, and as much
again. Over a long run it is some ten."""


@pytest.mark.slow
def test_a_hundred_lumisections_hold_the_slope() -> None:
    figures = soak(100, at_once=10)
    assert [look.lumisections for look in figures] == list(range(10, 101, 10))
    assert slope(figures) < KB_PER_LUMISECTION
    assert figures[-1].files - figures[0].files < 5
