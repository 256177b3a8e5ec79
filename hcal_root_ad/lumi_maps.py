"""``LumiMaps``: what a harvester returns and everything else reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI, ChannelTable
from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file


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
    (channels,) counts of the whole run, or None. ``strip_element`` and ``total_element`` name the
    monitor elements. ``mean_digis``: (LS, 2) mean digis per event of HB and HE, NaN where unknown.
    """

    strips: NDArray[np.int64] | None
    totals: NDArray[np.int64] | None
    mean_digis: NDArray[np.float64] | None = None
    strip_element: str = ""
    total_element: str = ""


@dataclass(frozen=True, eq=False)
class LumiMaps:
    """Digi counts of HB and HE per lumisection and channel, of one run, LS ascending and unique.

    Attributes:
        run: run number.
        channels: HB then HE rows of the run's era (columns of ``counts``).
        lumisections: (LS,) int32.
        events: (LS,) int64 events in each LS; 0 with source NONE where unknown.
        event_source: (LS,) uint8, values of :class:`EventSource`.
        counts: (LS, channels) int32 digis; meaningless where ``present`` is False.
        present: (LS,) whether the LS came with HCAL maps per channel. An LS without them is not
            assessed; it is not a lumisection with zero counts.
        definition: name of the harvester definition that was used.
        sources: the files.
        notes: sentences on what was skipped, summed or found strange.
        coarse: strips and run totals, where the file has no maps per LS (then ``present`` is all False).
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

    def __len__(self) -> int:
        return len(self.lumisections)

    @property
    def found(self) -> tuple[str, ...]:
        """Sub-detectors (of HB, HE) with at least one digi in the maps per LS."""
        seen: NDArray[np.bool_] = np.any(self.counts[self.present], axis=0)
        return tuple(name for name in ("HB", "HE") if seen[self.channels.rows_of(name)].any())

    def grid(self) -> NDArray[np.int32]:
        """Counts of the LS that are present as (LS, 64, 72, 7); empty cells are 0."""
        maps = np.zeros((int(self.present.sum()), N_IETA, N_IPHI, N_DEPTH), dtype=np.int32)
        maps[:, *self.channels.grid] = self.counts[self.present]
        return maps

    def save(self, path: Path, provenance: str = "") -> None:
        """Write the tensor file: run, lumisections, events, counts (64 × 72 × 7 grid), and what they rest on.

        ``provenance``: a text that goes along. Lumisections without HCAL maps are left out and listed in
        ``skipped_lumisections``. Raises OutputError, and leaves nothing behind, if the file cannot be written.
        """
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file to write.")
        with whole_file(path) as partial, partial.open("wb") as file:  # numpy would add a suffix to a name
            self._write(file, provenance)

    def _write(self, file: BinaryIO, provenance: str) -> None:
        np.savez_compressed(
            file,
            run=np.int64(self.run),
            lumisections=self.lumisections[self.present],
            events=self.events[self.present],
            event_source=np.array([EventSource(s).name for s in self.event_source[self.present]]),
            counts=self.grid(),
            skipped_lumisections=self.lumisections[~self.present],
            definition=np.str_(self.definition),
            provenance=np.str_(provenance),
        )
