"""``LumiMaps``: what a harvester returns and everything else reads; and lumisections as ranges.

A range is ``(first, last)`` with both ends in: made from numbers, turned back to numbers, and written as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI, ChannelTable, Subdetector
from hcal_root_ad.errors import OutputError, UsageError
from hcal_root_ad.files import whole_file
from hcal_root_ad.histograms import Names, Numbers, channel_histogram, chosen, chosen_channels
from hcal_root_ad.machine import iter_chunks

if TYPE_CHECKING:
    from hist import Hist


Range = tuple[int, int]
Key = TypeVar("Key")


def ranges_of(lumisections: Iterable[int]) -> list[Range]:
    """Ascending ranges that hold exactly these lumisections; adjacent ones are merged."""
    return [(first, last) for first, last, _ in stretches((ls, None) for ls in sorted(set(map(int, lumisections))))]


def stretches(labelled: Iterable[tuple[int, Key]]) -> Iterator[tuple[int, int, Key]]:
    """First and last of consecutive lumisections with equal labels, from ascending (LS, label) pairs."""
    numbered = ((ls, label, ls - place) for place, (ls, label) in enumerate(labelled))
    for (label, _), same in groupby(numbered, key=lambda row: (row[1], row[2])):
        lumisections = [ls for ls, _, _ in same]
        yield lumisections[0], lumisections[-1], label


def union(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that overlap or touch made one."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def within(lumisections: ArrayLike, ranges: Sequence[Range]) -> NDArray[np.bool_]:
    """Which lumisections lie in one of the ranges."""
    numbers = np.asarray(lumisections)
    inside = np.zeros(numbers.shape, dtype=np.bool_)
    for first, last in ranges:
        inside |= (numbers >= first) & (numbers <= last)
    return inside


def listed(ranges: Sequence[Range], most: int | None = 12) -> str:
    """Ranges as text, such as ``3–7, 9 and 4 more``."""
    shown = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ranges[:most])
    hidden = 0 if most is None else len(ranges) - most
    return f"{shown} and {hidden} more" if hidden > 0 else shown or "none"


def ls_ranges(lumisections: ArrayLike) -> str:
    """All lumisections for people, for example ``LS 3, 5–8``."""
    return f"LS {listed(ranges_of(np.asarray(lumisections, dtype=np.int64).tolist()), most=None)}"


_OUTER = {"HO": (1, 15, 1), "HF": (29, 41, 4)}
"""Nearest and furthest |ieta| and number of depths of the sub-detectors outside of the HB+HE grid."""


class EventSource(IntEnum):
    """Where the number of events of a lumisection comes from, best first."""

    NONE = 0
    COUNTER = 1
    """HCAL's own counter: ``NumberOfEvents`` or the bin entries of ``OccupancyvsLS``."""
    OTHER_SUBSYSTEM = 2
    """Another subsystem's counter, for example ``Ecal/EventInfo/processedEvents``."""
    HF_PLATEAU = 3
    """HF is read out in every event, so its live channels hold the event count."""
    ESTIMATE = 4
    """From the occupancy itself; good to some percent."""


