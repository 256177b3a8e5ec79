"""What every kind of file offers the harvest: its monitor elements, and what a definition finds in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.definition import ContainerKind, Definition
from hcal_root_ad.harvest.input_file import InputFile
from hcal_root_ad.harvest.section import LAST_LUMISECTION, Section, check_events, needed_depths


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

    section: Section
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
    sections: tuple[Section, ...]
    totals: tuple[RunTotal, ...] = ()
    events_versus_ls: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    datasets: Mapping[int, str] = field(default_factory=dict)


class Container(Protocol):
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


def fitting_subsystem(container: Container, definition: Definition) -> str | None:
    """The first accepted subsystem folder that has the map of every depth that the runs need."""
    if not container.runs or any(era_of_run(run) not in definition.eras for run in container.runs):
        return None
    depths = {depth for run in container.runs for depth in needed_depths(era_of_run(run))}
    for subsystem in definition.subsystems:
        enough = any if container.kind is ContainerKind.FLAT else all  # one element per file, perhaps
        if enough(container.element(definition.map_element(subsystem, depth)) for depth in depths):
            return subsystem
    return None


def entries_of_bins(histogram: Any, classname: str) -> NDArray[np.float64]:
    """Events in the bins of an element against the LS, under- and overflow included."""
    bins = histogram.member("fBinEntries") if classname == "TProfile" else histogram.values(flow=True)
    return np.asarray(bins, dtype=np.float64)


def events_against_ls(contents: NDArray[np.generic], low_edge: float, words: str) -> dict[int, int]:
    """Events by LS from the bins of an element whose axis is the LS, one bin per LS.

    ``low_edge`` is the lower edge of the first bin: 1 as HCAL books it, 0.5 where bins are centred. ``words`` name the
    element for errors.

    Raises:
        InputError: bins that cannot hold events, or are no lumisections.
    """
    first = first_lumisection(low_edge, len(contents), words)
    filled = np.flatnonzero(np.asarray(contents))
    events = {first + int(n): check_events(float(contents[n]), words) for n in filled}
    return {ls: number for ls, number in events.items() if number}


def first_lumisection(low_edge: float, bins: int, words: str) -> int:
    """The lumisection of the first of so many bins of an axis.

    Raises:
        InputError: bins that are no lumisections.
    """
    if not 0 <= low_edge <= LAST_LUMISECTION + 1 - bins:
        raise InputError(f"{words} has {bins} bins from {low_edge:g} on, which cannot be lumisections.")
    return int(np.ceil(low_edge))
