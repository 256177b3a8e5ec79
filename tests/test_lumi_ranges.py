"""Lumisections to ranges and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.lumi_maps import listed, ls_ranges, ranges_of, stretches, union, within

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


def test_a_union_does_not_overlap_or_touch() -> None:
    assert union([(5, 6), (1, 3), (2, 2), (7, 9), (11, 11)]) == [(1, 3), (5, 9), (11, 11)]
    assert union([]) == []


def test_listed() -> None:
    assert listed([(3, 7), (9, 9)]) == "3–7, 9"
    assert listed([(1, 1), (3, 3), (5, 5), (7, 8)], most=2) == "1, 3 and 2 more"
    assert listed([]) == "none"


@given(st.lists(st.integers(0, 40), min_size=1))
def test_a_text_names_every_lumisection_once(numbers: list[int]) -> None:
    spans = [part.split("–") for part in ls_ranges(numbers).removeprefix("LS ").split(", ")]
    assert [n for span in spans for n in range(int(span[0]), int(span[-1]) + 1)] == sorted(set(numbers))
