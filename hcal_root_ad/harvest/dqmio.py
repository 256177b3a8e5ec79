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
from hcal_root_ad.harvest.container import Element, FileContent, events_against_ls, fitting_subsystem
from hcal_root_ad.harvest.definition import ContainerKind, Definition
from hcal_root_ad.harvest.dqmio_trees import ElementTree, Row, read_index, unclaimed
from hcal_root_ad.harvest.input_file import InputFile
from hcal_root_ad.harvest.map_counts import PartMaps, WantedMaps, in_batches, is_map, read_maps
from hcal_root_ad.harvest.section import Section, check_numbers, maps_of, where
from hcal_root_ad.lumi_ranges import ls_ranges

Sections = dict[tuple[int, int], Section]
"""Sections by run and LS."""


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
        self._own_rows = {
            tree: [row for row in self._rows if row.tree == tree] for tree in sorted(set(map(_tree_of, self._rows)))
        }
        self._trees: dict[str, ElementTree] = {}
        self.runs = tuple(sorted({row.run for row in self._rows}))

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
        sections = {(row.run, row.lumisection): Section(row.run, row.lumisection) for row in rows}
        self._add_maps(sections, rows, definition, subsystem)
        self._add_events(sections, rows, definition, subsystem)
        return FileContent(
            path=self.path,
            definition=definition,
            sections=tuple(sections.values()),
            events_versus_ls=self._events_versus_ls(definition, subsystem, within),
            notes=(*self._unclaimed, *self._summed(sections)),
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
                    maps.add_to(sections[row.run, row.lumisection], partial(self._words, row, names))

    def _words(self, row: Row, names: Mapping[int, str], number: int) -> str:
        return where(self.path, names[number], row.run, row.lumisection)

    def _add_events(self, sections: Sections, rows: Sequence[Row], definition: Definition, subsystem: str) -> None:
        own = self._first_per_lumisection(definition.expand(definition.own_events, subsystem))
        other = self._first_per_lumisection(definition.expand(definition.other_events, subsystem))
        for row, events in self._counts(rows, own):
            sections[row.run, row.lumisection].add_own_events(events)
        for row, events in self._counts(rows, other):
            sections[row.run, row.lumisection].add_other_events(events)

    def _first_per_lumisection(self, names: tuple[str, ...]) -> str | None:
        """The first of the names that any lumisection has."""
        return next((name for name in names if name in self.elements and self.elements[name].lumisections), None)

    def _counts(self, rows: Sequence[Row], name: str | None) -> Iterator[tuple[Row, int]]:
        """Events that a scalar or a histogram of one bin holds, row by row."""
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
                profile, words = tree.classname == "TProfile", where(self.path, name, row.run, 0)
                contents = histogram.member("fBinEntries")[1:-1] if profile else histogram.values()
                events = found.setdefault((row.run, name), {})
                for ls, n in events_against_ls(contents, histogram.axis().low, words).items():
                    events[ls] = events.get(ls, 0) + n
        largest: dict[int, dict[int, int]] = {}
        for (run, _), events in found.items():
            into = largest.setdefault(run, {})
            into.update({ls: max(n, into.get(ls, 0)) for ls, n in events.items() if within is None or ls in within})
        return largest

    @cached_property
    def _unclaimed(self) -> tuple[str, ...]:
        """What the index leaves out, or names more than once, in words."""
        return tuple(
            f"{self.path.name}: the index gives {wrong} of the {tree} to no lumisection, or to several; the file is "
            "damaged, or was put together by hadd, and counts may be missing."
            for tree, wrong in unclaimed(self._root, self._rows)
        )

    def _summed(self, sections: Sections) -> Iterator[str]:
        twice = [s.lumisection for s in sections.values() if s.complete and s.seen.max() > 1]
        if twice:
            yield f"{ls_ranges(twice)}: the maps came in several rows of {self.path.name} and were summed."


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
        if row not in latest or (latest[row], number) in taken:
            latest[row] = len(rows)
            rows.append(row)
        taken.add((latest[row], number))
        places.append((entry, latest[row], number))
    entries, parts, of_map = np.array(sorted(places), dtype=np.int64).T
    wanted = (WantedMaps(basket, n, parts[which], of_map[which]) for basket, n, which in tree.baskets(entries))
    for maps in read_maps(tree, in_batches(wanted, tree.size), era):
        yield rows[maps.part], maps
