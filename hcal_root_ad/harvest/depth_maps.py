"""From the bins of many depth maps to counts per channel, for all lumisections of a batch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_MAPS, Era, channel_table, era_of_run, ho_in_depth_4
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest import gathering
from hcal_root_ad.machine import ScratchStore, in_order
from hcal_root_ad.root_io.histogram_bytes import CELLS, Bins, HistogramReader, Stock
from hcal_root_ad.root_io.layout import Key
from hcal_root_ad.root_io.records import LARGEST_MAP, Objects, Record, check_size, fetch, key_object

_FLOW_SHAPE = (gathering.MAP_SHAPE[1] + 2, gathering.MAP_SHAPE[0] + 2)
"""Rows and columns of a map's bins as stored, with under- and overflow: iphi × ieta."""
_CELLS = _FLOW_SHAPE[0] * _FLOW_SHAPE[1]
_TOO_LARGE = 2**31
_BATCH_BYTES = 2**22
"""Compressed bytes that are fetched and unpacked at a time: some ten LS of small baskets, or one large one."""


@dataclass(frozen=True)
class Stored:
    """Where an element is: its path in the file and its key, or the text of a scalar."""

    classname: str
    path: str = ""
    key: Key | None = None
    text: str = ""


class WantedMaps(NamedTuple):
    """Maps in one record of a stock: its objects ``numbers`` are the ``maps`` (depths, or HO's) of ``parts``.

    A part is a lumisection as one row of an index or one folder has it: each map at most once.
    """

    record: int
    numbers: NDArray[np.int64]
    parts: NDArray[np.int64]
    maps: NDArray[np.int64]

    @classmethod
    def one(cls, record: int, section: int, number: int) -> WantedMaps:
        """A record's only object."""
        return cls(record, *(np.array([n], dtype=np.int64) for n in (0, section, number)))


class PartMaps(NamedTuple):
    """What a batch holds of a part: counts (channels of the era,) of some ``maps``, and others to be looked at singly.

    ``strange`` are number and contents, x first, of maps that are anything but counts of channels.
    ``saturated``: some content is at the ceiling of its type.
    """

    part: int
    counts: NDArray[np.int32]
    maps: tuple[int, ...]
    strange: tuple[tuple[int, NDArray[Any]], ...]
    saturated: bool = False

    def add_to(self, section: gathering.LumisectionCounts, where: Callable[[int], str]) -> None:
        """Add all to a section; ``where`` names a map. Raises InputError as ``LumisectionCounts.add_map``."""
        if self.maps:
            section.add_counts(self.counts, self.maps, where(self.maps[0]))
        if self.saturated:
            section.doubt(gathering.SATURATED)
        for number, values in self.strange:
            section.add_map(number, values, where(number))


def in_batches(asked: Iterable[WantedMaps], size: Callable[[int], int]) -> Iterator[list[WantedMaps]]:
    """Pieces of neighbouring records that are read at a time; ``size`` is the compressed size of a record."""
    batch: list[WantedMaps] = []
    bytes_so_far = 0
    for maps in asked:
        batch.append(maps)
        bytes_so_far += size(maps.record)
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
    reader = HistogramReader(stock, partial(gathering.check_axes, stock.place))

    def read(batch: Sequence[WantedMaps]) -> list[PartMaps]:
        return list(_read_batch(reader, batch, era, CELLS[stock.classname]))

    store = ScratchStore()
    for batch_maps in in_order(read, batches):
        yield from (maps._replace(counts=store.keep(maps.counts)) for maps in batch_maps)


class KeyStock:
    """Histograms of one class, each behind a key of its own; record n is the n-th of them."""

    def __init__(self, root: Any, elements: Sequence[Stored]) -> None:
        self._root, self._elements = root, elements
        self.classname = elements[0].classname
        self.place = str(root.file.file_path)

    def size(self, record: int) -> int:
        """Compressed bytes of a record."""
        return self._key(record).size

    def open(self, records: Sequence[int]) -> Iterator[Objects]:
        """The one object of each key."""
        keys = [self._key(record) for record in records]
        for key in keys:
            check_size(key.object_size, f"The {self.classname} {key.name}", LARGEST_MAP)
        for raw, key in zip(fetch(self._root.file.source, [Record(k.seek, k.size) for k in keys]), keys, strict=True):
            yield key_object(raw, key.key_size, key.object_size)

    def decode(self, record: int, objects: Objects, number: int) -> Any:  # noqa: ARG002
        """The object of a key, fetched again."""
        return self._root[self._elements[record].path]

    def _key(self, record: int) -> Key:
        key = self._elements[record].key
        assert key is not None
        return key


