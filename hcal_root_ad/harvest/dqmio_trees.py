"""Trees of a DQMIO file: the index, the names of the rows, and their values as records.

Layout: CMSSW ``DQMServices/FwkIO/plugins/format.h`` and ``DQMRootOutputModule.cc``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from uproot.interpretation.objects import AsObjects, ObjectArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.section import whole_column
from hcal_root_ad.root_io.histograms import HistogramReader
from hcal_root_ad.root_io.records import Objects, Record, basket_objects, fetch

_STABLE = ("Ints", "Floats", "Strings", "TH1Fs", "TH1Ss", "TH1Ds", "TH2Fs", "TH2Ss", "TH2Ds")
# From type 9 on, the numbers depend on the release: newer ones have put TH2Polys before TH3Fs.
_LATER = ("TH2Polys", "TH3Fs", "TProfiles", "TProfile2Ds", "TH1Is", "TH2Is")
_NUMBERS = ("Int", "Float")


_MOST_ROWS, _MOST_ENTRIES = 5_000_000, 20_000_000
"""Rows of the index, and entries of a tree: many times what a file of a long run has."""
INDEX_AND_CONTENT = "the index of the file and its trees contradict each other (as hadd leaves them)"


@dataclass(frozen=True)
class Row:
    """One row of the index: the entries ``first`` … ``stop − 1`` of a tree belong to a run and LS (0: the run).

    ``number``: how many rows of that tree, run and LS come before.
    """

    run: int
    lumisection: int
    tree: str
    first: int
    stop: int
    number: int = 0


def read_index(root: Any) -> Iterator[Row]:
    """Rows of the index that speak of a tree that is there.

    Raises:
        InputError: an index of another kind, or longer than any run needs.
    """
    present = set(root.keys(recursive=False, cycle=False))
    trees = (*_STABLE, *(name for name in _LATER if name != "TH2Polys" or name in present))
    place = f"The index of {root.file.file_path}"
    if root["Indices"].num_entries > _MOST_ROWS:
        raise InputError(f"{place} has {root['Indices'].num_entries} rows; no run needs more than {_MOST_ROWS}.")
    index = root["Indices"].arrays(["Run", "Lumi", "Type", "FirstIndex", "LastIndex"], library="np")
    columns = (whole_column(index[key], f"{place}, {key}").tolist() for key in index)
    numbers: dict[tuple[int, int, str], int] = {}
    for run, ls, kind, first, last in zip(*columns, strict=True):
        if kind < len(trees) and trees[kind] in present:
            number = numbers[run, ls, trees[kind]] = numbers.get((run, ls, trees[kind]), -1) + 1
            yield Row(run, ls, trees[kind], first, last + 1, number)


def contradictions(entries: Mapping[str, int], rows: Sequence[Row]) -> Iterator[Row]:
    """Rows that name entries which are not there or which another row names, or next to which entries have no row.

    All rows of a tree where it has both: entries that are named wrongly, and entries that nobody names.
    ``entries``: how many each tree has. Trees whose number depends on the release are not looked at.
    """
    for name in (name for name in _STABLE if name in entries):
        there = entries[name]
        own = [row for row in rows if row.tree == name]
        beyond = [row for row in own if not 0 <= row.first <= row.stop <= there]
        inside = [row for row in own if 0 <= row.first < row.stop <= there]
        spans = np.array([(row.first, row.stop) for row in inside], dtype=np.int64).reshape(-1, 2)
        reach = [(row.first, there) for row in beyond if 0 <= row.first < there < row.stop]
        changes = np.zeros(there + 1, dtype=np.int64)
        for first, stop in (*spans.tolist(), *reach):
            changes[first] += 1
            changes[stop] -= 1
        claims = np.cumsum(changes[:-1])
        shared = np.concatenate(([0], np.cumsum(claims > 1)))
        free = np.concatenate(([False], claims == 0, [False]))  # entry n is at n + 1
        wrong = (shared[spans[:, 1]] > shared[spans[:, 0]]) | free[spans[:, 0]] | free[spans[:, 1] + 1]
        if free.any() and (beyond or shared[-1]):  # the whole index may be displaced, as by hadd
            yield from own
        else:
            yield from beyond
            yield from (inside[n] for n in np.flatnonzero(wrong))


class ElementTree:
    """One tree of monitor elements, all of one class; a stock of histograms whose records are baskets."""

    def __init__(self, tree: Any) -> None:
        if tree.num_entries > _MOST_ENTRIES:
            raise InputError(
                f"{tree.name} of {tree.file.file_path} has {tree.num_entries} entries; a run needs no more than "
                f"{_MOST_ENTRIES}."
            )
        self.classname = str(tree.name).removesuffix("s")
        self.place = f"{tree.name} of {tree.file.file_path}"
        self._full_names, self._values = tree["FullName"], tree["Value"]

    @cached_property
    def _coded(self) -> tuple[list[str], NDArray[np.int64]]:
        numbers: dict[bytes, int] = {}
        coded: list[int] = []
        for names in _open(self._full_names, range(self._full_names.num_baskets)):
            stored = bytes(names.data)
            coded += [numbers.setdefault(stored[a:b], len(numbers)) for a, b in pairwise(names.offsets.tolist())]
        if len(coded) != self._values.num_entries:
            raise InputError(
                f"{self.place} has {len(coded)} names for {self._values.num_entries} elements; fetch the file again."
            )
        return [_text(name) for name in numbers], np.array(coded, dtype=np.int64)

    @property
    def names(self) -> list[str]:
        """The different full names, in the order of their first entries."""
        return self._coded[0]

    @property
    def name_numbers(self) -> NDArray[np.int64]:
        """(entries,) number of each entry's name among :attr:`names`."""
        return self._coded[1]

    def entries(self, rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries that belong to rows of the index, and for each of them which row."""
        there = len(self.name_numbers)
        spans = np.array([(min(row.first, there), min(row.stop, there)) for row in rows], dtype=np.int64).reshape(-1, 2)
        lengths = np.maximum(spans[:, 1] - spans[:, 0], 0)
        which = np.repeat(np.arange(len(rows)), lengths)
        return np.arange(len(which)) - (np.cumsum(lengths) - lengths - spans[:, 0])[which], which

    def elements(self, rows: Sequence[Row]) -> dict[str, int]:
        """Names in rows of the index, and in how many lumisections each is."""
        entries, which = self.entries(rows)
        sections = {key: n for n, key in enumerate({(row.run, row.lumisection) for row in rows if row.lumisection})}
        section = np.array([sections.get((row.run, row.lumisection), len(sections)) for row in rows], dtype=np.int64)
        pairs = np.unique(self.name_numbers[entries] * (len(sections) + 1) + section[which])
        name, place = np.divmod(pairs, len(sections) + 1)
        often = np.bincount(name, weights=place < len(sections))
        return {self.names[n]: int(often[n]) for n in np.unique(name)}

    def counts(self, entries: NDArray[np.int64]) -> Iterator[int]:
        """What (ascending) entries count: the value of a number, the sum over the bins of a histogram."""
        if self.classname in _NUMBERS:
            yield from self._values.array(library="np")[entries].astype(np.int64).tolist()
            return
        reader = HistogramReader(self)
        for basket, numbers, _ in self.baskets(entries):
            (histograms,) = reader.read([basket], [numbers])
            yield from (round(float(bins.inside().sum())) for bins in histograms)

    def baskets(self, entries: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], slice]]:
        """Baskets that hold the (ascending) entries: number, entries within it, and which of the entries these are."""
        firsts = np.asarray(self._values.entry_offsets, dtype=np.int64)
        baskets = np.searchsorted(firsts, entries, side="right") - 1
        changes = np.flatnonzero(np.diff(baskets, prepend=-1, append=-1))
        for start, stop in pairwise(changes.tolist()):
            number = int(baskets[start])
            yield number, entries[start:stop] - firsts[number], slice(start, stop)

    def size(self, basket: int) -> int:
        """Compressed bytes of a basket."""
        return int(self._values.basket_compressed_bytes(basket))

    def open(self, records: Sequence[int]) -> Iterator[Objects]:
        """Entries of baskets."""
        return _open(self._values, records)

    def decode(self, record: int, objects: Objects, number: int) -> Any:  # noqa: ARG002
        """One entry of an open basket."""
        start, context = objects.offsets[number], dict(self._values.context)
        # A copy: uproot's objects refer to each other, so they hold their bytes until the next collection of garbage.
        data = np.frombuffer(objects[number], dtype=np.uint8).copy()
        alone = np.array([0, len(data)])
        return ObjectArray(self._model, self._values, context, alone, data, objects.key_size + start)[0]

    def whole(self, entry: int) -> Any:
        """One entry, whatever its class."""
        return self._values.array(AsObjects(self._model, self._values), library="np", entry_start=entry,
                                  entry_stop=entry + 1)[0]  # fmt: skip

    @cached_property
    def _model(self) -> Any:
        """How uproot decodes an entry; a ``TBranchElement`` (TH1, TH2I) stores no version header before the object."""
        interpretation = self._values.interpretation
        if self._values.classname == "TBranchObject":
            return interpretation.model
        version = self._values.file.streamer_named(self.classname).class_version
        model = self._values.file.class_named(self.classname, version)

        def no_header(this: Any, chunk: Any, cursor: Any, context: Any) -> None:  # noqa: ARG001
            this._num_bytes, this._instance_version, this._is_memberwise = None, version, False

        return type(model.__name__, (model,), {"read_numbytes_version": no_header, "__module__": model.__module__})


def _open(branch: Any, baskets: Sequence[int]) -> Iterator[Objects]:
    """Entries of baskets of a branch; baskets that are stored within the tree itself are read by uproot."""
    seeks = branch.member("fBasketSeek")
    apart = {n for n in baskets if n < len(seeks) and seeks[n]}
    places = [Record(int(seeks[n]), int(branch.basket_compressed_bytes(n))) for n in baskets if n in apart]
    raws = iter(fetch(branch.file.source, places))
    for number in baskets:
        if number in apart:
            yield basket_objects(next(raws))
        else:
            basket = branch.basket(number)
            yield Objects(memoryview(basket.data), basket.byte_offsets.astype(np.int64), basket.member("fKeylen"))


def _text(stored: bytes) -> str:
    """A string behind its length, which takes one byte or, if that is 255, four more."""
    return stored[5 if stored[0] == 255 else 1 :].decode()
