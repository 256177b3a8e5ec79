"""DQMIO and nanoDQMIO: one tree per class of monitor element, and an index of (run, LS, class) to rows.

Layout: CMSSW ``DQMServices/FwkIO/plugins/format.h`` and ``DQMRootOutputModule.cc``. Only the rows
that the definition names are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.container import Element, FileContent, events_against_ls, fitting_subsystem
from hcal_root_ad.harvest.definition import ContainerKind, Definition
from hcal_root_ad.harvest.input_file import source_of
from hcal_root_ad.harvest.section import MAP_SHAPE, Section, ls_ranges, needed_depths, where

_STABLE = ("Ints", "Floats", "Strings", "TH1Fs", "TH1Ss", "TH1Ds", "TH2Fs", "TH2Ss", "TH2Ds")
# From type 9 on, the numbers depend on the release: newer ones have put TH2Polys before TH3Fs.
_LATER = ("TH2Polys", "TH3Fs", "TProfiles", "TProfile2Ds", "TH1Is", "TH2Is")
_CELL_TYPES = {"TH2F": ">f4", "TH2S": ">i2", "TH2D": ">f8", "TH2I": ">i4"}


@dataclass(frozen=True)
class _Row:
    """One row of the index: the entries ``first`` … ``stop − 1`` of a tree belong to a run and LS."""

    run: int
    lumisection: int
    tree: str
    first: int
    stop: int


class DqmioFile:
    """An open DQMIO file."""

    kind = ContainerKind.DQMIO
    format = "DQMIO trees (nanoDQMIO holds a selection of the elements)"

    def __init__(self, root: Any, path: Path) -> None:
        self._root = root
        self.path = path
        self._rows = tuple(self._read_index())
        self._names: dict[str, NDArray[np.object_]] = {}
        self.runs = tuple(sorted({row.run for row in self._rows}))

    def _read_index(self) -> Iterator[_Row]:
        present = set(self._root.keys(recursive=False, cycle=False))
        trees = (*_STABLE, *(name for name in _LATER if name != "TH2Polys" or name in present))
        index = self._root["Indices"].arrays(["Run", "Lumi", "Type", "FirstIndex", "LastIndex"], library="np")
        for run, ls, kind, first, last in zip(*(index[key].tolist() for key in index), strict=True):
            if kind < len(trees) and trees[kind] in present:
                yield _Row(run, ls, trees[kind], first, last + 1)

    def names(self, tree: str) -> NDArray[np.object_]:
        """Full names of all elements of a tree, in order; read once."""
        if tree not in self._names:
            self._names[tree] = self._root[tree]["FullName"].array(library="np")
        return self._names[tree]

    @cached_property
    def elements(self) -> Mapping[str, Element]:
        return self._elements({row.tree for row in self._rows})

    @cached_property
    def _maps(self) -> Mapping[str, Element]:
        return self._elements({f"{classname}s" for classname in _CELL_TYPES})

    def element(self, name: str) -> Element | None:
        return self._maps.get(name)

    def _elements(self, trees: set[str]) -> Mapping[str, Element]:
        seen: dict[str, tuple[str, set[tuple[int, int]]]] = {}
        for row in (row for row in self._rows if row.tree in trees):
            for name in self.names(row.tree)[row.first : row.stop]:
                lumisections = seen.setdefault(name, (row.tree[:-1], set()))[1]
                if row.lumisection:
                    lumisections.add((row.run, row.lumisection))
        return {name: Element(name, kind, len(ls)) for name, (kind, ls) in sorted(seen.items())}

    def content(self, definition: Definition) -> FileContent:
        subsystem = fitting_subsystem(self, definition) or definition.subsystems[0]
        sections = {(r.run, r.lumisection): Section(r.run, r.lumisection) for r in self._rows if r.lumisection}
        self._add_maps(sections, definition, subsystem)
        self._add_events(sections, definition, subsystem)
        return FileContent(
            path=self.path,
            source=source_of(self.path),
            definition=definition,
            sections=tuple(sections.values()),
            events_versus_ls=self._events_versus_ls(definition, subsystem),
            notes=tuple(self._summed(sections)),
        )

    def _wanted(self, names: Mapping[str, Any], per_run: bool = False) -> Iterator[tuple[_Row, int]]:
        """Entries whose full name is among ``names``, row by row."""
        for row in self._rows:
            if (row.lumisection == 0) == per_run:
                here = self.names(row.tree)[row.first : row.stop]
                yield from ((row, row.first + n) for n, name in enumerate(here) if name in names)

    def _add_maps(self, sections: dict[tuple[int, int], Section], definition: Definition, subsystem: str) -> None:
        depths = {definition.map_element(subsystem, d): d for run in self.runs for d in needed_depths(era_of_run(run))}
        wanted = list(self._wanted(depths))
        for tree in sorted({row.tree for row, _ in wanted}):
            if tree[:-1] not in _CELL_TYPES:
                raise InputError(f"{next(iter(depths))} in {self.path} is a {tree[:-1]}; a TH2 was expected.")
            here = [(row, entry) for row, entry in wanted if row.tree == tree]
            maps = _MapReader(self._root[tree]["Value"], tree[:-1])
            for (row, entry), values in zip(here, maps.read([entry for _, entry in here]), strict=True):
                name = str(self.names(tree)[entry])
                words = where(self.path, name, row.run, row.lumisection)
                sections[row.run, row.lumisection].add_map(depths[name], values, words)

    def _add_events(self, sections: dict[tuple[int, int], Section], definition: Definition, subsystem: str) -> None:
        own = self._first_with_entries(definition.expand(definition.own_events, subsystem))
        other = self._first_with_entries(definition.expand(definition.other_events, subsystem))
        for name in filter(None, (own, other)):
            for row, entry in self._wanted({name: None}):
                section = sections[row.run, row.lumisection]
                add = section.add_own_events if name == own else section.add_other_events
                add(self._count(row.tree, entry))

    def _first_with_entries(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if any(True for _ in self._wanted({name: None}))), None)

    def _count(self, tree: str, entry: int) -> int:
        """Events that a scalar or a histogram of one bin holds."""
        if tree in ("Ints", "Floats"):
            return int(self._root[tree]["Value"].array(library="np", entry_start=entry, entry_stop=entry + 1)[0])
        return round(float(self._histogram(tree, entry).values().sum()))

    def _histogram(self, tree: str, entry: int) -> Any:
        branch = self._root[tree]["Value"]
        interpretation = branch.interpretation if tree.startswith("TProf") else _bare(branch, tree[:-1])
        return branch.array(interpretation, library="np", entry_start=entry, entry_stop=entry + 1)[0]

    def _events_versus_ls(self, definition: Definition, subsystem: str) -> dict[int, dict[int, int]]:
        """HCAL's counter against the LS, by run: the largest of the elements in each LS."""
        names = dict.fromkeys(definition.expand(definition.events_versus_ls, subsystem))
        found: dict[tuple[int, str], dict[int, int]] = {}
        for row, entry in self._wanted(names, per_run=True):
            histogram = self._histogram(row.tree, entry)
            profile = row.tree == "TProfiles"
            contents = histogram.member("fBinEntries")[1:-1] if profile else histogram.values()
            events = found.setdefault((row.run, str(self.names(row.tree)[entry])), {})
            for ls, n in events_against_ls(contents, histogram.axis().low).items():
                events[ls] = events.get(ls, 0) + n
        largest: dict[int, dict[int, int]] = {}
        for (run, _), events in found.items():
            into = largest.setdefault(run, {})
            into.update({ls: max(n, into.get(ls, 0)) for ls, n in events.items()})
        return largest

    def _summed(self, sections: dict[tuple[int, int], Section]) -> Iterator[str]:
        twice = [s.lumisection for s in sections.values() if s.complete and s.seen.max() > 1]
        if twice:
            yield f"{ls_ranges(twice)}: the maps came in several rows of {self.path.name} and were summed."


