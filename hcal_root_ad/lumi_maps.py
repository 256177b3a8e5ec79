"""``LumiMaps``: what a harvester returns and everything else reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI, ChannelTable, Subdetector
from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file

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
        return len(self.lumisections)

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
        seen: NDArray[np.bool_] = np.any(self.counts[self.present], axis=0)
        if self.coarse is not None and self.coarse.totals is not None:
            seen = self.coarse.totals > 0
        return tuple(sub.name for sub in Subdetector if seen[self.channels.rows_of(sub.name)].any())

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
            self._write(file, provenance)

    def _write(self, file: BinaryIO, provenance: str) -> None:
        outer = {f"counts_{name}": grid for name, grid in self.outer_grids().items()}
        np.savez_compressed(
            file,
            allow_pickle=False,
            run=np.int64(self.run),
            lumisections=self.lumisections[self.present],
            events=self.events[self.present],
            event_source=np.array([EventSource(s).name for s in self.event_source[self.present]]),
            counts=self.grid(),
            **outer,
            skipped_lumisections=self.lumisections[~self.present],
            definition=np.str_(self.definition),
            provenance=np.str_(provenance),
        )
