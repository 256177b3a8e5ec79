"""Harvested DQM files: folders ``DQMData/Run N/<subsystem>/{Run summary | By Lumi Section a-b}``.

Layout: CMSSW ``DQMServices/Core/src/LegacyIOHelper.cc``; file names: ``DQMFileSaverBase.cc``,
``DQMFileSaverOnline.cc`` (snapshots end in ``.root.ls<LS>_host<h>_pid<p>``) and ``DQMFileSaver.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, SUBDET_PM, era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest import gathering, harvester
from hcal_root_ad.harvest.depth_maps import KeyStock, Stored, add_maps
from hcal_root_ad.harvest.events import events_of
from hcal_root_ad.harvest.gathering import SATURATED, LumisectionCounts
from hcal_root_ad.harvest.harvester import ContainerKind, Definition, Element, FileContent, RunTotal
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.lumi_maps import CoarseMaps, EventSource
from hcal_root_ad.root_io.histogram_bytes import HistogramReader
from hcal_root_ad.root_io.layout import DIRECTORY_CLASSES, Key, walk_folders
from hcal_root_ad.root_io.records import LARGEST_ELEMENT, check_size
from hcal_root_ad.tables import shown

_SCALAR = re.compile(r"<(?P<name>[^>]*)>(?P<kind>[ifs])=(?P<text>.*)</(?P=name)>$", re.DOTALL)
_KINDS = {"i": "int", "f": "float", "s": "string"}
_LS_FOLDER = re.compile(r"By Lumi Section ?(.*)")


@dataclass(frozen=True)
class Scope:
    """A run summary (``first`` and ``last`` 0) or the lumisections of a folder."""

    run: int
    first: int = 0
    last: int = 0


Scopes = Mapping[Scope, Mapping[str, Stored]]
"""Elements by scope and full name."""


class DqmFolders:
    """The folders of an open file; each subsystem is listed once, when it is asked for."""

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root, self._path = root, path
        data = root["DQMData"]
        runs = [name for name in data.keys(recursive=False, cycle=False) if re.fullmatch(r"Run \d+", name)]
        self._subsystems = {int(name.removeprefix("Run ")): _folders(data[name]) for name in runs}
        self.runs = tuple(sorted(self._subsystems))
        for run in self.runs:
            gathering.check_numbers(path, run)
        self._listed: dict[tuple[int, str], Scopes] = {}

    def subsystems(self, run: int) -> tuple[str, ...]:
        """Subsystem folders of a run."""
        return tuple(self._subsystems[run])

    def scopes(self, run: int, subsystem: str) -> Scopes:
        """A subsystem's elements."""
        if (run, subsystem) not in self._listed:
            self._listed[run, subsystem] = self._list(run, subsystem) if subsystem in self._subsystems[run] else {}
        return self._listed[run, subsystem]

    def _list(self, run: int, subsystem: str) -> Scopes:
        scopes: dict[Scope, dict[str, Stored]] = {}
        of_folders: dict[str, Scope | None] = {}
        place = f"DQMData/Run {run}/{subsystem}"
        for path, key in walk_folders(self._root.file.source, self._subsystems[run][subsystem]):
            folder, _, inside = (path or key.name).partition("/")
            if folder not in of_folders:
                scope = of_folders[folder] = self._scope(run, folder)
                if scope in scopes:
                    other = next(name for name, another in of_folders.items() if another == scope)
                    raise InputError(f"{self._path} has the folders {other} and {folder} of the same lumisections.")
            if scope := of_folders[folder]:
                stored = scopes.setdefault(scope, {})
                if path and key.class_name not in DIRECTORY_CLASSES:
                    stored |= _stored(key, f"{subsystem}/{inside}".rstrip("/"), f"{place}/{path}")
        return scopes

    def _scope(self, run: int, folder: str) -> Scope | None:
        """What a folder stands for; None if neither for the run nor for lumisections. Raises InputError if it lies."""
        match = _LS_FOLDER.fullmatch(folder)
        if match is None:
            return Scope(run) if folder == "Run summary" else None
        numbers = re.fullmatch("([0-9]{1,18})-([0-9]{1,18})", match[1])
        if numbers is None:
            raise InputError(
                f"{self._path} has the folder {shown(folder)}; By Lumi Section and two numbers, as 12-12, was expected."
            )
        scope = Scope(run, int(numbers[1]), int(numbers[2]))
        gathering.check_numbers(self._path, run, scope.last)
        if not 0 < scope.first <= scope.last:
            raise InputError(f"{self._path} has the folder {folder}, which stands for no lumisections.")
        return scope

    def histogram(self, stored: Stored) -> Any:
        """One histogram, as uproot decodes it."""
        size = stored.key.object_size if stored.key else 0
        check_size(size, f"The {stored.classname} {stored.path}", LARGEST_ELEMENT)
        return self._root[stored.path]

    def _number(self, text: str) -> int:
        """What a scalar says. Raises InputError for what is no whole number."""
        number = float(text) if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text) else np.nan
        if not np.isfinite(number) or number != np.rint(number):
            raise InputError(f"{self._path} has an event counter that says {text[:40]!r}; a whole number was expected.")
        return int(number)

    def counts(self, elements: Sequence[Stored]) -> list[int | None]:
        """What elements count: the number that a scalar tells, or that of a histogram; None for one that is full."""
        counts = [None if element.key else self._number(element.text) for element in elements]
        for classname in {element.classname for element in elements if element.key}:
            places = [n for n, element in enumerate(elements) if element.key and element.classname == classname]
            reader = HistogramReader(KeyStock(self._root, [elements[n] for n in places]))
            read = reader.read(range(len(places)), [np.zeros(1, dtype=np.int64)] * len(places))
            for n, (bins,) in zip(places, read, strict=True):
                counts[n] = gathering.counter_of(bins.inside())
        return counts


