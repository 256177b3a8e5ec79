"""DQMIO and nanoDQMIO files: the index, the names of the rows, their values as records, and the counts that they hold.

Layout: CMSSW ``DQMServices/FwkIO/plugins/format.h`` and ``DQMRootOutputModule.cc``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from uproot.interpretation.objects import AsObjects, ObjectArray

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest import gathering, harvester
from hcal_root_ad.harvest.depth_maps import PartMaps, WantedMaps, in_batches, is_map, read_maps
from hcal_root_ad.harvest.gathering import LumisectionCounts
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.root_io.histogram_bytes import HistogramReader
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
    columns = (gathering.whole_column(index[key], f"{place}, {key}").tolist() for key in index)
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
        reversed_rows = [row for row in own if 0 <= row.stop - 1 < row.first < there and row.stop < row.first]
        beyond = [row for row in own if not 0 <= row.first <= row.stop <= there and row not in reversed_rows]
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
        for row in reversed_rows:  # they mean the entries in between, most likely
            free[row.stop : row.first + 2] = False
        wrong = (shared[spans[:, 1]] > shared[spans[:, 0]]) | free[spans[:, 0]] | free[spans[:, 1] + 1]
        yield from reversed_rows
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
    def coded(self) -> tuple[list[str], NDArray[np.int64]]:
        """The full names in the order of their first entries, and (entries,) the number of each entry's name."""
        numbers: dict[bytes, int] = {}
        coded: list[int] = []
        for basket in _open(self._full_names, range(self._full_names.num_baskets)):
            stored = bytes(basket.data)
            coded += [numbers.setdefault(stored[a:b], len(numbers)) for a, b in pairwise(basket.offsets.tolist())]
        if len(coded) != self._values.num_entries:
            raise InputError(
                f"{self.place} has {len(coded)} names for {self._values.num_entries} elements; fetch the file again."
            )
        names = [name[5 if name[0] == 255 else 1 :].decode() for name in numbers]  # behind the length, in 1 or 5 bytes
        return names, np.array(coded, dtype=np.int64)

    def entries(self, rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries that belong to rows of the index, and for each of them which row."""
        there = len(self.coded[1])
        spans = np.array([(min(row.first, there), min(row.stop, there)) for row in rows], dtype=np.int64).reshape(-1, 2)
        lengths = np.maximum(spans[:, 1] - spans[:, 0], 0)
        which = np.repeat(np.arange(len(rows)), lengths)
        return np.arange(len(which)) - (np.cumsum(lengths) - lengths - spans[:, 0])[which], which

    def elements(self, rows: Sequence[Row]) -> dict[str, int]:
        """Names in rows of the index, and in how many lumisections each is."""
        (entries, which), (names, numbers) = self.entries(rows), self.coded
        sections = {key: n for n, key in enumerate({(row.run, row.lumisection) for row in rows if row.lumisection})}
        section = np.array([sections.get((row.run, row.lumisection), len(sections)) for row in rows], dtype=np.int64)
        pairs = np.unique(numbers[entries] * (len(sections) + 1) + section[which])
        name, place = np.divmod(pairs, len(sections) + 1)
        often = np.bincount(name, weights=place < len(sections))
        return {names[n]: int(often[n]) for n in np.unique(name)}

    def counts(self, entries: NDArray[np.int64]) -> Iterator[int | None]:
        """What (ascending) entries count: the value of a number, or that of a histogram."""
        if self.classname in _NUMBERS:
            yield from self._values.array(library="np")[entries].astype(np.int64).tolist()
            return
        reader = HistogramReader(self)
        for basket, numbers, _ in self.baskets(entries):
            (histograms,) = reader.read([basket], [numbers])
            yield from (gathering.counter_of(bins.inside()) for bins in histograms)

    def baskets(self, entries: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], slice]]:
        """Baskets that hold the (ascending) entries: number, entries within it, and which of the entries these are."""
        firsts = np.asarray(self._values.entry_offsets, dtype=np.int64)
        baskets = np.searchsorted(firsts, entries, side="right") - 1
        changes = np.flatnonzero(np.diff(baskets, prepend=-1, append=-1))
        for start, stop in pairwise(changes.tolist()):
            number = int(baskets[start])
            yield number, entries[start:stop] - firsts[number], slice(start, stop)

    def size(self, basket: int) -> int:
        return int(self._values.basket_compressed_bytes(basket))

    def open(self, records: Sequence[int]) -> Iterator[Objects]:
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


Sections = dict[tuple[int, int, int], LumisectionCounts]
"""Sections by run, LS, and how many rows of that LS the index has before: a merged file has several."""


class Hit(NamedTuple):
    """An element that was looked for: its row of the index, its entry in the tree, its full name."""

    row: Row
    entry: int
    name: str


class DqmioFile:
    """An open DQMIO file."""

    kind = harvester.ContainerKind.DQMIO
    format = "DQMIO trees (nanoDQMIO holds a selection of the elements)"

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root = root
        self.path = path
        self._rows = tuple(read_index(root))
        for run, lumisection in {(row.run, row.lumisection) for row in self._rows}:
            gathering.check_numbers(path, run, lumisection)
        present = set(root.keys(recursive=False, cycle=False))
        entries = {name: int(root[name].num_entries) for name in {row.tree for row in self._rows} & present}
        wrong = set(contradictions(entries, self._rows))
        self._doubted = {(row.run, row.lumisection) for row in wrong}
        self._rows = tuple(row for row in self._rows if row not in wrong)
        if self._doubted and not any(row.lumisection and row.tree.startswith("TH2") for row in self._rows):
            raise InputError(f"{path} cannot be used: {INDEX_AND_CONTENT}; fetch it again, or merge with cmsRun.")
        self._own_rows = {
            tree: [row for row in self._rows if row.tree == tree] for tree in sorted({row.tree for row in self._rows})
        }
        self._trees: dict[str, ElementTree] = {}
        self._counters_of: dict[str | None, Mapping[tuple[int, int, int], int]] = {}
        self.runs = tuple(sorted({row.run for row in self._rows} | {run for run, _ in self._doubted}))

    def _tree(self, name: str) -> ElementTree:
        if name not in self._trees:
            self._trees[name] = ElementTree(self._root[name])
        return self._trees[name]

    @cached_property
    def elements(self) -> Mapping[str, harvester.Element]:
        return dict(sorted(self._elements("").items()))

    def element(self, name: str) -> harvester.Element | None:
        return self._maps.get(name)

    @cached_property
    def _maps(self) -> Mapping[str, harvester.Element]:
        return self._elements("TH2")

    def _elements(self, trees: str) -> Mapping[str, harvester.Element]:
        """Elements in the trees whose names begin so."""
        elements: dict[str, harvester.Element] = {}
        for tree_name, rows in self._own_rows.items():
            if tree_name.startswith(trees):
                tree = self._tree(tree_name)
                often = tree.elements(rows).items()
                elements |= {name: harvester.Element(name, tree.classname, number) for name, number in often}
        return elements

    def last_lumisection(self, definition: harvester.Definition) -> int:  # noqa: ARG002
        return max((row.lumisection for row in self._rows), default=0)

    def content(self, definition: harvester.Definition, within: range | None = None) -> harvester.FileContent:
        source = harvester.fitting(self, definition) or definition
        rows = [row for row in self._rows if row.lumisection and (within is None or row.lumisection in within)]
        doubted = [(run, ls, 0) for run, ls in self._doubted if ls and (within is None or ls in within)]
        places = dict.fromkeys((*((row.run, row.lumisection, row.number) for row in rows), *doubted))
        sections = {place: LumisectionCounts(*place[:2]) for place in places}
        self._add_maps(sections, rows, source)
        self._add_events(sections, source)
        for (run, lumisection, _), section in sections.items():
            if (run, lumisection) in self._doubted:
                section.doubt(INDEX_AND_CONTENT)
        names = {source.map_element(number) for run in self.runs for number in gathering.maps_of(era_of_run(run))}
        of_run = self._hits([row for row in self._rows if not row.lumisection and row.tree.startswith("TH2")], names)
        note = "LS 0: maps that belong to no lumisection, left out."
        return harvester.FileContent(
            path=self.path,
            definition=definition,
            sections=tuple(s for (_, _, number), s in sections.items() if not number or s.counts is not None),
            events_versus_ls=self._events_versus_ls(source, within),
            notes=(note,) if sections and any(True for _ in of_run) else (),
        )

    def _hits(self, rows: Iterable[Row], names: Collection[str]) -> Iterator[tuple[ElementTree, list[Hit]]]:
        """Elements of those names, tree by tree."""
        tree_of = attrgetter("tree")
        for tree_name, own in groupby(sorted(rows, key=tree_of), key=tree_of):
            tree, own_rows = self._tree(tree_name), list(own)
            all_names, numbers = tree.coded
            named = np.array([name in names for name in all_names], dtype=np.bool_)
            if named.any():
                entries, which = tree.entries(own_rows)
                places = np.flatnonzero(named[numbers[entries]])
                of_name = [all_names[n] for n in numbers[entries[places]]]
                of_row = [own_rows[n] for n in which[places]]
                if hits := [Hit(*hit) for hit in zip(of_row, entries[places].tolist(), of_name, strict=True)]:
                    yield tree, hits

    def _add_maps(self, sections: Sections, rows: Sequence[Row], definition: harvester.Definition) -> None:
        for era in dict.fromkeys(era_of_run(run) for run in self.runs):
            numbers = {definition.map_element(number): number for number in gathering.maps_of(era)}
            for tree, hits in self._hits([row for row in rows if era_of_run(row.run) == era], numbers):
                if not is_map(tree.classname):
                    raise InputError(f"{hits[0].name} in {self.path} is a {tree.classname}; a TH2 was expected.")
                for row, maps in _read_tree(tree, era, hits, numbers):
                    section = sections[row.run, row.lumisection, row.number]
                    maps.add_to(section, partial(definition.words, self.path, section))

    def _add_events(self, sections: Sections, definition: harvester.Definition) -> None:
        """Counters of all lumisections, also of those that are not asked for: some count the job's events so far."""
        for whose, patterns in (("own", definition.own_events), ("other", definition.other_events)):
            names = definition.expand(patterns)  # the first that any lumisection has
            name = next((name for name in names if name in self.elements and self.elements[name].lumisections), None)
            if name not in self._counters_of:
                self._counters_of[name] = dict(self._counters(name))
            counted = self._counters_of[name]
            growth = gathering.growth_of_counter(counted)
            for place in counted.keys() & sections.keys():
                sections[place].count(whose, counted[place], growth[place])

    def _counters(self, name: str | None) -> Iterator[tuple[tuple[int, int, int], int]]:
        """Events that a scalar or a histogram of one bin holds, by run, LS and row; none for one that is full."""
        rows = [row for row in self._rows if row.lumisection]
        for tree, hits in self._hits(rows, (name,)) if name else ():
            own = sorted(hits, key=attrgetter("entry"))
            counts = tree.counts(np.array([hit.entry for hit in own]))
            for (row, *_), events in zip(own, counts, strict=True):
                if events is not None:
                    yield (row.run, row.lumisection, row.number), events

    def _events_versus_ls(self, definition: harvester.Definition, within: range | None) -> dict[int, dict[int, int]]:
        """HCAL's counter against the LS, by run: the largest of the elements in each LS."""
        names = definition.expand(definition.events_versus_ls)
        counters: dict[tuple[int, str], dict[int, int]] = {}
        for tree, hits in self._hits([row for row in self._rows if not row.lumisection], names):
            for row, entry, name in hits:
                histogram = tree.whole(entry)
                words = gathering.where(self.path, name, row.run, 0)
                contents = harvester.entries_of_bins(histogram, tree.classname)[1:-1]
                events = counters.setdefault((row.run, name), {})
                for ls, n in harvester.events_against_ls(contents, histogram.axis().low, words).items():
                    events[ls] = events.get(ls, 0) + n
        largest: dict[int, dict[int, int]] = {}
        for (run, _), events in counters.items():
            into = largest.setdefault(run, {})
            into.update({ls: max(n, into.get(ls, 0)) for ls, n in events.items() if within is None or ls in within})
        return largest


def _read_tree(
    tree: ElementTree, era: str, entries_of: Sequence[Hit], numbers: Mapping[str, int]
) -> Iterator[tuple[Row, PartMaps]]:
    """Maps of a tree as counts, row by row or a row in pieces."""
    rows: list[Row] = []
    latest: dict[Row, int] = {}
    taken: set[tuple[int, int]] = set()
    places = []
    for row, entry, name in entries_of:
        number = numbers[name]
        if row not in latest or (latest[row], number) in taken:  # a map twice in a row: the LS is not complete
            latest[row] = len(rows)
            rows.append(row)
        taken.add((latest[row], number))
        places.append((entry, latest[row], number))
    entries, parts, of_map = np.array(sorted(places), dtype=np.int64).T
    asked = (WantedMaps(basket, n, parts[which], of_map[which]) for basket, n, which in tree.baskets(entries))
    for maps in read_maps(tree, in_batches(asked, tree.size), era):
        yield rows[maps.part], maps