@dataclass(frozen=True)
class Source:
    """An input file as it was read; without a digest where it was read through the network, in parts."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, eq=False)
class CoarseMaps:
    """What an ordinary harvested file holds: strips per lumisection and channels per run.

    ``strips``: (LS, 4, 72) counts per HBM, HBP, HEM, HEP and iphi, or None. ``totals``:
    (channels,) counts of the whole run, or None; meaningless for the sub-detectors ``missing`` from
    the file. ``strip_element`` and ``total_element`` name the monitor elements. ``mean_digis``:
    (LS, 2) mean digis per event of HB and HE, NaN where unknown. ``events``: of the totals, which may
    hold more lumisections than the elements against the LS do (None: the sum of these);
    ``event_source`` who counted them.
    """

    strips: NDArray[np.int64] | None
    totals: NDArray[np.int64] | None
    mean_digis: NDArray[np.float64] | None = None
    strip_element: str = ""
    total_element: str = ""
    missing: tuple[str, ...] = ()
    events: int | None = None
    event_source: EventSource = EventSource.NONE


@dataclass(frozen=True, eq=False)
class LumiMaps:
    """Digi counts per lumisection and channel, of one run, LS ascending and unique.

    Attributes:
        run: run number.
        channels: the run's era's rows of the sub-detectors that the source may hold, in the order HB,
            HE, HO, HF (columns of ``counts``). HcalAnalyzer files hold HB and HE only.
        lumisections: (LS,) int32.
        events: (LS,) int64 events in each LS; 0 with source NONE where unknown.
        event_source: (LS,) uint8, values of :class:`EventSource`.
        counts: (LS, channels) int32 digis; meaningless where ``present`` is False.
        present: (LS,) whether the LS came with HCAL maps per channel. An LS without them is not
            assessed; it is not a lumisection with zero counts. See :meth:`present_of`.
        definition: name of the harvester definition that was used.
        sources: the files.
        notes: sentences on what was skipped, summed or found strange.
        coarse: strips and run totals, where the file has no maps per LS (then ``present`` is all False).
        missing: (LS,) for a sub-detector, where its element did not come although others did (HO has a
            map of its own); a sub-detector that is not named lacks none.
    """

    run: int
    channels: ChannelTable
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    event_source: NDArray[np.uint8]
    counts: NDArray[np.int32]
    present: NDArray[np.bool_]
    definition: str
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    coarse: CoarseMaps | None = None
    missing: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many lumisections."""
        return len(self.lumisections)

    def __iter__(self) -> Iterator[LumiMaps]:
        """The lumisections one by one, each as maps of its own."""
        return (self.rows(slice(row, row + 1)) for row in range(len(self)))

    def __getitem__(self, position: int | slice) -> LumiMaps:
        """Lumisections by position, as in a list; by number: :attr:`loc`."""
        if isinstance(position, slice):
            return self.rows(position)
        row = range(len(self))[position]
        return self.rows(slice(row, row + 1))

    @property
    def loc(self) -> _ByNumber:
        """Lumisections by number, both ends in, as pandas does it: ``maps.loc[10:20]`` is LS 10 to 20."""
        return _ByNumber(self)

    def __repr__(self) -> str:
        there = ", ".join(self.found) or "no digi"
        numbers = ls_ranges(self.lumisections) if len(self) else "no LS"
        return f"<LumiMaps run {self.run}: {numbers}, {len(self.channels):,} channels, digis in {there}>"

    def _repr_html_(self) -> str:
        numbers = ls_ranges(self.lumisections) if len(self) else "none"
        rows = {
            "run": str(self.run), "lumisections": f"{len(self):,} ({numbers})", "with maps": f"{self.present.sum():,}",
            "events": f"{self.run_events:,}", "channels": f"{len(self.channels):,} of {self.channels.era.value}",
            "digis in": ", ".join(self.found) or "no sub-detector", "definition": escape(self.definition),
        }  # fmt: skip
        cells = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items())
        return f"<table><tbody>{cells}</tbody></table>"

    def select(
        self, *, subdetector: Names = None, ls: Numbers = None, ieta: Numbers = None, iphi: Numbers = None,
        depth: Numbers = None, rbx: Numbers = None,
    ) -> LumiMaps:  # fmt: skip
        """Some lumisections and channels: each argument is a number or several, such as ``ls=range(10, 21)``.

        Raises:
            UsageError: no channel is left.
        """
        cells = {"ieta": ieta, "iphi": iphi, "depth": depth, "rbx": rbx}
        columns = chosen_channels(self.channels, subdetector, cells)
        some = self.rows(np.flatnonzero(chosen(ls, self.lumisections)))
        return replace(some, channels=self.channels.take(columns), counts=some.counts[:, columns])

    def to_hist(
        self, *axes: str, subdetector: Names = None, ls: Numbers = None, ieta: Numbers = None, iphi: Numbers = None,
        depth: Numbers = None,
    ) -> Hist[Any]:  # fmt: skip
        """Digis as ``hist.Hist`` with the axes ``ls``, ``ieta``, ``iphi``, ``depth``, by default of HB and HE.

        ``axes``: those to keep, in order; the others are summed. A single number (``depth=4``) drops its axis. The axis
        ``dqm_ieta`` has the 84 bins of the DQM. Lumisections without maps have no digi here: see ``present``.

        Raises:
            UsageError: nothing of that is there, or sub-detectors would share cells.
        """
        values = self.counts
        for name in Subdetector:
            rows = self.channels.rows_of(name.name)
            if len(rows) and not (present := self.present_of(name.name)).all():
                values = values.copy()
                values[np.ix_(~present, rows)] = 0
        return channel_histogram(
            self.channels, values, self.lumisections, axes, subdetector=subdetector, ls=ls,
            cells={"ieta": ieta, "iphi": iphi, "depth": depth}, label="digis",
        )  # fmt: skip

    def present_of(self, subdetector: str) -> NDArray[np.bool_]:
        """(LS,) whether the LS came with the maps of a sub-detector; elsewhere its counts are meaningless."""
        if not len(self.channels.rows_of(subdetector)):
            return np.zeros(len(self), dtype=np.bool_)
        lacking = self.missing.get(subdetector)
        return self.present if lacking is None else self.present & ~lacking

    def rows(self, chosen: slice | NDArray[np.intp]) -> LumiMaps:
        """Some of the lumisections, with the same sources and notes; arrays are views where ``chosen`` is a slice."""
        return replace(
            self,
            lumisections=self.lumisections[chosen],
            events=self.events[chosen],
            event_source=self.event_source[chosen],
            counts=self.counts[chosen],
            present=self.present[chosen],
            missing={name: lacking[chosen] for name, lacking in self.missing.items()},
        )

    @property
    def run_events(self) -> int:
        """Events of the whole run: those of the run totals, where there are any."""
        totals = self.coarse.events if self.coarse is not None else None
        return int(self.events.sum()) if totals is None else totals

    @property
    def found(self) -> tuple[str, ...]:
        """Sub-detectors with at least one digi in the maps per LS, or in those of the run, in table order."""
        totals = self.coarse.totals if self.coarse is not None else None
        rows = {sub.name: self.channels.rows_of(sub.name) for sub in Subdetector}
        if totals is not None:
            return tuple(name for name, own in rows.items() if (totals[own] > 0).any())
        filled = np.zeros(len(self.channels), dtype=np.bool_)
        for some in iter_chunks(self.counts):
            filled |= self.counts[some][self.present[some]].any(axis=0)
            if all(filled[own].any() for own in rows.values() if len(own)):
                break
        return tuple(name for name, own in rows.items() if filled[own].any())

    def grid(self) -> NDArray[np.int32]:
        """Counts of HB and HE in the LS that are present as (LS, 64, 72, 7); empty cells are 0."""
        rows = self.channels.rows_of("HB", "HE")
        maps = np.zeros((int(self.present.sum()), N_IETA, N_IPHI, N_DEPTH), dtype=np.int32)
        maps[:, *self.channels.take(rows).grid] = self.counts[np.ix_(self.present, rows)]
        return maps

    def outer_grids(self) -> dict[str, NDArray[np.int32]]:
        """Counts in the LS that are present of HO and HF, by name, where the source may hold them.

        ``HO``: (LS, 30, 72, 1), ieta −15…−1, 1…15, iphi 1…72, and its one depth. ``HF``: (LS, 26, 72, 4),
        ieta −41…−29, 29…41, iphi 1…72, depth 1…4. Empty cells are 0; an LS without the element is −1 throughout.
        """
        grids = {}
        for name, (nearest, furthest, depths) in _OUTER.items():
            channels = self.channels.select(name)
            if len(channels):
                ieta = np.array([*range(-furthest, -nearest + 1), *range(nearest, furthest + 1)])
                cell = np.searchsorted(ieta, channels.ieta), channels.iphi - 1, (channels.depth - 1) % depths
                grid = np.zeros((int(self.present.sum()), len(ieta), N_IPHI, depths), dtype=np.int32)
                grid[:, *cell] = self.counts[np.ix_(self.present, self.channels.rows_of(name))]
                grid[~self.present_of(name)[self.present]] = -1
                grids[name] = grid
        return grids

    def save(self, path: Path, provenance: str = "") -> None:
        """Write the tensor file: run, lumisections, events, counts, and what they rest on.

        ``counts`` is :meth:`grid`, ``counts_HO`` and ``counts_HF`` are :meth:`outer_grids`. ``provenance``: a text
        that goes along. Lumisections without HCAL maps are left out and listed in ``skipped_lumisections``. Raises
        OutputError, and leaves nothing behind, if the file cannot be written.
        """
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file to write.")
        with whole_file(path) as partial, partial.open("wb") as file:  # numpy would add a suffix to a name
            np.savez_compressed(
                file,
                allow_pickle=False,
                run=np.int64(self.run),
                lumisections=self.lumisections[self.present],
                events=self.events[self.present],
                event_source=np.array([EventSource(s).name for s in self.event_source[self.present]]),
                counts=self.grid(),
                **{f"counts_{name}": grid for name, grid in self.outer_grids().items()},
                skipped_lumisections=self.lumisections[~self.present],
                definition=np.str_(self.definition),
                provenance=np.str_(provenance),
            )


@dataclass(frozen=True, eq=False)
class _ByNumber:
    """Lumisections of some maps by their numbers."""

    maps: LumiMaps

    def __getitem__(self, numbers: int | slice) -> LumiMaps:
        there = self.maps.lumisections
        if isinstance(numbers, slice):
            first = there[0] if numbers.start is None else numbers.start
            last = there[-1] if numbers.stop is None else numbers.stop
            return self.maps.rows(slice(*np.searchsorted(there, [first, last + 1]).tolist()))
        if numbers not in there:
            raise UsageError(f"run {self.maps.run} has no LS {numbers}; it has {ls_ranges(there)}.")
        row = int(np.searchsorted(there, numbers))
        return self.maps.rows(slice(row, row + 1))


def read_only(value: Any) -> Any:
    """A dataclass of arrays, all of which are read-only from now on; nothing is copied."""
    for part in fields(value):
        array = getattr(value, part.name)
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return value
