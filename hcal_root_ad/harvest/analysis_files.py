"""ROOT files that analysis programs write: a TH3I per depth (HcalAnalyzer), or one histogram per element and LS (flat).

HcalAnalyzer (``Hcal4DQMAnalyzer.cc``) has a tree of events beside the LS × ieta × iphi of each depth. It fills integers
into axes that begin at 0 or −32: LS n lies in 0-based bin n, ieta k in bin 32 + k (bin 32, ieta 0, stays empty), iphi i
in bin i, and iphi 72 in the overflow. The keys of a flat export say what they are (``run1_ls2_Hcal_…``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest import gathering, harvester
from hcal_root_ad.harvest.depth_maps import Stored, add_maps
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.root_io.layout import Key, top_folder, walk_folders

_MOST_EVENTS = 50_000_000
_IETA_AXIS, _IPHI_AXIS = (64, -32.0, 32.0), (72, 0.0, 72.0)


class HcalAnalyzerFile:
    """An open HcalAnalyzer file."""

    kind = harvester.ContainerKind.HCALANALYZER
    format = "HcalAnalyzer file (a TH3 of LS × ieta × iphi per depth)"

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root = root
        self.path = path
        self._classes = dict(root.classnames(recursive=True, cycle=False))
        self._tree = next((name for name, kind in self._classes.items() if kind == "TTree"), None)
        self.runs = tuple(int(run) for run in np.unique(self._branch("RunNum")))
        for run in self.runs:
            for lumisection in np.unique(self._branch("LumiSec")).tolist():
                gathering.check_numbers(path, run, lumisection)
        self._read: dict[harvester.Definition, tuple[Mapping[int, gathering.LumisectionCounts], tuple[str, ...]]] = {}

    def _branch(self, name: str) -> NDArray[np.int64]:
        if self._tree is None or name not in self._root[self._tree]:
            raise InputError(f"{self.path} has no tree with the branch {name}, so its run and LS are not known.")
        branch = self._root[self._tree][name]
        if branch.num_entries > _MOST_EVENTS:
            raise InputError(f"{self.path} has {branch.num_entries} events; no file has more than {_MOST_EVENTS}.")
        return gathering.whole_column(branch.array(library="np"), f"The branch {name} of {self.path}")

    @cached_property
    def elements(self) -> Mapping[str, harvester.Element]:
        lumisections = len(np.unique(self._branch("LumiSec")))
        return {
            name: harvester.Element(name, kind, lumisections if kind.startswith("TH3") else 0)
            for name, kind in self._classes.items()
            if not kind.startswith("TDirectory")
        }

    def element(self, name: str) -> harvester.Element | None:
        return self.elements.get(name)

    def last_lumisection(self, definition: harvester.Definition) -> int:
        lumisections = self._root[definition.map_element(1)].axis(0)
        return max(int(self._branch("LumiSec").max(initial=0)), int(lumisections.member("fNbins")) - 1)

    def content(self, definition: harvester.Definition, within: range | None = None) -> harvester.FileContent:
        if definition not in self._read:  # each piece of a stream asks again, and a TH3 is decoded as a whole
            self._read[definition] = self._sections(definition)
        sections, notes = self._read[definition]
        kept = tuple(replace(section) for ls, section in sections.items() if within is None or ls in within)
        return harvester.FileContent(self.path, definition, kept, notes=notes)

    def _sections(
        self, definition: harvester.Definition
    ) -> tuple[Mapping[int, gathering.LumisectionCounts], tuple[str, ...]]:
        """Sections by LS, and remarks."""
        if len(self.runs) != 1:
            raise InputError(
                f"{self.path} holds {len(self.runs)} runs in maps without a run axis; give one run per file."
            )
        run = self.runs[0]
        rows, events = np.unique(self._branch("LumiSec"), return_counts=True)
        sections: dict[int, gathering.LumisectionCounts] = {
            int(ls): gathering.LumisectionCounts(run, int(ls)) for ls in rows
        }
        notes = list(self._fill(sections, run, definition))
        if _one_row_per_ls(events, sections):
            notes.append(f"The tree of {self.path.name} has one row per LS, not per event, so it tells no event count.")
        elif definition.event_tree == self._tree:
            for ls, n in zip(rows, events, strict=True):
                sections[int(ls)].own_events = int(n)
        return sections, tuple(notes)

    def _fill(
        self, sections: dict[int, gathering.LumisectionCounts], run: int, definition: harvester.Definition
    ) -> Iterator[str]:
        """Gather every depth into the sections; LS with digis but without a row in the tree are added."""
        for depth in gathering.needed_depths(era_of_run(run)):
            name = definition.map_element(depth)
            words = gathering.where(self.path, name, run, 0)
            maps, beyond = self._lumi_maps(name, words)
            if beyond:
                yield f"{name}: {beyond} digis at LS {len(maps)} and above, beyond the axis, were left out."
            for filled in np.flatnonzero(maps.any(axis=(1, 2))).tolist():
                sections.setdefault(filled, gathering.LumisectionCounts(run, filled))
            for ls, section in sections.items():
                if ls < len(maps):
                    _add(section, depth, gathering.whole_numbers(maps[ls], words))
                    if gathering.saturated(maps[ls]):
                        section.doubt(gathering.SATURATED)

    def _lumi_maps(self, name: str, words: str) -> tuple[NDArray[np.generic], int]:
        """Contents by LS, ieta bin and iphi bin (both with flow), and the digis beyond the LS axis."""
        histogram = self._root[name]
        axes = [(h.member("fNbins"), float(h.low), float(h.high)) for h in map(histogram.axis, range(3))]
        n_ls, low, high = axes[0]
        if axes[1:] != [_IETA_AXIS, _IPHI_AXIS] or (low, high) != (0.0, float(n_ls)):
            shape = " × ".join(f"{n} bins {a:g}…{b:g}" for n, a, b in axes)
            raise InputError(
                f"{words} has the axes {shape}; LS (one bin each from 0) × 64 ieta × 72 iphi were expected."
            )
        contents = histogram.values(flow=True)
        return contents[1:-1], int(contents[-1].sum())


def _add(section: gathering.LumisectionCounts, depth: int, contents: NDArray[np.int32]) -> None:
    """Gather one depth of one LS from (66, 74) bins with flow, where ieta k is 33 + k and iphi i is i + 1."""
    table = gathering.table_of_run(section.run)
    rows = np.flatnonzero((table.subdetector <= 2) & (table.depth == depth))
    gathered = contents[33 + table.ieta[rows], table.iphi[rows] + 1]
    if section.counts is None:
        section.counts = np.zeros(len(table), dtype=np.int32)
    section.counts[rows] = gathered
    section.seen[depth - 1] += 1
    section.stray += int(contents.sum() - gathered.sum())


def _one_row_per_ls(rows_per_ls: NDArray[np.int64], sections: Mapping[int, gathering.LumisectionCounts]) -> bool:
    """Whether the tree lists lumisections: equally many rows each, fewer than the maps hold events."""
    most = max((int(s.counts.max()) for s in sections.values() if s.counts is not None), default=0)
    return bool(np.all(rows_per_ls == rows_per_ls[0])) and most > rows_per_ls[0]


_FIELDS = {"run": r"(?P<run>\d{1,10})", "lumisection": r"(?P<lumisection>\d{1,10})", "element": r"(?P<element>.+)"}


def key_patterns() -> list[re.Pattern[str]]:
    """What keys look like, by the definitions of flat exports."""
    texts = dict.fromkeys(d.keys for d in harvester.load_definitions() if d.keys)
    return [re.compile(re.escape(text).replace(r"\{", "{").replace(r"\}", "}").format(**_FIELDS)) for text in texts]


def is_flat(names: Sequence[str]) -> bool:
    """Whether the names at the top of a file are those of a flat export."""
    return any(pattern.fullmatch(name) for name in names for pattern in key_patterns())


class FlatFile:
    """An open flat export; elements are known by their full names with ``_`` for ``/``."""

    kind = harvester.ContainerKind.FLAT
    format = "flat export (one histogram per element and lumisection)"

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root, self.path = root, path
        patterns = key_patterns()
        self._stored: dict[str, dict[tuple[int, int], Stored]] = {}
        self._names: dict[tuple[str, int, int], str] = {}
        source = root.file.source
        for _, key in walk_folders(source, top_folder(source), levels=1):  # the newest at the top
            match = next((fit for pattern in patterns if (fit := pattern.fullmatch(key.name))), None)
            if match:
                self._add(match, key)
        self.runs = tuple(sorted({run for places in self._stored.values() for run, _ in places}))
        self.elements: Mapping[str, harvester.Element] = {
            name: harvester.Element(name, next(iter(places.values())).classname, len(places))
            for name, places in sorted(self._stored.items())
        }

    def _add(self, match: re.Match[str], key: Key) -> None:
        run, lumisection, element = int(match["run"]), int(match["lumisection"]), match["element"].replace("/", "_")
        gathering.check_numbers(self.path, run, lumisection)
        other = self._names.setdefault((element, run, lumisection), key.name)
        if other != key.name:
            raise InputError(f"{self.path} has the keys {other} and {key.name} of the same element and lumisection.")
        stored = Stored(key.class_name, f"{key.name};{key.cycle}", key)
        self._stored.setdefault(element, {})[run, lumisection] = stored

    def element(self, name: str) -> harvester.Element | None:
        return self.elements.get(name.replace("/", "_"))

    def last_lumisection(self, definition: harvester.Definition) -> int:  # noqa: ARG002
        return max((ls for places in self._stored.values() for _, ls in places), default=0)

    def content(self, definition: harvester.Definition, within: range | None = None) -> harvester.FileContent:
        source = harvester.fitting(self, definition) or definition
        sections: dict[tuple[int, int], gathering.LumisectionCounts] = {}
        maps = []
        for number in dict.fromkeys(number for run in self.runs for number in gathering.maps_of(era_of_run(run))):
            places = self._stored.get(source.map_element(number).replace("/", "_"), {})
            for (run, ls), stored in places.items():
                if within is None or ls in within:
                    maps.append((sections.setdefault((run, ls), gathering.LumisectionCounts(run, ls)), number, stored))
        add_maps(self._root, maps, partial(source.words, self.path))
        return harvester.FileContent(self.path, definition, tuple(sections[place] for place in sorted(sections)))