def _folders(directory: Any) -> dict[str, Key]:
    """Keys of the folders in a folder, by name."""
    names = directory.keys(recursive=False, cycle=False, filter_classname="TDirectory*")
    return {name: _key(directory.key(name)) for name in names}


def _key(key: Any) -> Key:
    """A key that uproot read."""
    place = (key.fSeekKey, key.fNbytes, key.fKeylen, key.fObjlen, key.fCycle, key.fSeekPdir)
    return Key(*place, key.fClassName, key.fName)


def _stored(key: Key, folder: str, place: str) -> dict[str, Stored]:
    """An element by its full name; none for a text that is no scalar."""
    if key.class_name != "TObjString":
        return {f"{folder}/{key.name}": Stored(key.class_name, f"{place}/{key.name};{key.cycle}", key)}
    scalar = _SCALAR.match(key.name)
    return {f"{folder}/{scalar['name']}": Stored(_KINDS[scalar["kind"]], text=scalar["text"])} if scalar else {}


_SNAPSHOT_NAME = re.compile(r"^(?P<saver>.*)\.root\.ls(?P<ls>\d+)_(?P<host>.*)$")
_LS_NAME = re.compile(r"_L(\d+)\.root$")
_ONLINE_NAME = re.compile(r"_V\d+_[A-Za-z0-9]+_R\d+(_L\d+)?\.root$")


