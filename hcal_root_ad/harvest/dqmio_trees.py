"""Trees of a DQMIO file: the index, the names of the rows, and their values as records.

Layout: CMSSW ``DQMServices/FwkIO/plugins/format.h`` and ``DQMRootOutputModule.cc``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from uproot.interpretation.objects import AsObjects, ObjectArray

from hcal_root_ad.harvest.bulk import HistogramReader
from hcal_root_ad.harvest.records import Objects, Record, basket_objects, fetch

_STABLE = ("Ints", "Floats", "Strings", "TH1Fs", "TH1Ss", "TH1Ds", "TH2Fs", "TH2Ss", "TH2Ds")
# From type 9 on, the numbers depend on the release: newer ones have put TH2Polys before TH3Fs.
_LATER = ("TH2Polys", "TH3Fs", "TProfiles", "TProfile2Ds", "TH1Is", "TH2Is")
_NUMBERS = ("Int", "Float")


@dataclass(frozen=True)
class Row:
    """One row of the index: the entries ``first`` … ``stop − 1`` of a tree belong to a run and LS (0: the run)."""

    run: int
    lumisection: int
    tree: str
    first: int
    stop: int


def read_index(root: Any) -> Iterator[Row]:
    """Rows of the index that speak of a tree that is there."""
    present = set(root.keys(recursive=False, cycle=False))
    trees = (*_STABLE, *(name for name in _LATER if name != "TH2Polys" or name in present))
    index = root["Indices"].arrays(["Run", "Lumi", "Type", "FirstIndex", "LastIndex"], library="np")
    for run, ls, kind, first, last in zip(*(index[key].tolist() for key in index), strict=True):
        if kind < len(trees) and trees[kind] in present:
            yield Row(run, ls, trees[kind], first, last + 1)


def unclaimed(root: Any, rows: Sequence[Row]) -> Iterator[tuple[str, int]]:
    """Trees with entries that the index gives to no lumisection or run, or to several, and how many; each has one."""
    present = set(root.keys(recursive=False, cycle=False))
    for name in _STABLE:
        there = int(root[name].num_entries) if name in present else 0
        changes = np.zeros(there + 1, dtype=np.int64)
        for row in rows:
            if row.tree == name and row.first < row.stop:
                changes[np.clip(row.first, 0, there)] += 1
                changes[np.clip(row.stop, 0, there)] -= 1
        if wrong := int((np.cumsum(changes[:-1]) != 1).sum()):
            yield name, wrong


class ElementTree:
    """One tree of monitor elements, all of one class; a stock of histograms whose records are baskets."""

    def __init__(self, tree: Any) -> None:
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
        """How uproot decodes an entry; the branches of TH1 store no version header before the object."""
        interpretation = self._values.interpretation
        if not self.classname.startswith("TH1"):
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
