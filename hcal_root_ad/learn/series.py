"""``Series``: the lumisections of one run and one sub-detector that can be learned from or judged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.room import let_go
from hcal_root_ad.stats.binomial import Floats

MINIMUM_EVENTS = 100
"""Fewer events than this leave an LS not assessed (``minEventsPerLumi`` of CMSSW's HCAL client)."""
BLOCK = 24
"""Lumisections that are computed together: their arrays stay in a processor's cache."""
FEWEST = 20
"""Clean lumisections that a reference needs."""


@dataclass(frozen=True, eq=False)
class Series:
    """Counts of assessable lumisections, in order.

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

    def part(self, where: slice | NDArray[np.intp]) -> Series:
        """Some of the lumisections."""
        return Series(
            self.channels, self.counts[where], self.events[where], self.lumisections[where], self.position[where]
        )

    def stretches(self) -> Iterator[slice]:
        """Runs of consecutive lumisection numbers: nothing that remembers may cross their ends."""
        breaks = np.flatnonzero(np.diff(self.lumisections) != 1) + 1
        edges = [0, *breaks.tolist(), len(self)]
        yield from (slice(first, last) for first, last in itertools.pairwise(edges) if last > first)


def series_of(maps: LumiMaps, subdetector: str, position: NDArray[np.intp] | None = None) -> Series:
    """The assessable lumisections of one sub-detector, or those of them at the given positions."""
    position = assessable(maps) if position is None else position
    events = maps.events[position]
    # More digis than events cannot be: the count is cut, so that one wrong counter does no harm.
    counts = np.minimum(counts_of(maps, subdetector)[position], events[:, None]).astype(np.int32)
    if len(position):
        let_go(maps.counts[position[0] : position[-1] + 1])
    return Series(
        channels=_columns(maps.channels, subdetector)[0],
        counts=counts,
        events=events.astype(np.float64),
        lumisections=maps.lumisections[position],
        position=position,
    )


def counts_of(maps: LumiMaps, subdetector: str) -> NDArray[np.int32]:
    """(LS, channels) counts of one sub-detector, as they are in the maps; a view where its channels are together."""
    return maps.counts[:, _columns(maps.channels, subdetector)[1]]


@lru_cache(maxsize=16)
def _columns(channels: ChannelTable, subdetector: str) -> tuple[ChannelTable, slice | NDArray[np.intp]]:
    """The channels of a sub-detector, and which columns of the maps they are."""
    rows = channels.rows_of(subdetector)
    together = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
    return channels.take(rows), slice(int(rows[0]), int(rows[-1]) + 1) if together else rows


def assessable(maps: LumiMaps) -> NDArray[np.intp]:
    """Positions of the lumisections that can be judged: HCAL maps present, enough events known."""
    return np.flatnonzero(maps.present & (maps.events >= MINIMUM_EVENTS))


def series_of_totals(maps: LumiMaps, totals: NDArray[np.int64], subdetector: str) -> Series:
    """The whole run as one lumisection, numbered as the run's first."""
    rows = maps.channels.rows_of(subdetector)
    events = maps.run_events
    return Series(
        channels=maps.channels.take(rows),
        counts=np.minimum(totals[rows], events)[None].astype(np.int32),
        events=np.array([float(events)]),
        lumisections=maps.lumisections[:1],
        position=np.array([0]),
    )


def blocks(stop: int, start: int = 0) -> Iterator[slice]:
    """Rows that are computed together."""
    yield from (slice(first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK))


def clean_series(runs: Sequence[LumiMaps], subdetector: str) -> list[Series]:
    """The assessable lumisections of every run; a single run is cut in two halves.

    Raises:
        InputError: if there are fewer than 20 of them. UsageError: if the runs are of several eras.
    """
    if len({run.channels.era for run in runs}) > 1:
        raise UsageError("the clean runs are of different detector eras; give runs of one era")
    found = [one for one in (series_of(run, subdetector) for run in runs) if len(one)]
    total = sum(len(one) for one in found)
    if total < FEWEST:
        raise InputError(
            f"the clean runs hold {total} lumisections of {subdetector} with maps and events, "
            f"expected at least {FEWEST}; give more or longer runs"
        )
    if len(found) > 1:
        return found
    half = total // 2
    return [found[0].part(slice(0, half)), found[0].part(slice(half, None))]
