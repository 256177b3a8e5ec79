"""Lumisections to ranges and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.certify.ranges import ranges_of, stretches, within

LUMISECTIONS = st.sets(st.integers(1, 60))


def test_adjacent_lumisections_are_one_range() -> None:
    assert ranges_of([7, 1, 2, 3, 5, 3]) == [(1, 3), (5, 5), (7, 7)]
    assert ranges_of([]) == []


@given(LUMISECTIONS)
def test_ranges_hold_exactly_their_lumisections(lumisections: set[int]) -> None:
    ranges = ranges_of(lumisections)
    axis = np.arange(1, 62)
    assert set(axis[within(axis, ranges)].tolist()) == lumisections
    assert {ls for first, last in ranges for ls in range(first, last + 1)} == lumisections


@given(LUMISECTIONS)
def test_ranges_are_ascending_and_apart(lumisections: set[int]) -> None:
    ends = [end for part in ranges_of(lumisections) for end in part]
    assert ends == sorted(ends)
    assert all(second - first > 1 for first, second in zip(ends[1::2], ends[2::2], strict=False))


def test_stretches_end_where_the_label_or_the_numbers_break() -> None:
    labelled = [(1, "a"), (2, "a"), (3, "b"), (5, "b"), (6, "b"), (7, "a")]
    assert list(stretches(labelled)) == [(1, 2, "a"), (3, 3, "b"), (5, 6, "b"), (7, 7, "a")]