def _bare(branch: Any, classname: str) -> Any:
    """Interpretation of TH1 objects, whose branch stores no version header before the object."""
    version = branch.file.streamer_named(classname).class_version
    model = branch.file.class_named(classname, version)

    def no_header(self: Any, chunk: Any, cursor: Any, context: Any) -> None:  # noqa: ARG001
        self._num_bytes, self._instance_version, self._is_memberwise = None, version, False

    bare = type(model.__name__, (model,), {"read_numbytes_version": no_header, "__module__": model.__module__})
    return uproot.interpretation.objects.AsObjects(bare, branch)


class _MapReader:
    """Reads 2D histograms by their last bytes, which hold the bins; some 20 times quicker than whole objects.

    The first object is decoded whole, for its axes; all others must be as long behind the header.
    """

    _BYTES = uproot.interpretation.jagged.AsJagged(uproot.interpretation.numerical.AsDtype("u1"))

    def __init__(self, branch: Any, classname: str) -> None:
        self._branch = branch
        self._dtype = np.dtype(_CELL_TYPES[classname])
        self._flow_shape = (MAP_SHAPE[0] + 2, MAP_SHAPE[1] + 2)

    def read(self, entries: list[int]) -> Iterator[NDArray[np.generic]]:
        """Contents without under- and overflow, (84, 72), of ascending or unordered entries, in the order given."""
        for first, stop in _contiguous(entries):
            shape = self._whole(first).values().shape
            raw = self._branch.array(self._BYTES, library="np", entry_start=first, entry_stop=stop)
            for n, entry in enumerate(range(first, stop)):
                quick = self._tail(raw[n]) if shape == MAP_SHAPE else None
                yield self._whole(entry).values() if quick is None else quick

    def _whole(self, entry: int) -> Any:
        return self._branch.array(library="np", entry_start=entry, entry_stop=entry + 1)[0]

    def _tail(self, raw: NDArray[np.uint8]) -> NDArray[np.generic] | None:
        """The bins, or None where the object does not end in as many as an 84 × 72 map has."""
        cells = self._flow_shape[0] * self._flow_shape[1]
        body = cells * self._dtype.itemsize
        if len(raw) < body + 4 or int(raw[-body - 4 : -body].view(">i4")[0]) != cells:
            return None
        flow = raw[-body:].view(self._dtype).reshape(self._flow_shape[::-1])
        return flow.T[1:-1, 1:-1]


def _contiguous(entries: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring entries as (first, stop), in the order given."""
    first = stop = -1
    for entry in entries:
        if entry == stop:
            stop += 1
            continue
        if stop > first:
            yield first, stop
        first, stop = entry, entry + 1
    if stop > first:
        yield first, stop
