"""Histograms out of many records: fetched together, unpacked in several threads, their bins taken as arrays.

A streamed TH1 or TH2 is a nest of its base classes, each behind its length and version, then the axes, and at the
very end the bins as an array with its length (``TH1::Streamer``, ``TH2::Streamer``, ``TArray``). Objects of the same
size with equal classes, versions and axes have their bins at the same place, so many are read at once. The layout is
learnt from one object that uproot has decoded, and holds only for those that agree with it. What does not look like
the others of its size is decoded by uproot, object by object, and the log says so.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.root_io.records import LARGEST_MAP, Objects, check_size

_log = logging.getLogger(__name__)


_LETTERS = {"F": ">f4", "D": ">f8", "S": ">i2", "I": ">i4"}
CELLS = {f"TH{n}{letter}": np.dtype(kind) for n in (1, 2) for letter, kind in _LETTERS.items()}
"""Type of the bins of each class that is read in bulk."""
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">i")
_IS_LENGTH = 0x4000_0000
_HEADER = 6
"""Bytes of a length and a version."""
_RANGE = struct.calcsize(">idd")
"""Bytes of an axis's number of bins, lower and upper edge."""


@dataclass(frozen=True, eq=False)
class HistogramLayout:
    """Layout of histograms of one class, version, size and binning.

    ``fixed`` are places and bytes that all of them share: classes and versions, bins and edges of the
    axes, number of bins in the array. ``cells`` bins with under- and overflow, of type ``dtype``, follow
    from byte ``start`` on. ``shape`` is without under- and overflow, x first.
    """

    fixed: tuple[tuple[int, int, bytes], ...]
    start: int
    cells: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def contents(self, raw: memoryview) -> NDArray[Any] | None:
        """Bins with under- and overflow, flat, x running fastest (a view); None for an object of another layout."""
        for start, stop, expected in self.fixed:
            if raw[start:stop] != expected:
                return None
        return np.frombuffer(raw, dtype=self.dtype, count=self.cells, offset=self.start)


def learn_layout(raw: memoryview, classname: str, decoded: Any) -> HistogramLayout | None:
    """Layout of an object from its bytes and from what uproot made of them; None if the two do not tell one."""
    if classname not in CELLS:
        return None
    try:
        head, axes = _walk(bytes(raw), dimensions=len(decoded.axes))
    except struct.error:
        return None
    flow = np.asarray(decoded.values(flow=True))
    dtype, shape = CELLS[classname], tuple(n - 2 for n in flow.shape)
    start = len(raw) - flow.size * dtype.itemsize
    array = (start - _COUNT.size, start)
    lengths = tuple(_COUNT.unpack_from(raw, place)[0] for place, _ in (array, *axes[1:]))
    if lengths != (flow.size, *shape):
        return None
    fixed = tuple((a, b, bytes(raw[a:b])) for a, b in (head, *axes, array))
    layout = HistogramLayout(fixed, start, flow.size, dtype, shape)
    return layout if np.array_equal(layout.contents(raw), flow.T.ravel(), equal_nan=True) else None  # type: ignore[arg-type]


def _walk(raw: bytes, dimensions: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """(start, stop) of the classes and versions before the name; of the number of bins, and of each axis's bins."""
    position = name = _class_name(raw)
    while _length(raw, position) is not None:  # TH2F, TH2, TH1, and TNamed, whose base stores no length
        name, position = position, position + _HEADER
    head, position = (0, name), _behind(raw, name)
    for _ in ("TAttLine", "TAttFill", "TAttMarker"):
        position = _behind(raw, position)
    axes = [(position, position + _COUNT.size)]
    position += _COUNT.size
    for _ in range(dimensions):
        axes.append(_axis(raw, position))
        position = _behind(raw, position)
    return head, axes


def _axis(raw: bytes, position: int) -> tuple[int, int]:
    """(start, stop) of a TAxis's number of bins, edges, and array of edges."""
    start = _behind(raw, _behind(raw, position + _HEADER))  # TNamed, TAttAxis
    (edges,) = _COUNT.unpack_from(raw, start + _RANGE)
    stop = start + _RANGE + _COUNT.size + 8 * edges
    if not start < stop < len(raw):
        raise struct.error("an axis that ends outside of its object")
    return start, stop


def _class_name(raw: bytes) -> int:
    """Where an object begins behind the name of its class, which some branches store before each."""
    return 0 if _length(raw, 0) is not None else raw[0] + 2


def _length(raw: bytes, position: int) -> int | None:
    (word,) = _LENGTH.unpack_from(raw, position)
    return word & ~_IS_LENGTH if word & _IS_LENGTH else None


def _behind(raw: bytes, position: int) -> int:
    """The place behind the part of an object whose length stands at ``position``."""
    length = _length(raw, position)
    if length is None:
        raise struct.error("no length where one was expected")
    return position + _LENGTH.size + length


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

    def read(self, records: Sequence[int], entries: Sequence[NDArray[np.int64]]) -> Iterator[list[Bins]]:
        """Bins of the wanted objects (their numbers) of each record."""
        for record, numbers, objects in zip(records, entries, self._stock.open(records), strict=True):
            yield [self._bins(record, objects, number) for number in numbers.tolist()]

    def _bins(self, record: int, objects: Objects, number: int) -> Bins:
        raw = objects[number]
        check_size(len(raw), f"A {self._stock.classname}", LARGEST_MAP)
        if len(raw) not in self._layouts:
            decoded = self._stock.decode(record, objects, number)
            self._check(decoded)
            self._layouts[len(raw)] = learn_layout(raw, self._stock.classname, decoded)
        layout = self._layouts[len(raw)]
        if layout is None or (flow := layout.contents(raw)) is None:
            return self._odd(record, objects, number)
        return Bins(layout.shape, flow)

    def _odd(self, record: int, objects: Objects, number: int) -> Bins:
        """An object that uproot must decode."""
        if not self._warned:
            self._warned = True
            words = "%s: a %s is not laid out as the others; uproot decodes such ones, one by one."
            _log.warning(words, self._stock.place, self._stock.classname)
        decoded = self._stock.decode(record, objects, number)
        self._check(decoded)
        flow = np.array(decoded.values(flow=True))
        return Bins(tuple(n - 2 for n in flow.shape), flow.T.ravel())
