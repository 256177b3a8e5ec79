"""Harvested DQM files: folders ``DQMData/Run N/<subsystem>/{Run summary | By Lumi Section a-b}``.

Layout: CMSSW ``DQMServices/Core/src/LegacyIOHelper.cc``; file names: ``DQMFileSaverBase.cc``,
``DQMFileSaverOnline.cc`` (snapshots end in ``.root.ls<LS>_host<h>_pid<p>``) and ``DQMFileSaver.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, SUBDET_PM, era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.container import Element, FileContent, RunTotal, events_against_ls, fitting_subsystem
from hcal_root_ad.harvest.definition import ContainerKind, Definition
from hcal_root_ad.harvest.input_file import source_of
from hcal_root_ad.harvest.section import Section, needed_depths, table_of_run, where, whole_numbers
from hcal_root_ad.lumi_maps import CoarseMaps

_SCALAR = re.compile(r"<(?P<name>[^>]*)>(?P<kind>[ifs])=(?P<text>.*)</(?P=name)>$", re.DOTALL)
_LS_FOLDER = re.compile(r"By Lumi Section (\d+)-(\d+)$")
_SNAPSHOT_NAME = re.compile(r"\.root\.ls(\d+)_")
_LS_NAME = re.compile(r"_L(\d+)\.root$")
_ONLINE_NAME = re.compile(r"_V\d+_[A-Za-z0-9]+_R\d+(_L\d+)?\.root$")


@dataclass(frozen=True)
class Scope:
    """A run summary (``first`` and ``last`` 0) or the lumisections of a folder."""

    run: int
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class _Stored:
    """Where an element is: its folder and key, or the text of a scalar."""

    classname: str
    folder: Any = None
    key: str = ""
    text: str = ""


class DqmFile:
    """An open harvested DQM file."""

    kind = ContainerKind.DQM_FILE
    format = "harvested DQM file (folders as the DQM GUI shows them)"

    def __init__(self, root: Any, path: Path) -> None:
        self.path = path
        self._data = root["DQMData"]
        self._run_folders = {
            int(name.removeprefix("Run ")): self._data[name]
            for name in self._data.keys(recursive=False, cycle=False)
            if re.fullmatch(r"Run \d+", name)
        }
        self.runs = tuple(sorted(self._run_folders))
        self._elements_of: dict[str, Mapping[str, Element]] = {}
        self._listed: dict[tuple[int, str], dict[Scope, dict[str, _Stored]]] = {}

    def subsystems(self, run: int) -> tuple[str, ...]:
        """Subsystem folders of a run."""
        return tuple(self._run_folders[run].keys(recursive=False, cycle=False, filter_classname="TDirectory*"))

    def scopes(self, run: int, subsystem: str) -> Mapping[Scope, Mapping[str, _Stored]]:
        """A subsystem's elements by scope, each folder listed once."""
        if (run, subsystem) not in self._listed:
            self._listed[run, subsystem] = dict(self._list(run, subsystem))
        return self._listed[run, subsystem]

    def _list(self, run: int, subsystem: str) -> Iterator[tuple[Scope, dict[str, _Stored]]]:
        if subsystem not in self.subsystems(run):
            return
        folder = self._run_folders[run][subsystem]
        for name in folder.keys(recursive=False, cycle=False, filter_classname="TDirectory*"):
            match = _LS_FOLDER.fullmatch(name)
            if match or name == "Run summary":
                span = (int(match[1]), int(match[2])) if match else (0, 0)
                yield Scope(run, *span), dict(_walk(folder[name], subsystem))

    @cached_property
    def elements(self) -> Mapping[str, Element]:
        """Elements of the subsystems whose name begins with Hcal; of all where there is none."""
        names = {name for run in self.runs for name in self.subsystems(run)}
        chosen = {name for name in names if name.startswith("Hcal")} or names
        return {name: made for subsystem in sorted(chosen) for name, made in self._elements(subsystem).items()}

    def element(self, name: str) -> Element | None:
        return self._elements(name.split("/")[0]).get(name)

    def _elements(self, subsystem: str) -> Mapping[str, Element]:
        if subsystem not in self._elements_of:
            seen: dict[str, tuple[str, int]] = {}
            for run in self.runs:
                for scope, stored in self.scopes(run, subsystem).items():
                    for name, entry in stored.items():
                        so_far = seen.get(name, (entry.classname, 0))[1]
                        seen[name] = (entry.classname, so_far + (scope.last > 0))
            self._elements_of[subsystem] = {name: Element(name, *seen[name]) for name in sorted(seen)}
        return self._elements_of[subsystem]

    def content(self, definition: Definition) -> FileContent:
        subsystem = fitting_subsystem(self, definition) or definition.subsystems[0]
        sections = tuple(self._sections(definition, subsystem))
        has_maps = any(section.counts is not None for section in sections)
        return FileContent(
            path=self.path,
            source=source_of(self.path),
            definition=definition,
            sections=sections if has_maps else (),
            totals=() if has_maps else tuple(self._totals(definition, subsystem)),
            events_versus_ls={run: self.events_versus_ls(run, definition, subsystem) for run in self.runs},
        )

    def _sections(self, definition: Definition, subsystem: str) -> Iterator[Section]:
        for run in self.runs:
            for scope in self.scopes(run, subsystem):
                if scope.last:
                    section = Section(run, scope.last, scope.first)
                    self._fill(section, scope, definition, subsystem)
                    if section.counts is not None or scope.first == scope.last:
                        yield section

    def _totals(self, definition: Definition, subsystem: str) -> Iterator[RunTotal]:
        for run in self.runs:
            lumisection, naming = self._label(run, subsystem)
            section = Section(run, lumisection or 0)
            self._fill(section, Scope(run), definition, subsystem)
            counted = sum(self.events_versus_ls(run, definition, subsystem).values())
            section.own_events = counted or section.own_events
            yield RunTotal(section, self.path, lumisection, naming)

    def _label(self, run: int, subsystem: str) -> tuple[int | None, Literal["", "lumisection", "snapshot"]]:
        """The LS that the file was written for, and what its name promises: online jobs save all up to then."""
        name = self.path.name
        snapshot, per_ls, online = _SNAPSHOT_NAME.search(name), _LS_NAME.search(name), _ONLINE_NAME.search(name)
        if snapshot:
            return int(snapshot[1]), "snapshot"
        if per_ls:
            return int(per_ls[1]), "snapshot" if online else "lumisection"
        info = self.scopes(run, subsystem).get(Scope(run), {}).get(f"{subsystem}/EventInfo/iLumiSection")
        return int(info.text) if info and info.text.isdigit() else None, "snapshot" if online else ""

    def _fill(self, section: Section, scope: Scope, definition: Definition, subsystem: str) -> None:
        """Give a section the maps and counters of a scope."""
        stored = self.scopes(section.run, subsystem).get(scope, {})
        for depth in needed_depths(era_of_run(section.run)):
            name = definition.map_element(subsystem, depth)
            if name in stored:
                words = where(self.path, name, section.run, section.lumisection)
                section.add_map(depth, _values(stored[name], words), words)
        section.own_events = self._counter(stored, definition.expand(definition.own_events, subsystem))
        for name in definition.expand(definition.other_events, subsystem):
            elsewhere = self.scopes(section.run, name.split("/")[0]).get(scope, {})
            section.other_events = section.other_events or self._counter(elsewhere, (name,))

    def _counter(self, stored: Mapping[str, _Stored], names: tuple[str, ...]) -> int | None:
        """Events that the first of the named elements holds."""
        for name in names:
            if name in stored:
                entry = stored[name]
                if entry.text:
                    return int(float(entry.text))
                return round(float(entry.folder[entry.key].values().sum()))
        return None

    def events_versus_ls(self, run: int, definition: Definition, subsystem: str) -> dict[int, int]:
        """HCAL's counter against the LS: the largest of the elements in each LS."""
        stored = self.scopes(run, subsystem).get(Scope(run), {})
        largest: dict[int, int] = {}
        for name in definition.expand(definition.events_versus_ls, subsystem):
            if name in stored:
                histogram = stored[name].folder[stored[name].key]
                profile = stored[name].classname == "TProfile"
                contents = histogram.member("fBinEntries")[1:-1] if profile else histogram.values()
                for ls, n in events_against_ls(contents, histogram.axis().low).items():
                    largest[ls] = max(n, largest.get(ls, 0))
        return largest

    def coarse(self, run: int, definition: Definition, events: Mapping[int, int]) -> tuple[CoarseMaps, list[int]]:
        """Strips per LS, totals and mean digis of a run, and the LS that they stand for."""
        subsystem = fitting_subsystem(self, definition) or definition.subsystems[0]
        stored = self.scopes(run, subsystem).get(Scope(run), {})
        strips = self._strips(run, stored, definition, subsystem)
        lumisections = sorted({*events, *(int(ls) for ls in np.flatnonzero(strips.any(axis=(1, 2))))})
        section = Section(run, 0)
        self._fill(section, Scope(run), definition, subsystem)
        rows = table_of_run(run).rows_of("HB", "HE")
        maps = CoarseMaps(
            strips=_at(strips, lumisections) if len(strips) else None,
            totals=section.counts[rows].astype(np.int64) if section.counts is not None and section.complete else None,
            mean_digis=self._mean_digis(stored, definition, subsystem, lumisections),
            strip_element=definition.strips.format(subsystem=subsystem, half="").rstrip("/") if len(strips) else "",
            total_element=definition.maps.format(subsystem=subsystem, depth="").removesuffix("/depth"),
        )
        return maps, lumisections

    def _strips(
        self, run: int, stored: Mapping[str, _Stored], definition: Definition, subsystem: str
    ) -> NDArray[np.int64]:
        """Counts by LS number (0 … last), half and iphi; no LS where the file has no strips."""
        strips = np.zeros((0, len(SUBDET_PM), N_IPHI), dtype=np.int64)
        for half, half_name in enumerate(SUBDET_PM):
            name = definition.strips.format(subsystem=subsystem, half=half_name)
            if name not in stored:
                continue
            words = where(self.path, name, run, 0)
            histogram = stored[name].folder[stored[name].key]
            values = whole_numbers(histogram.values(), words)
            first = int(np.ceil(histogram.axis(0).low))
            if values.shape[1] != N_IPHI or histogram.axis(0).width != 1:
                raise InputError(f"{words} has {values.shape[1]} iphi bins; LS × 72 were expected.")
            missing = first + len(values) - len(strips)
            strips = np.pad(strips, ((0, max(missing, 0)), (0, 0), (0, 0)))
            strips[first : first + len(values), half] = values
        return strips

    def _mean_digis(
        self, stored: Mapping[str, _Stored], definition: Definition, subsystem: str, lumisections: list[int]
    ) -> NDArray[np.float64] | None:
        means = np.full((len(lumisections), 2), np.nan)
        for column, subdetector in enumerate(("HB", "HE")):
            name = definition.mean_digis.format(subsystem=subsystem, subdetector=subdetector)
            if name not in stored:
                continue
            profile = stored[name].folder[stored[name].key]
            filled = np.asarray(profile.member("fBinEntries")[1:-1]) > 0
            first = int(np.ceil(profile.axis().low))
            by_ls = {first + int(n): float(profile.values()[n]) for n in np.flatnonzero(filled)}
            means[:, column] = [by_ls.get(ls, np.nan) for ls in lumisections]
        return means if np.isfinite(means).any() else None


