"""``SubdetectorCounts``: the lumisections of one run and one sub-detector that can be learned from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.stats.binomial import Floats

MINIMUM_EVENTS = 100
"""Fewer events than this leave an LS not assessed (``minEventsPerLumi`` of CMSSW's HCAL client)."""
BLOCK = 24
"""Lumisections that are computed together: their arrays stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class SubdetectorCounts:
    """Counts of lumisections, in order.

    ``counts``: (LS, channels) int32; ``events``: (LS,) float64; ``lumisections``: (LS,);
    ``position``: (LS,) index of each LS in the run's :class:`LumiMaps`.
    """

    channels: ChannelTable
    counts: NDArray[np.int32]
    events: Floats
    lumisections: NDArray[np.int32]
    position: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.lumisections)

    @property
    def trials(self) -> Floats:
        """(LS, 1) events, ready to broadcast over channels."""
        return self.events[:, None]

    def single(self, rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Counts (rows, channels) and events (rows, 1) of some lumisections, in single precision."""
        return self.counts[rows].astype(np.float32), self.trials[rows].astype(np.float32)

    def rows(self, where: slice | NDArray[np.intp]) -> SubdetectorCounts:
        """Some of the lumisections."""
        arrays = ("counts", "events", "lumisections", "position")
        return replace(self, **{name: getattr(self, name)[where] for name in arrays})

    def stretches(self) -> Iterator[slice]:
        """Runs of consecutive lumisection numbers: nothing that remembers may cross their ends."""
        breaks = np.flatnonzero(np.diff(self.lumisections) != 1) + 1
        edges = [0, *breaks.tolist(), len(self)]
        yield from (slice(first, last) for first, last in itertools.pairwise(edges) if last > first)


def subdetector_counts(maps: LumiMaps, subdetector: str, position: NDArray[np.intp] | None = None) -> SubdetectorCounts:
    """The assessable lumisections of one sub-detector, or those of them at the given positions."""
    position = assessable(maps) if position is None else position
    rows, events = maps.channels.rows_of(subdetector), maps.events[position]
    # More digis than events cannot be: the count is cut, so that one wrong counter does no harm.
    counts = np.minimum(maps.counts[np.ix_(position, rows)], events[:, None]).astype(np.int32)
    return SubdetectorCounts(
        maps.channels.take(rows), counts, events.astype(np.float64), maps.lumisections[position], position
    )


def assessable(maps: LumiMaps) -> NDArray[np.intp]:
    """Positions of the lumisections that can be learned from: HCAL maps present, enough events known."""
    return np.flatnonzero(maps.present & (maps.events >= MINIMUM_EVENTS))


def run_total(maps: LumiMaps, totals: NDArray[np.int64], subdetector: str) -> SubdetectorCounts:
    """The whole run as one lumisection, numbered as the run's first."""
    rows = maps.channels.rows_of(subdetector)
    events = maps.run_events
    return SubdetectorCounts(
        channels=maps.channels.take(rows),
        counts=np.minimum(totals[rows], events)[None].astype(np.int32),
        events=np.array([float(events)]),
        lumisections=maps.lumisections[:1],
        position=np.array([0]),
    )


def blocks(stop: int, start: int = 0) -> Iterator[slice]:
    """Rows that are computed together."""
    yield from (slice(first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK))