def add_maps(
    root: Any,
    places: Iterable[tuple[gathering.LumisectionCounts, int, Stored]],
    words: Callable[[gathering.LumisectionCounts, int], str],
) -> None:
    """Add maps behind keys to their sections; a place is a section, the map's number, and where it is stored.

    ``words`` name a map for errors. Raises InputError for what is no map of HCAL's.
    """
    kinds: dict[tuple[str, Era], list[tuple[gathering.LumisectionCounts, int, Stored]]] = {}
    for section, number, stored in places:
        kinds.setdefault((stored.classname, era_of_run(section.run)), []).append((section, number, stored))
    for (classname, era), maps in kinds.items():
        if not is_map(classname):
            raise InputError(f"{words(*maps[0][:2])} is a {classname or 'scalar'}; a TH2 was expected.")
        stock = KeyStock(root, [stored for _, _, stored in maps])
        sections = list(dict.fromkeys(section for section, _, _ in maps))
        rows = {section: n for n, section in enumerate(sections)}
        asked = (WantedMaps.one(n, rows[section], number) for n, (section, number, _) in enumerate(maps))
        for read in read_maps(stock, in_batches(asked, stock.size), era):
            read.add_to(sections[read.part], partial(words, sections[read.part]))


def _read_batch(
    reader: HistogramReader, batch: Sequence[WantedMaps], era: str, dtype: np.dtype[Any]
) -> Iterator[PartMaps]:
    parts = np.unique(np.concatenate([asked.parts for asked in batch]))
    flow = np.zeros((len(parts), N_MAPS, _CELLS), dtype=dtype)
    came = np.zeros(flow.shape[:2], dtype=np.bool_)
    strange: list[list[tuple[int, NDArray[Any]]]] = [[] for _ in parts]
    read = reader.read([asked.record for asked in batch], [asked.numbers for asked in batch])
    for asked, maps in zip(batch, read, strict=True):
        rows = np.searchsorted(parts, asked.parts)
        for bins, row, number in zip(maps, rows.tolist(), asked.maps.tolist(), strict=True):
            if bins.shape == gathering.MAP_SHAPE:
                flow[row, number - 1] = bins.flow
                came[row, number - 1] = True
            else:
                strange[row].append((number, bins.inside().copy()))
    counts, fine = gather(flow, era)
    for row, section in enumerate(parts.tolist()):
        numbers = tuple((np.flatnonzero(came[row]) + 1).tolist())
        if not fine[row]:
            strange[row] += [(number, Bins(gathering.MAP_SHAPE, flow[row, number - 1]).inside()) for number in numbers]
        saturated = bool(counts[row].max(initial=0) >= gathering.ceiling(dtype))
        yield PartMaps(section, counts[row], numbers if fine[row] else (), tuple(strange[row]), saturated)


def gather(flow: NDArray[Any], era: str) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Counts of the era's channels, and which parts hold nothing but counts, and these in channels only.

    ``flow`` is (parts, maps, cells with under- and overflow). Returns (parts, channels) and (parts,).
    """
    flat = flow.reshape(len(flow), -1)
    places = _places(era)
    contents = flat.take(places.channels, axis=1, mode="clip").astype(flow.dtype.newbyteorder("="))
    with np.errstate(invalid="ignore"):  # NaN and what is too large: seen below
        counts = contents.astype(np.int32)
    whole = (counts.astype(contents.dtype) == contents).all(axis=1)
    fine = whole & (counts.min(axis=1) >= 0) & (contents.max(axis=1) < _TOO_LARGE)
    bits = flat.view(f"u{flow.dtype.itemsize}")
    if np.count_nonzero(bits) != np.count_nonzero(counts):  # rare, and dearer: find out which maps hold what besides
        fine &= ~bits.take(places.others, axis=1).any(axis=1)
    n_channels = len(channel_table(era))
    counts[:, channel_table(era).rows_of("HO")[: counts.shape[1] - n_channels]] += counts[:, n_channels:]
    return counts[:, :n_channels], fine


class _Places(NamedTuple):
    """Cells of an era's channels among those of all maps, and cells within the axes that are no channel's.

    Where the map of depth 4 may hold HO, its cells there come behind those of the channels.
    """

    channels: NDArray[np.intp]
    others: NDArray[np.intp]


@cache
def _places(era: str) -> _Places:
    table = channel_table(era)
    number = np.arange(N_MAPS * _CELLS).reshape(N_MAPS, *_FLOW_SHAPE)
    cells = number[table.dqm_map - 1, table.dqm_y + 1, table.dqm_x + 1]
    if ho_in_depth_4(era):
        outer = table.select("HO")
        cells = np.append(cells, number[gathering.HO_DEPTH - 1, outer.dqm_y + 1, outer.dqm_x + 1])
    return _Places(cells, np.setdiff1d(number[:, 1:-1, 1:-1], cells))
