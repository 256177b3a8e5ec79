"""Harvester definitions, and what every kind of file offers them: which elements hold the counts and the events.

A definition is a TOML file in ``harvesters/``; a new source of maps per lumisection is one new file
there. In the path patterns, ``{subsystem}`` stands for one of ``subsystems``, ``{depth}`` for the
depth (``HO`` for the map of HO), ``{half}`` for HBM, HBP, HEM, HEP, and ``{subdetector}`` for HB, HE, HO, HF.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad import content
from hcal_root_ad.content import check_keys, nearest, structure
from hcal_root_ad.detector import HO_MAP, Era, Subdetector, era_of_run
from hcal_root_ad.errors import DefinitionError, InputError
from hcal_root_ad.harvest import gathering
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.tables import read_toml, shown


class ContainerKind(StrEnum):
    """Kinds of file that maps come in."""

    DQMIO = "dqmio"
    DQM_FILE = "dqm_file"
    HCALANALYZER = "hcalanalyzer"
    DIALS = "dials"
    FLAT = "flat"


@dataclass(frozen=True)
class Definition:
    """One source of HCAL maps.

    Attributes:
        name: name of the file, without ``.toml``.
        container: kind of file.
        quantity: what the maps count, for example ``Occupancy``; ``--definition`` takes it as well.
        description: one line for people.
        maps: path pattern of the map of a depth.
        subsystems: names that the subsystem folder may have, best first.
        eras: eras that have these maps.
        subdetectors: sub-detectors that the maps hold.
        rank: where several definitions fit a file, the lowest rank is taken.
        hf_holds_events: whether HF channels count every event (not so where a charge cut is made).
        cumulative: whether files of one run with LS numbers are snapshots that grow; if absent, their names say so.
        own_events: elements with HCAL's own event count, of the LS (or run) that they stand in.
        events_versus_ls: elements with HCAL's own event count against the LS; the entries of a profile's bins.
        other_events: elements with another subsystem's count.
        event_tree: tree with one row per event.
        strips: path pattern of LS × iphi maps of a half sub-detector.
        columns: of a parquet table, those of the element, the run, the lumisection and the contents.
        keys: pattern of the keys of a flat ROOT file, with ``{run}``, ``{lumisection}`` and ``{element}``.
        mean_digis: path pattern of a sub-detector's profile of digis per event against the LS.
    """

    name: str
    container: ContainerKind
    quantity: str
    description: str
    maps: str
    subsystems: tuple[str, ...] = ("Hcal",)
    eras: tuple[Era, ...] = tuple(Era)
    subdetectors: tuple[str, ...] = tuple(Subdetector.__members__)
    rank: int = 10
    hf_holds_events: bool = False
    cumulative: bool | None = None
    own_events: tuple[str, ...] = ()
    events_versus_ls: tuple[str, ...] = ()
    other_events: tuple[str, ...] = ()
    event_tree: str = ""
    strips: str = ""
    mean_digis: str = ""
    columns: tuple[str, ...] = ()
    keys: str = ""

    @property
    def subsystem(self) -> str:
        """The subsystem folder: the best, or the one that :func:`fitting` chose."""
        return self.subsystems[0]

    def map_element(self, number: int) -> str:
        """Path of the map of a depth, or of HO's map (:data:`~hcal_root_ad.detector.HO_MAP`)."""
        return self.maps.format(subsystem=self.subsystem, depth="HO" if number == HO_MAP else number)

    def words(self, path: InputFile, section: gathering.LumisectionCounts, number: int) -> str:
        """Words for errors: which map of which file."""
        return gathering.where(path, self.map_element(number), section.run, section.lumisection)

    def expand(self, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Paths of event counters; a pattern with ``{subdetector}`` stands for HB, HE, HF and HO."""
        names = ("HB", "HE", "HF", "HO")
        paths = (p.format(subsystem=self.subsystem, subdetector=name) for p in patterns for name in names)
        return tuple(dict.fromkeys(paths))


KEYS = tuple(f.name for f in fields(Definition) if f.name != "name")
_PLACEHOLDERS = {
    "maps": {"subsystem", "depth"},
    "strips": {"subsystem", "half"},
    "mean_digis": {"subsystem", "subdetector"},
    "own_events": {"subsystem", "subdetector"},
    "events_versus_ls": {"subsystem", "subdetector"},
    "other_events": {"subsystem"},
    "keys": {"run", "lumisection", "element"},
}
_NEEDED = {"maps": "depth", "strips": "half", "mean_digis": "subdetector"}
"""Without it, one element would stand for all depths, halves or sub-detectors."""


def read_definition(path: Path) -> Definition:
    """Read and check one definition file.

    Raises:
        DefinitionError: not TOML, a key that is unknown, missing or of a wrong type, a pattern with other placeholders.
    """
    table, origin = read_toml(path, "definition", DefinitionError), f"The definition {path}"
    check_keys(table, KEYS, origin, DefinitionError)
    definition = structure({"name": path.stem, **table}, Definition, origin, DefinitionError)
    for key in ("eras", "subsystems", "subdetectors"):
        if not getattr(definition, key):
            raise DefinitionError(f"{origin} says {key} = []; leave it out, or name some.")
    if not {*definition.subdetectors} <= {*Subdetector.__members__}:
        expected = ", ".join(Subdetector.__members__)
        raise DefinitionError(f"{origin} says subdetectors = {[*definition.subdetectors]}; known are {expected}.")
    for key, allowed in _PLACEHOLDERS.items():
        patterns = getattr(definition, key)
        for pattern in (patterns,) if isinstance(patterns, str) else patterns:
            _check_pattern(pattern, key, allowed, origin)
    return definition


@lru_cache(maxsize=64)
def _as_stored(path: Path, _changed: int) -> Definition:
    """The definition in a file, which is read again only once it has changed: every input asks for all of them."""
    return read_definition(path)


def _check_pattern(pattern: str, key: str, allowed: Collection[str], origin: str) -> None:
    """Raises DefinitionError where a pattern holds anything but the plain placeholders of its key."""
    try:
        fields = [field for field in Formatter().parse(pattern) if field[1] is not None]
    except ValueError:
        fields = [("", None, None, None)]
    plain = all(name in allowed and not form and conversion is None for _, name, form, conversion in fields)
    needed = _NEEDED.get(key)
    if not plain or not pattern.isprintable():
        words = ", ".join(f"{{{name}}}" for name in sorted(allowed))
        raise DefinitionError(f"{origin} has {key} = {shown(pattern)}; it may hold {words} only.")
    if pattern and needed and needed not in [name for _, name, _, _ in fields]:
        raise DefinitionError(f"{origin} has {key} = {shown(pattern)}, which lacks {{{needed}}}.")


def load_definitions() -> tuple[Definition, ...]:
    """All definitions, by rank and name; a definition of the user hides a shipped one of the same name."""
    paths = (content.find("harvesters", name) for name in content.names("harvesters", "*.toml"))
    definitions = (_as_stored(path, path.stat().st_mtime_ns) for path in paths if path is not None)
    return tuple(sorted(definitions, key=lambda definition: (definition.rank, definition.name)))


def choose_definitions(request: str | None) -> tuple[Definition, ...]:
    """The definitions that a request allows: all, or those of that name or quantity.

    Raises:
        DefinitionError: there is none; the message names the nearest.
    """
    definitions = load_definitions()
    if request is None:
        return definitions
    chosen = tuple(d for d in definitions if request in (d.name, d.quantity))
    if not chosen:
        names = {d.name for d in definitions} | {d.quantity for d in definitions}
        like = nearest(request, names)
        hint = f"the nearest known one is {like[0]!r}" if like else "no definitions were found at all"
        raise DefinitionError(f"There is no harvester definition {request!r}; {hint}.")
    return chosen


@dataclass(frozen=True)
class Element:
    """A monitor element: its class and in how many lumisections it is (0: for the whole run)."""

    name: str
    classname: str
    lumisections: int


@dataclass(frozen=True, eq=False)
class RunTotal:
    """Maps that a file holds for "the run": all of it, one lumisection, or all up to a snapshot.

    ``lumisection`` is None where neither the file's name nor the file says which LS it was
    written for; ``naming`` says what the name promises. ``process``: the job that saved it, where the name says.
    """

    section: gathering.LumisectionCounts
    path: InputFile
    lumisection: int | None
    naming: Literal["", "lumisection", "snapshot"]
    process: str = ""


@dataclass(frozen=True, eq=False)
class FileContent:
    """What a definition found in a file.

    ``events_versus_ls`` is HCAL's own counter by run and LS; ``datasets`` the dataset of each run, where the file says.
    """

    path: InputFile
    definition: Definition
    sections: tuple[gathering.LumisectionCounts, ...]
    totals: tuple[RunTotal, ...] = ()
    events_versus_ls: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    datasets: Mapping[int, str] = field(default_factory=dict)

    @property
    def all_sections(self) -> tuple[gathering.LumisectionCounts, ...]:
        """Those of lumisections, and those of totals."""
        return (*self.sections, *(total.section for total in self.totals))


class Reader(Protocol):
    """An open input file."""

    kind: ContainerKind
    path: InputFile
    format: str
    runs: tuple[int, ...]

    @property
    def elements(self) -> Mapping[str, Element]:
        """HCAL's monitor elements (all elements where the file has none of HCAL) by name."""

    def element(self, name: str) -> Element | None:
        """The element of that name, found without listing everything."""

    def last_lumisection(self, definition: Definition) -> int:
        """Highest lumisection that the file knows of; 0 where it holds the run only."""

    def content(self, definition: Definition, within: range | None = None) -> FileContent:
        """All that the definition finds, or only what is of lumisections ``within``."""


def fitting(container: Reader, definition: Definition) -> Definition | None:
    """The definition with the first accepted subsystem folder that has the map of every depth that the runs need."""
    if not container.runs or any(era_of_run(run) not in definition.eras for run in container.runs):
        return None
    depths = {depth for run in container.runs for depth in gathering.needed_depths(era_of_run(run))}
    enough = any if container.kind is ContainerKind.FLAT else all  # one element per file, perhaps
    for subsystem in definition.subsystems:
        chosen = replace(definition, subsystems=(subsystem,))
        if enough(container.element(chosen.map_element(depth)) for depth in depths):
            return chosen
    return None


def entries_of_bins(histogram: Any, classname: str) -> NDArray[np.float64]:
    """Events in the bins of an element against the LS, under- and overflow included; 0 where a bin is full."""
    bins = np.asarray(histogram.member("fBinEntries") if classname == "TProfile" else histogram.values(flow=True))
    return np.where(bins < gathering.ceiling(bins.dtype), bins, 0).astype(np.float64)


def events_against_ls(contents: NDArray[np.generic], low_edge: float, words: str) -> dict[int, int]:
    """Events by LS from the bins of an element whose axis is the LS, one bin per LS.

    ``low_edge`` is the lower edge of the first bin: 1 as HCAL books it, 0.5 where bins are centred. ``words`` name the
    element for errors.

    Raises:
        InputError: bins that cannot hold events, or are no lumisections.
    """
    first = first_lumisection(low_edge, len(contents), words)
    filled = np.flatnonzero(np.asarray(contents))
    events = {first + int(n): gathering.check_events(float(contents[n]), words) for n in filled}
    return {ls: number for ls, number in events.items() if number}


def first_lumisection(low_edge: float, bins: int, words: str) -> int:
    """The lumisection of the first of so many bins of an axis.

    Raises:
        InputError: bins that are no lumisections.
    """
    if not 0 <= low_edge <= gathering.LAST_LUMISECTION + 1 - bins:
        raise InputError(f"{words} has {bins} bins from {low_edge:g} on, which cannot be lumisections.")
    return int(np.ceil(low_edge))
