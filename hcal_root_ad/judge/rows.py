"""What is judged together: single lumisections, or neighbours with few events merged until they say something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.lumi_maps import LumiMaps

Scalar = TypeVar("Scalar", bound=np.generic)

MINIMUM_EVENTS = 100
"""An LS with fewer events is not judged by itself (``minEventsPerLumi`` of CMSSW's HCAL client)."""
FEW_EVENTS = 200
"""Neighbours with fewer are merged until they have so many."""
NEIGHBOURS = 3
"""Lumisections with few events whose numbers are farther apart are not merged."""


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """Rows of the judgement: ``position`` holds, for each, the positions of its LS in the run's maps."""

    position: tuple[NDArray[np.intp], ...]

    def __len__(self) -> int:
        return len(self.position)

    def events(self, maps: LumiMaps) -> NDArray[np.int64]:
        """(rows,) events."""
        return np.array([int(maps.events[p].sum()) for p in self.position], dtype=np.int64)

    def counts(self, maps: LumiMaps, columns: NDArray[np.intp] | slice) -> NDArray[np.int32]:
        """(rows, columns) digis; never more than the events of each LS. A view of the maps where that holds already."""
        if self.is_every(len(maps)) and (together := _together(columns)) is not None:
            whole = maps.counts[:, together]
            if _within(whole, maps.events):
                return whole
        first = np.array([p[0] for p in self.position], dtype=np.intp)
        counts = np.minimum(maps.counts[first][:, columns], maps.events[first, None]).astype(np.int32)
        for row, p in enumerate(self.position):
            for more in p[1:]:
                counts[row] += np.minimum(maps.counts[more, columns], maps.events[more]).astype(np.int32)
        return counts

    def lumisections(self, maps: LumiMaps) -> list[NDArray[np.int32]]:
        """LS numbers of each row."""
        return [maps.lumisections[p] for p in self.position]

    def from_row(self, first: int) -> JudgedRows:
        return JudgedRows(self.position[first:])

    def chosen(self, rows: NDArray[np.intp]) -> JudgedRows:
        return JudgedRows(tuple(self.position[row] for row in rows))

    def is_every(self, lumisections: int) -> bool:
        """Whether each LS of so many is a row of its own."""
        return len(self) == lumisections and all(len(p) == 1 for p in self.position)

    def spread(self, values: NDArray[Scalar], size: int, fill: float = 0) -> NDArray[Scalar]:
        """(size, …) values at all the LS that the rows hold, ``fill`` elsewhere; itself if every LS is a row."""
        if self.is_every(size):
            return values
        out = np.full((size, *values.shape[1:]), fill, dtype=values.dtype)
        if len(self):
            where = np.concatenate(self.position)
            out[where] = np.repeat(values, [len(p) for p in self.position], axis=0)
        return out


def _together(columns: NDArray[np.intp] | slice) -> slice | None:
    """Columns as a slice, if they lie side by side: then counts are looked at where they are."""
    if isinstance(columns, slice):
        return columns
    if len(columns) and np.array_equal(columns, np.arange(columns[0], columns[0] + len(columns))):
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return None


def _within(counts: NDArray[np.integer], events: NDArray[np.int64]) -> bool:
    """Whether no count is above its events; looked at some LS at a time."""
    return all(
        (counts[first : first + 64].max(axis=1, initial=0) <= events[first : first + 64]).all()
        for first in range(0, len(counts), 64)
    )


def judged_rows(maps: LumiMaps) -> JudgedRows:
    """Every LS with enough events, and blocks of neighbours with few. The rest of the last block is not judged."""
    rows: list[NDArray[np.intp]] = []
    block: list[int] = []
    for position in np.flatnonzero(maps.present & (maps.events > 0)).tolist():
        if maps.events[position] >= MINIMUM_EVENTS:
            block = []
            rows.append(np.array([position], dtype=np.intp))
            continue
        if block and maps.lumisections[position] - maps.lumisections[block[-1]] > NEIGHBOURS:
            block = []
        block.append(position)
        if maps.events[block].sum() >= FEW_EVENTS:
            rows.append(np.array(block, dtype=np.intp))
            block = []
    return JudgedRows(tuple(rows))
