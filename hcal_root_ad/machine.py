"""What a long run takes of the machine: its memory, and all of its processors.

Numbers that are easily made again are computed where they are looked at (:class:`Cells`). Other arrays of a long run
are in memory while they are small, beyond that in a scratch file. Such an array is like any other, but what of it was
looked at can be released: then it takes no memory of this process until it is looked at again, and comes back from the
system's cache or from the disk. The file has no name, and is gone with the last array in it, however the process ends.
Work is shared out to threads: numpy and the codecs leave the interpreter to others while they compute.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import DTypeLike, NDArray

from hcal_root_ad.errors import OutputError

Value = TypeVar("Value", bound=np.generic)

LARGE = 2**24
"""Bytes from which on an array lies in a file: some 200 lumisections of counts, thrice as many of HE or HB."""
TOGETHER = 2**21
"""Bytes of a file that Linux may bring into memory together, around the one that is looked at."""
ROWS = 32
"""Rows that are looked at together, unless said otherwise."""
TRANSPOSED = 256
"""Rows that are transposed together: fewer would bring every column into memory for a few of its numbers."""
_files: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros.

    Raises:
        OutputError: if they belong into a file, and the folder of temporary files has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.zeros(shape, dtype) if size < LARGE else np.ndarray(shape, dtype, buffer=_file(size))


def _file(size: int) -> mmap.mmap:
    try:
        with tempfile.TemporaryFile() as file:
            # All of it now: writing where the disk has no room for it would end the process without a word.
            os.posix_fallocate(file.fileno(), 0, size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise OutputError(
            f"{tempfile.tempdir or 'temporary files'}: a long run needs {size / 1e6:.0f} MB here for a while "
            f"({error.strerror or error}); free some, or name another folder in TMPDIR."
        ) from error
    _files.add(mapped)
    return mapped


def release(*arrays: NDArray[Any]) -> None:
    """Let arrays, or parts of them, take no memory of this process until they are looked at again.

    Only those that lie in a file; nothing that is in them is lost.
    """
    for values in arrays:
        whole = values
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        if values.size and isinstance(whole.base, mmap.mmap):
            first, end = (place - byte_bounds(whole)[0] for place in byte_bounds(values))
            first -= first % TOGETHER
            whole.base.madvise(mmap.MADV_DONTNEED, first, end - first)


def release_all() -> None:
    """Release every array that lies in a file, whoever has it, and give back what the allocator kept of freed ones."""
    for file in tuple(_files):
        file.madvise(mmap.MADV_DONTNEED)
    with suppress(AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def iter_chunks(*arrays: NDArray[Any], rows: int = ROWS) -> Iterator[slice]:
    """A few rows after the other of arrays of one length, which are released before the next."""
    length = len(arrays[0])
    for first in range(0, length, rows):
        few = slice(first, min(first + rows, length))
        yield few
        release(*(values[few] for values in arrays))


def extended(values: NDArray[Value], length: int) -> NDArray[Value]:
    """A copy, with zeros behind it up to a length."""
    copy: NDArray[Value] = zeros((length, *values.shape[1:]), values.dtype)
    for rows in iter_chunks(values, copy[: len(values)]):
        copy[rows] = values[rows]
    return copy


def row_maxima(values: NDArray[Value]) -> NDArray[Value]:
    """(rows,) the largest number of each row of (rows, columns); 0 where all are negative."""
    most = np.zeros(len(values), dtype=values.dtype)
    for rows in iter_chunks(values):
        values[rows].max(axis=1, initial=0, out=most[rows])
    return most


def transposed(rows_of: Callable[[slice], NDArray[Value]], shape: tuple[int, int], dtype: DTypeLike) -> NDArray[Value]:
    """(columns, rows) of what is made in some (rows, columns) at a time: a column then lies in one place."""
    out: NDArray[Value] = zeros(shape[::-1], dtype)
    for first in range(0, shape[0], TRANSPOSED):
        rows = slice(first, min(first + TRANSPOSED, shape[0]))
        out[:, rows] = rows_of(rows).T
        release(out)
    return out


def row_blocks(lumisections: int, rows: int = ROWS) -> Iterator[slice]:
    """So many lumisections, some after the other."""
    yield from (slice(first, min(first + rows, lumisections)) for first in range(0, lumisections, rows))


KEPT = 4_000_000
"""Most cells that are kept: HB in 440 lumisections, 16 MB."""
LOOKS = 8
"""Looks at some channels of a short run after which all are worth keeping."""


@dataclass(frozen=True, eq=False)
class Cells(Generic[Value]):
    """(LS, channels) numbers that are computed when they are looked at: ``cells[rows]``, ``cells[rows, columns]``.

    They take no memory until then; ``np.asarray`` makes all of them. ``compute``: from row and column numbers, each
    cell by itself. Those of a short run (:data:`KEPT`) are kept once all channels of some lumisections were looked at,
    or some channels :data:`LOOKS` times.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Value]
    compute: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[Value]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Value]:
        """As of an array; two lists of numbers go together by ``np.ix_``."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if "_kept" in self.__dict__:  # the usual ways without numbers of all rows and columns, and always a copy
            if isinstance(columns, int) or isinstance(key, slice):
                return np.array(self._kept[key])
            if np.ndim(rows) == np.ndim(columns) == 2:
                return np.asarray(self._kept[key])
        r, c = np.arange(self.shape[0])[rows], np.arange(self.shape[1])[columns]
        if r.ndim == c.ndim == 1 and not isinstance(rows, slice) and not isinstance(columns, slice):
            raise IndexError("rows and columns one by one; take them with np.ix_")
        if self._keeps(c.size == self.shape[1]):
            every = isinstance(columns, slice) and columns == slice(None)
            cells = self._kept[r.ravel() if every else np.ix_(r.ravel(), c.ravel())]  # a copy
        else:
            cells = self.compute(r.ravel(), c.ravel())
        return cells if r.ndim and c.ndim else cells.reshape(r.shape + c.shape)

    def _keeps(self, every: bool) -> bool:
        """Whether all cells are kept; a look at ``every`` channel is enough for it."""
        if "_kept" in self.__dict__ or self.shape[0] * self.shape[1] > KEPT:
            return "_kept" in self.__dict__
        self._looks.append(every)
        return every or len(self._looks) > LOOKS

    @cached_property
    def _looks(self) -> list[bool]:
        return []

    @cached_property
    def _kept(self) -> NDArray[Value]:
        return self.compute(np.arange(self.shape[0]), np.arange(self.shape[1]))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (np.asarray(self),)  # elsewhere they are an array


class ScratchStore:
    """Keeps arrays whose number nobody knows beforehand; the first few in memory."""

    def __init__(self) -> None:
        self._free = np.zeros(LARGE // 4, dtype=np.uint8)

    def keep(self, values: NDArray[Value]) -> NDArray[Value]:
        """An equal array, which takes no memory until it is looked at."""
        if len(self._free) < values.nbytes:
            self._free = zeros((max(values.nbytes, LARGE),), np.uint8)
        place, self._free = np.split(self._free, [values.nbytes])
        kept = place.view(values.dtype).reshape(values.shape)
        kept[...] = values
        release(kept)
        return kept


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Number of processors that this thread may use; no more than ``OMP_NUM_THREADS``, where it is set."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Results in the order of the items, made on all cores; only some are under way or waiting at a time."""
    threads, rest = cores(), iter(items)
    first = list(islice(rest, threads + 1))
    if threads == 1 or len(first) < 2:
        yield from map(work, chain(first, rest))
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, item) for item in first)
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(rest, 1))
            yield result
