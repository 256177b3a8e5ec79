"""Histograms out of many records: fetched together, unpacked in several threads, their bins taken as arrays.

What does not look like the others of its size is decoded by uproot, object by object, and the log says so.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.harvest.histogram_bytes import HistogramLayout, learn_layout
from hcal_root_ad.harvest.records import LARGEST_MAP, Objects, check_size

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Bins(NamedTuple):
    """Bins of a histogram: numbers of bins (x first) without, and flat contents (x fastest) with under- and overflow.

    The contents may be a view that holds until the next record is unpacked.
    """

    shape: tuple[int, ...]
    flow: NDArray[Any]

    def inside(self) -> NDArray[Any]:
        """Contents without under- and overflow, x first; a view."""
        return self.flow.reshape([n + 2 for n in self.shape[::-1]]).T[(slice(1, -1),) * len(self.shape)]


class Stock(Protocol):
    """Where histograms of one class come from: records, numbered, with one object or more each."""

    classname: str
    place: str
    """For people: which tree or folder of which file."""

    def open(self, records: Sequence[int]) -> Iterator[Objects]:
        """The objects of each record; they hold until the next is asked for."""

    def decode(self, record: int, objects: Objects, number: int) -> Any:
        """One object, as uproot decodes it."""


class HistogramReader:
    """Reads the bins of histograms, with one layout for all objects of a size.

    ``check`` is called with the first object of each layout as uproot decodes it, and with all that are laid out
    otherwise, and may refuse them.
    """

    def __init__(self, stock: Stock, check: Callable[[Any], None] = lambda _: None) -> None:
        self._stock, self._check = stock, check
        self._layouts: dict[int, HistogramLayout | None] = {}
        self._warned = False

    def read(self, records: Sequence[int], wanted: Sequence[NDArray[np.int64]]) -> Iterator[list[Bins]]:
        """Bins of the wanted objects (their numbers) of each record."""
        for record, numbers, objects in zip(records, wanted, self._stock.open(records), strict=True):
            yield [self._bins(record, objects, number) for number in numbers.tolist()]

    def _bins(self, record: int, objects: Objects, number: int) -> Bins:
        raw = objects[number]
        check_size(len(raw), f"A {self._stock.classname}", LARGEST_MAP)
        layout = self._layouts.get(len(raw), ...)
        if layout is ...:
            decoded = self._stock.decode(record, objects, number)
            self._check(decoded)
            layout = learn_layout(raw, self._stock.classname, decoded)
            self._layouts[len(raw)] = layout
        if layout is None or (flow := layout.contents(raw)) is None:
            return self._odd(record, objects, number)
        return Bins(layout.shape, flow)

    def _odd(self, record: int, objects: Objects, number: int) -> Bins:
        """An object that uproot must decode."""
        if not self._warned:
            self._warned = True
            _log.warning(
                "%s: a %s is not laid out as the others; uproot decodes such ones, one by one.",
                self._stock.place,
                self._stock.classname,
            )
        decoded = self._stock.decode(record, objects, number)
        self._check(decoded)
        flow = np.array(decoded.values(flow=True))
        return Bins(tuple(n - 2 for n in flow.shape), flow.T.ravel())


def cores() -> int:
    """Number of processors that this thread may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Results in the order of the items, made on all cores; only some are under way or waiting at a time."""
    threads = cores()
    if threads == 1:
        yield from map(work, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, item) for item in islice(rest, threads + 1))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(rest, 1))
            yield result
