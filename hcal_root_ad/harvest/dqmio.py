"""DQMIO and nanoDQMIO: one tree per class of monitor element, and an index of (run, LS, class) to rows.

Layout: CMSSW ``DQMServices/FwkIO/plugins/format.h`` and ``DQMRootOutputModule.cc``. Of the thousands of
elements only those that the definition names are decoded, many at a time, and only their baskets fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.container import Element, FileContent, entries_of_bins, events_against_ls, fitting_subsystem
from hcal_root_ad.harvest.definition import ContainerKind, Definition
from hcal_root_ad.harvest.dqmio_trees import INDEX_AND_CONTENT, ElementTree, Row, contradictions, read_index
from hcal_root_ad.harvest.input_file import InputFile
from hcal_root_ad.harvest.map_counts import PartMaps, WantedMaps, in_batches, is_map, read_maps
from hcal_root_ad.harvest.section import Section, check_numbers, growth_of_counter, maps_of, where

Sections = dict[tuple[int, int, int], Section]
"""Sections by run, LS, and how many rows of that LS the index has before: a merged file has several."""


class Found(NamedTuple):
    """An element that was looked for: its row of the index, its entry in the tree, its full name."""

    row: Row
    entry: int
    name: str


class DqmioFile:
    """An open DQMIO file."""

    kind = ContainerKind.DQMIO
    format = "DQMIO trees (nanoDQMIO holds a selection of the elements)"

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root = root
        self.path = path
        self._rows = tuple(read_index(root))
        for run, lumisection in {(row.run, row.lumisection) for row in self._rows}:
            check_numbers(path, run, lumisection)
        present = set(root.keys(recursive=False, cycle=False))
        entries = {name: int(root[name].num_entries) for name in {row.tree for row in self._rows} & present}
        wrong = set(contradictions(entries, self._rows))
        self._doubted = {(row.run, row.lumisection) for row in wrong}
        self._rows = tuple(row for row in self._rows if row not in wrong)
        if self._doubted and not any(row.lumisection and row.tree.startswith("TH2") for row in self._rows):
            raise InputError(f"{path} cannot be used: {INDEX_AND_CONTENT}; fetch it again, or merge with cmsRun.")
        self._own_rows = {
            tree: [row for row in self._rows if row.tree == tree] for tree in sorted(set(map(_tree_of, self._rows)))
        }
        self._trees: dict[str, ElementTree] = {}
        self._counters_of: dict[str | None, Mapping[tuple[int, int, int], int]] = {}
        self.runs = tuple(sorted({row.run for row in self._rows} | {run for run, _ in self._doubted}))

    def _tree(self, name: str) -> ElementTree:
        if name not in self._trees:
            self._trees[name] = ElementTree(self._root[name])
        return self._trees[name]

    @cached_property
    def elements(self) -> Mapping[str, Element]:
        found = [element for tree in self._own_rows for element in self._elements(tree)]
        return {element.name: element for element in sorted(found, key=lambda element: element.name)}

    def element(self, name: str) -> Element | None:
        return self._maps.get(name)

    @cached_property
    def _maps(self) -> Mapping[str, Element]:
        found = [element for tree in self._own_rows if tree.startswith("TH2") for element in self._elements(tree)]
        return {element.name: element for element in found}

    def _elements(self, tree_name: str) -> Iterator[Element]:
        tree = self._tree(tree_name)
        for name, lumisections in tree.elements(self._own_rows[tree_name]).items():
            yield Element(name, tree.classname, lumisections)

    def last_lumisection(self, definition: Definition) -> int:  # noqa: ARG002
        return max((row.lumisection for row in self._rows), default=0)

    def content(self, definition: Definition, within: range | None = None) -> FileContent:
        subsystem = fitting_subsystem(self, definition) or definition.subsystems[0]
        rows = [row for row in self._rows if row.lumisection and (within is None or row.lumisection in within)]
        doubted = [(run, ls, 0) for run, ls in self._doubted if ls and (within is None or ls in within)]
        places = dict.fromkeys((*((row.run, row.lumisection, row.number) for row in rows), *doubted))
        sections = {place: Section(*place[:2]) for place in places}
        self._add_maps(sections, rows, definition, subsystem)
        self._add_events(sections, definition, subsystem)
        for (run, lumisection, _), section in sections.items():
            if (run, lumisection) in self._doubted:
                section.doubt(INDEX_AND_CONTENT)
        return FileContent(
            path=self.path,
            definition=definition,
            sections=tuple(s for (_, _, number), s in sections.items() if not number or s.counts is not None),
            events_versus_ls=self._events_versus_ls(definition, subsystem, within),
        )

    def _found(self, rows: Iterable[Row], names: Collection[str]) -> Iterator[tuple[ElementTree, list[Found]]]:
        """Elements of those names, tree by tree."""
        for tree_name, own in groupby(sorted(rows, key=_tree_of), key=_tree_of):
            tree, own_rows = self._tree(tree_name), list(own)
            wanted = np.array([name in names for name in tree.names], dtype=np.bool_)
            if wanted.any():
                entries, which = tree.entries(own_rows)
                hits = np.flatnonzero(wanted[tree.name_numbers[entries]])
                of_name = [tree.names[n] for n in tree.name_numbers[entries[hits]]]
                of_row = [own_rows[n] for n in which[hits]]
                if found := [Found(*one) for one in zip(of_row, entries[hits].tolist(), of_name, strict=True)]:
                    yield tree, found

    def _add_maps(self, sections: Sections, rows: Sequence[Row], definition: Definition, subsystem: str) -> None:
        for era in dict.fromkeys(era_of_run(run) for run in self.runs):
            names = {number: definition.map_element(subsystem, number) for number in maps_of(era)}
            numbers = {name: number for number, name in names.items()}
            for tree, found in self._found([row for row in rows if era_of_run(row.run) == era], numbers):
                if not is_map(tree.classname):
                    raise InputError(f"{found[0].name} in {self.path} is a {tree.classname}; a TH2 was expected.")
                for row, maps in _read_tree(tree, era, found, numbers):
                    section = sections[row.run, row.lumisection, row.number]
                    maps.add_to(section, partial(self._words, row, names))

    def _words(self, row: Row, names: Mapping[int, str], number: int) -> str:
        return where(self.path, names[number], row.run, row.lumisection)

    def _add_events(self, sections: Sections, definition: Definition, subsystem: str) -> None:
        """Counters of all lumisections, also of those that are not asked for: some count the job's events so far."""
        own = self._first_per_lumisection(definition.expand(definition.own_events, subsystem))
        other = self._first_per_lumisection(definition.expand(definition.other_events, subsystem))
        for name, count in ((own, Section.count_own), (other, Section.count_other)):
            if name not in self._counters_of:
                counts = self._counts(name)
                self._counters_of[name] = {(row.run, row.lumisection, row.number): events for row, events in counts}
            counted = self._counters_of[name]
            growth = growth_of_counter(counted)
            for place in counted.keys() & sections.keys():
                count(sections[place], counted[place], growth[place])

    def _first_per_lumisection(self, names: tuple[str, ...]) -> str | None:
        """The first of the names that any lumisection has."""
        return next((name for name in names if name in self.elements and self.elements[name].lumisections), None)

    def _counts(self, name: str | None) -> Iterator[tuple[Row, int]]:
        """Events that a scalar or a histogram of one bin holds, row by row."""
        rows = [row for row in self._rows if row.lumisection]
        for tree, found in self._found(rows, (name,)) if name else ():
            own = sorted(found, key=lambda one: one.entry)
            yield from zip((one.row for one in own), tree.counts(np.array([one.entry for one in own])), strict=True)

    def _events_versus_ls(
        self, definition: Definition, subsystem: str, within: range | None
    ) -> dict[int, dict[int, int]]:
        """HCAL's counter against the LS, by run: the largest of the elements in each LS."""
        names = definition.expand(definition.events_versus_ls, subsystem)
        found: dict[tuple[int, str], dict[int, int]] = {}
        for tree, found_here in self._found([row for row in self._rows if not row.lumisection], names):
            for row, entry, name in found_here:
                histogram = tree.whole(entry)
                words = where(self.path, name, row.run, 0)
                contents = entries_of_bins(histogram, tree.classname)[1:-1]
                events = found.setdefault((row.run, name), {})
                for ls, n in events_against_ls(contents, histogram.axis().low, words).items():
                    events[ls] = events.get(ls, 0) + n
        largest: dict[int, dict[int, int]] = {}
        for (run, _), events in found.items():
            into = largest.setdefault(run, {})
            into.update({ls: max(n, into.get(ls, 0)) for ls, n in events.items() if within is None or ls in within})
        return largest


def _tree_of(row: Row) -> str:
    return row.tree


def _read_tree(
    tree: ElementTree, era: str, found: Sequence[Found], numbers: Mapping[str, int]
) -> Iterator[tuple[Row, PartMaps]]:
    """Maps of a tree as counts, row by row or a row in pieces."""
    rows: list[Row] = []
    latest: dict[Row, int] = {}
    taken: set[tuple[int, int]] = set()
    places = []
    for row, entry, name in found:
        number = numbers[name]
        if row not in latest or (latest[row], number) in taken:  # a map twice in a row: the LS is not complete
            latest[row] = len(rows)
            rows.append(row)
        taken.add((latest[row], number))
        places.append((entry, latest[row], number))
    entries, parts, of_map = np.array(sorted(places), dtype=np.int64).T
    wanted = (WantedMaps(basket, n, parts[which], of_map[which]) for basket, n, which in tree.baskets(entries))
    for maps in read_maps(tree, in_batches(wanted, tree.size), era):
        yield rows[maps.part], maps