class DqmFile:
    """An open harvested DQM file."""

    kind = ContainerKind.DQM_FILE
    format = "harvested DQM file (folders as the DQM GUI shows them)"

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root, self.path = root, path
        self._folders = DqmFolders(root, path)
        self.runs = self._folders.runs
        self._elements_of: dict[str, Mapping[str, Element]] = {}
        self._counters_of: dict[tuple[str, ...], Mapping[Scope, int]] = {}

    @cached_property
    def elements(self) -> Mapping[str, Element]:
        """Elements of the subsystems whose name begins with Hcal; of all where there is none."""
        names = {name for run in self.runs for name in self._folders.subsystems(run)}
        chosen = {name for name in names if name.startswith("Hcal")} or names
        return {name: made for subsystem in sorted(chosen) for name, made in self._elements(subsystem).items()}

    def element(self, name: str) -> Element | None:
        return self._elements(name.split("/")[0]).get(name)

    def _elements(self, subsystem: str) -> Mapping[str, Element]:
        if subsystem not in self._elements_of:
            entries: dict[str, tuple[str, int]] = {}
            for run in self.runs:
                for scope, stored in self._folders.scopes(run, subsystem).items():
                    for name, entry in stored.items():
                        so_far = entries.get(name, (entry.classname, 0))[1]
                        entries[name] = (entry.classname, so_far + (scope.last > 0))
            self._elements_of[subsystem] = {name: Element(name, *entries[name]) for name in sorted(entries)}
        return self._elements_of[subsystem]

    def last_lumisection(self, definition: Definition) -> int:
        subsystem = (harvester.fitting(self, definition) or definition).subsystem
        return max((scope.last for run in self.runs for scope in self._folders.scopes(run, subsystem)), default=0)

    def content(self, definition: Definition, within: range | None = None) -> FileContent:
        source = harvester.fitting(self, definition) or definition
        sections = self._sections(source, within)
        has_maps = any(section.counts is not None for section in sections)
        return FileContent(
            path=self.path,
            definition=definition,
            sections=sections if has_maps else (),
            totals=() if has_maps else tuple(self._totals(source)),
            events_versus_ls={run: self._versus_ls(run, source, within)[0] for run in self.runs},
        )

    def _sections(self, definition: Definition, within: range | None) -> tuple[LumisectionCounts, ...]:
        scopes = [scope for run in self.runs for scope in self._folders.scopes(run, definition.subsystem)]
        chosen = [scope for scope in scopes if scope.last and (within is None or scope.last in within)]
        sections = {scope: LumisectionCounts(scope.run, scope.last, scope.first) for scope in chosen}
        self._fill(sections, definition)
        return tuple(s for s in sections.values() if s.counts is not None or s.first == s.lumisection)

    def _totals(self, definition: Definition) -> Iterator[RunTotal]:
        for run in self.runs:
            lumisection, naming = self._label(run, definition.subsystem)
            gathering.check_numbers(self.path, run, lumisection or 0)
            section = LumisectionCounts(run, lumisection or 0)
            self._fill({Scope(run): section}, definition)
            against_ls, beyond = self._versus_ls(run, definition)
            section.own_events = section.own_growth = sum(against_ls.values()) + beyond or section.own_events
            name = _SNAPSHOT_NAME.search(self.path.name)
            process = f"{name['saver']} {name['host']}" if name else ""
            yield RunTotal(section, self.path, lumisection, naming, process)

    def _label(self, run: int, subsystem: str) -> tuple[int | None, Literal["", "lumisection", "snapshot"]]:
        """The LS that the file was written for, and what its name promises: online jobs save all up to then."""
        name = self.path.name
        snapshot, per_ls, online = _SNAPSHOT_NAME.search(name), _LS_NAME.search(name), _ONLINE_NAME.search(name)
        if snapshot:
            return int(snapshot["ls"]), "snapshot"
        if per_ls:
            return int(per_ls[1]), "snapshot" if online else "lumisection"
        info = self._stored(Scope(run), subsystem).get(f"{subsystem}/EventInfo/iLumiSection")
        written_for = int(info.text) if info and re.fullmatch("[0-9]{1,9}", info.text) else None
        return written_for, "snapshot" if online else ""

    def _fill(self, sections: Mapping[Scope, LumisectionCounts], definition: Definition) -> None:
        """Give each section the maps and counters of its scope."""
        places = [
            (section, number, stored)
            for scope, section in sections.items()
            for number in gathering.maps_of(era_of_run(scope.run))
            if (stored := self._stored(scope, definition.subsystem).get(definition.map_element(number)))
        ]
        add_maps(self._root, places, partial(definition.words, self.path))
        for whose, patterns in (("own", definition.own_events), ("other", definition.other_events)):
            counted = self._counted(definition.expand(patterns))
            growth = gathering.growth_of_counter(
                {(s.run, s.last, 0): events for s, events in counted.items() if s.last}
            )
            for scope in counted.keys() & sections.keys():
                events = counted[scope]
                sections[scope].count(whose, events, growth[scope.run, scope.last, 0] if scope.last else events)

    def _counted(self, names: tuple[str, ...]) -> Mapping[Scope, int]:
        """Events that the first of the named elements holds, in all scopes: some count a job's events so far."""
        if names not in self._counters_of:
            subsystems = dict.fromkeys(name.split("/")[0] for name in names)
            scopes = [scope for run in self.runs for name in subsystems for scope in self._folders.scopes(run, name)]
            elements = {  # the first name comes last, and so stays
                scope: element
                for scope in scopes
                for name in reversed(names)
                if (element := self._stored(scope, name.split("/")[0]).get(name))
            }
            counts = zip(elements, self._folders.counts([*elements.values()]), strict=True)
            self._counters_of[names] = {scope: events for scope, events in counts if events is not None}
        return self._counters_of[names]

    def _stored(self, scope: Scope, subsystem: str) -> Mapping[str, Stored]:
        return self._folders.scopes(scope.run, subsystem).get(scope, {})

    def _versus_ls(self, run: int, definition: Definition, within: range | None = None) -> tuple[dict[int, int], int]:
        """HCAL's counter against the LS: the largest of the elements in each LS; and the events beyond the axes."""
        stored = self._stored(Scope(run), definition.subsystem)
        largest: dict[int, int] = {}
        beyond = 0
        for name in definition.expand(definition.events_versus_ls):
            if name in stored:
                histogram = self._folders.histogram(stored[name])
                words = gathering.where(self.path, name, run, 0)
                contents = harvester.entries_of_bins(histogram, stored[name].classname)
                beyond = max(beyond, gathering.check_events(float(contents[0] + contents[-1]), words))
                for ls, n in harvester.events_against_ls(contents[1:-1], histogram.axis().low, words).items():
                    if within is None or ls in within:
                        largest[ls] = max(n, largest.get(ls, 0))
        return largest, beyond

    def coarse(self, run: int, definition: Definition) -> tuple[CoarseMaps, list[LumisectionCounts], tuple[str, ...]]:
        """Strips per LS, totals and mean digis of a run, the LS that they stand for (without maps), and notes."""
        definition = harvester.fitting(self, definition) or definition
        stored = self._stored(Scope(run), definition.subsystem)
        strips, full = self._strips(run, stored, definition)
        events, beyond = self._versus_ls(run, definition)
        lumisections = sorted({*events, *(int(ls) for ls in np.flatnonzero(strips.any(axis=(1, 2))))})
        section = LumisectionCounts(run, 0)
        self._fill({Scope(run): section}, definition)
        whole, source, notes = _whole_run(section, sum(events.values()) + beyond, definition)
        if beyond:
            notes += (
                f"{beyond} events lie beyond LS {lumisections[-1] if lumisections else 0}, where the axes of LS end: "
                "those lumisections are in the totals only, and are not seen one by one.",
            )
        usable = section.counts is not None and section.complete and not section.doubts
        rows = gathering.table_of_run(run).rows_of(*definition.subdetectors)
        strip_element = definition.strips.format(subsystem=definition.subsystem, half="")
        maps = CoarseMaps(
            strips=_at(strips, lumisections) if len(strips) else None,
            totals=section.counts[rows].astype(np.int64) if usable and section.counts is not None else None,
            mean_digis=self._mean_digis(run, stored, definition, lumisections),
            strip_element=strip_element.rstrip("/") if len(strips) else "",
            total_element=definition.maps.format(subsystem=definition.subsystem, depth="").removesuffix("/depth"),
            missing=() if section.has_ho else ("HO",),
            events=whole,
            event_source=source,
        )
        sections = [LumisectionCounts(run, ls, doubts=(SATURATED,) * (ls in full)) for ls in lumisections]
        if not sections and usable:
            last = self._label(run, definition.subsystem)[0] or 1
            sections = [LumisectionCounts(run, last, 1, own_events=whole, own_growth=whole)]
            notes += ("No element against the LS tells which lumisections the totals hold.",)
        return maps, sections, notes

    def _strips(
        self, run: int, stored: Mapping[str, Stored], definition: Definition
    ) -> tuple[NDArray[np.int64], set[int]]:
        """Counts by LS number (0 … last; none without strips), half and iphi, and LS with contents at a ceiling."""
        strips, full = np.zeros((0, len(SUBDET_PM), N_IPHI), dtype=np.int64), set[int]()
        for half, half_name in enumerate(SUBDET_PM):
            name = definition.strips.format(subsystem=definition.subsystem, half=half_name)
            if name not in stored:
                continue
            words = gathering.where(self.path, name, run, 0)
            histogram = self._folders.histogram(stored[name])
            contents = histogram.values()
            values = gathering.whole_numbers(contents, words)
            first = harvester.first_lumisection(histogram.axis(0).low, len(values), words)
            if values.shape[1] != N_IPHI or histogram.axis(0).width != 1:
                raise InputError(f"{words} has {values.shape[1]} iphi bins; LS × 72 were expected.")
            missing = first + len(values) - len(strips)
            strips = np.pad(strips, ((0, max(missing, 0)), (0, 0), (0, 0)))
            strips[first : first + len(values), half] = values
            full |= {
                first + int(n) for n in np.flatnonzero((contents >= gathering.ceiling(contents.dtype)).any(axis=1))
            }
        return strips, full

    def _mean_digis(
        self, run: int, stored: Mapping[str, Stored], definition: Definition, lumisections: list[int]
    ) -> NDArray[np.float64] | None:
        means = np.full((len(lumisections), 2), np.nan)
        for column, subdetector in enumerate(("HB", "HE")):
            name = definition.mean_digis.format(subsystem=definition.subsystem, subdetector=subdetector)
            if name not in stored:
                continue
            profile = self._folders.histogram(stored[name])
            filled = np.asarray(profile.member("fBinEntries")[1:-1]) > 0
            first = harvester.first_lumisection(
                profile.axis().low, len(filled), gathering.where(self.path, name, run, 0)
            )
            by_ls = {first + int(n): float(profile.values()[n]) for n in np.flatnonzero(filled)}
            means[:, column] = [by_ls.get(ls, np.nan) for ls in lumisections]
        return means if np.isfinite(means).any() else None


def _whole_run(
    section: LumisectionCounts, against_ls: int, definition: Definition
) -> tuple[int, EventSource, tuple[str, ...]]:
    """Events of run totals, who counted them, and notes; totals that no counter fits are doubted."""
    info = section.own_events
    section.own_events = section.own_growth = against_ls or info
    counted = events_of([section], {} if info is None else {0: info}, definition.hf_holds_events)
    notes = tuple(note.replace("LS 0", "the run totals") for note in counted.notes)
    if counted.contradicted[0]:
        section.doubt("the event counter and the maps contradict each other")
    notes += tuple(f"The run totals were not used: {doubt}." for doubt in section.doubts)
    return int(counted.events[0]), EventSource(int(counted.sources[0])), notes


def _at(strips: NDArray[np.int64], lumisections: list[int]) -> NDArray[np.int64]:
    """Strips of the given LS, zero beyond the axis."""
    reach = max([*lumisections, 0]) + 1 - len(strips)
    return np.pad(strips, ((0, max(reach, 0)), (0, 0), (0, 0)))[lumisections]
