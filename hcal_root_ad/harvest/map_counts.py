"""From the bins of many depth maps to counts per channel, for all lumisections of a batch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import channel_table
from hcal_root_ad.harvest.bulk import Bins, HistogramReader, Stock, in_order
from hcal_root_ad.harvest.histogram_bytes import CELLS
from hcal_root_ad.harvest.section import MAP_SHAPE, Section, check_axes, needed_depths
from hcal_root_ad.room import Shelf

_FLOW_SHAPE = (MAP_SHAPE[1] + 2, MAP_SHAPE[0] + 2)
"""Rows and columns of a map's bins as stored, with under- and overflow: iphi × ieta."""
_CELLS = _FLOW_SHAPE[0] * _FLOW_SHAPE[1]
_TOO_LARGE = 2**31
_BATCH_BYTES = 2**22
"""Compressed bytes that are fetched and unpacked at a time: some ten LS of small baskets, or one large one."""


class WantedMaps(NamedTuple):
    """Maps in one record of a stock: its objects ``numbers`` are the maps of ``depths`` of ``parts``.

    A part is a lumisection as one row of an index or one folder has it: each depth at most once.
    """

    record: int
    numbers: NDArray[np.int64]
    parts: NDArray[np.int64]
    depths: NDArray[np.int64]

    @classmethod
    def one(cls, record: int, part: int, depth: int) -> WantedMaps:
        """A record's only object."""
        return cls(record, *(np.array([n], dtype=np.int64) for n in (0, part, depth)))


class PartMaps(NamedTuple):
    """What a batch holds of a part: counts (channels of the era,) of ``depths``, and maps to be looked at singly.

    ``strange`` are depth and contents, x first, of maps that are anything but counts of channels.
    """

    part: int
    counts: NDArray[np.int32]
    depths: tuple[int, ...]
    strange: tuple[tuple[int, NDArray[Any]], ...]

    def add_to(self, section: Section, where: Callable[[int], str]) -> None:
        """Add all to a section; ``where`` names the map of a depth. Raises InputError as ``Section.add_map``."""
        if self.depths:
            section.add_counts(self.counts, self.depths)
        for depth, values in self.strange:
            section.add_map(depth, values, where(depth))


def in_batches(wanted: Iterable[WantedMaps], size: Callable[[int], int]) -> Iterator[list[WantedMaps]]:
    """Pieces of neighbouring records that are read at a time; ``size`` is the compressed size of a record."""
    batch: list[WantedMaps] = []
    bytes_so_far = 0
    for one in wanted:
        batch.append(one)
        bytes_so_far += size(one.record)
        if bytes_so_far >= _BATCH_BYTES:
            yield batch
            batch, bytes_so_far = [], 0
    if batch:
        yield batch


def is_map(classname: str) -> bool:
    """Whether a class can hold a depth map."""
    return classname in CELLS and classname.startswith("TH2")


def read_maps(stock: Stock, batches: Iterable[Sequence[WantedMaps]], era: str) -> Iterator[PartMaps]:
    """Read maps of a stock; a part that lies in several batches comes in pieces.

    Raises:
        InputError: maps whose axes are not those of HCAL's depth maps.
    """
    reader = HistogramReader(stock, partial(check_axes, stock.place))

    def read(batch: Sequence[WantedMaps]) -> list[PartMaps]:
        return list(_read_batch(reader, batch, era, CELLS[stock.classname]))

    shelf = Shelf()
    for found in in_order(read, batches):
        yield from (maps._replace(counts=shelf.keep(maps.counts)) for maps in found)


def _read_batch(
    reader: HistogramReader, batch: Sequence[WantedMaps], era: str, dtype: np.dtype[Any]
) -> Iterator[PartMaps]:
    parts = np.unique(np.concatenate([wanted.parts for wanted in batch]))
    flow = np.zeros((len(parts), max(needed_depths(era)), _CELLS), dtype=dtype)
    came = np.zeros(flow.shape[:2], dtype=np.bool_)
    strange: list[list[tuple[int, NDArray[Any]]]] = [[] for _ in parts]
    read = reader.read([wanted.record for wanted in batch], [wanted.numbers for wanted in batch])
    for wanted, maps in zip(batch, read, strict=True):
        rows = np.searchsorted(parts, wanted.parts)
        for bins, row, depth in zip(maps, rows.tolist(), wanted.depths.tolist(), strict=True):
            if bins.shape == MAP_SHAPE:
                flow[row, depth - 1] = bins.flow
                came[row, depth - 1] = True
            else:
                strange[row].append((depth, bins.inside().copy()))
    counts, fine = gather(flow, era)
    for row, part in enumerate(parts.tolist()):
        depths = tuple((np.flatnonzero(came[row]) + 1).tolist())
        if not fine[row]:
            strange[row] += [(depth, Bins(MAP_SHAPE, flow[row, depth - 1]).inside()) for depth in depths]
        yield PartMaps(part, counts[row], depths if fine[row] else (), tuple(strange[row]))


def gather(flow: NDArray[Any], era: str) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Counts of the era's channels, and which parts hold nothing but counts, and these in channels only.

    ``flow`` is (parts, depths, cells with under- and overflow). Returns (parts, channels) and (parts,).
    """
    flat = flow.reshape(len(flow), -1)
    places = _places(era)
    found = flat.take(places.channels, axis=1, mode="clip").astype(flow.dtype.newbyteorder("="))
    with np.errstate(invalid="ignore"):  # NaN and what is too large: seen below
        counts = found.astype(np.int32)
    whole = (counts.astype(found.dtype) == found).all(axis=1)
    fine = whole & (counts.min(axis=1) >= 0) & (found.max(axis=1) < _TOO_LARGE)
    bits = flat.view(f"u{flow.dtype.itemsize}")
    in_channels = np.count_nonzero(counts) - np.count_nonzero(counts[:, places.shared])
    if np.count_nonzero(bits) != in_channels:  # rare, and dearer: find out which maps hold what besides
        fine &= ~bits.take(places.others, axis=1).any(axis=1)
    return counts, fine


class _Places(NamedTuple):
    """Cells of an era's channels among those of all depths, cells within the axes that are no channel's.

    ``shared`` are channels whose cell is another's, too: HO has bins of HB's depth 4.
    """

    channels: NDArray[np.intp]
    others: NDArray[np.intp]
    shared: NDArray[np.intp]


@cache
def _places(era: str) -> _Places:
    table, n_depths = channel_table(era), max(needed_depths(era))
    number = np.arange(n_depths * _CELLS).reshape(n_depths, *_FLOW_SHAPE)
    cells = number[table.depth - 1, table.dqm_y + 1, table.dqm_x + 1]
    _, firsts = np.unique(cells, return_index=True)
    shared = np.setdiff1d(np.arange(len(cells)), firsts)
    return _Places(cells, np.setdiff1d(number[:, 1:-1, 1:-1], cells), shared)
