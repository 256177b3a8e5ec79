"""Lumisections as ranges, ``(first, last)`` with both ends in: from numbers, back to numbers, and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Range = tuple[int, int]
Key = TypeVar("Key")


def ranges_of(lumisections: Iterable[int]) -> list[Range]:
    """Ascending ranges that hold exactly these lumisections; adjacent ones are merged."""
    return [(first, last) for first, last, _ in stretches((ls, None) for ls in sorted(set(map(int, lumisections))))]


def stretches(labelled: Iterable[tuple[int, Key]]) -> Iterator[tuple[int, int, Key]]:
    """First and last of consecutive lumisections with equal labels, from ascending (LS, label) pairs."""
    numbered = ((ls, label, ls - place) for place, (ls, label) in enumerate(labelled))
    for (label, _), same in groupby(numbered, key=lambda row: (row[1], row[2])):
        lumisections = [ls for ls, _, _ in same]
        yield lumisections[0], lumisections[-1], label


def union(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that overlap or touch made one."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def within(lumisections: ArrayLike, ranges: Sequence[Range]) -> NDArray[np.bool_]:
    """Which lumisections lie in one of the ranges."""
    numbers = np.asarray(lumisections)
    inside = np.zeros(numbers.shape, dtype=np.bool_)
    for first, last in ranges:
        inside |= (numbers >= first) & (numbers <= last)
    return inside


def listed(ranges: Sequence[Range], most: int | None = 12) -> str:
    """Ranges as text, such as ``3–7, 9 and 4 more``."""
    shown = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ranges[:most])
    hidden = 0 if most is None else len(ranges) - most
    return f"{shown} and {hidden} more" if hidden > 0 else shown or "none"


def ls_ranges(lumisections: ArrayLike) -> str:
    """All lumisections for people, for example ``LS 3, 5–8``."""
    return f"LS {listed(ranges_of(np.asarray(lumisections, dtype=np.int64).tolist()), most=None)}"
