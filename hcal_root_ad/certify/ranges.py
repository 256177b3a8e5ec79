"""Lumisections as ranges, ``[first, last]`` with both ends in, and back."""

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
    for (label, _), same in groupby(numbered, key=lambda one: (one[1], one[2])):
        lumisections = [ls for ls, _, _ in same]
        yield lumisections[0], lumisections[-1], label


def within(lumisections: ArrayLike, ranges: Sequence[Range]) -> NDArray[np.bool_]:
    """Which lumisections lie in one of the ranges."""
    numbers = np.asarray(lumisections)
    inside = np.zeros(numbers.shape, dtype=np.bool_)
    for first, last in ranges:
        inside |= (numbers >= first) & (numbers <= last)
    return inside