def _at(strips: NDArray[np.int64], lumisections: list[int]) -> NDArray[np.int64]:
    """Strips of the given LS, zero beyond the axis."""
    reach = max([*lumisections, 0]) + 1 - len(strips)
    return np.pad(strips, ((0, max(reach, 0)), (0, 0), (0, 0)))[lumisections]


def _values(entry: _Stored, words: str) -> NDArray[np.generic]:
    if not entry.classname.startswith("TH2"):
        raise InputError(f"{words} is a {entry.classname or 'scalar'}; a TH2 was expected.")
    values: NDArray[np.generic] = entry.folder[entry.key].values()
    return values


def _walk(folder: Any, prefix: str) -> Iterator[tuple[str, _Stored]]:
    """All elements below a folder by full name; scalars carry their text."""
    for key, classname in folder.iterclassnames(recursive=False, cycle=False):
        if classname.startswith("TDirectory"):
            yield from _walk(folder[key], f"{prefix}/{key}")
        elif classname == "TObjString":
            scalar = _SCALAR.match(key)
            if scalar:
                yield f"{prefix}/{scalar['name']}", _Stored({"i": "int", "f": "float", "s": "string"}[scalar["kind"]],
                                                            text=scalar["text"])  # fmt: skip
        else:
            yield f"{prefix}/{key}", _Stored(classname, folder, key)
