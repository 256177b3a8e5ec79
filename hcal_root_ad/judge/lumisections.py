"""The lumisections of a run that is judged: they come piece by piece, and those with few events are judged together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps, Source
from hcal_root_ad.machine import LARGE, TRANSPOSED, Cells, extended, release, transposed

Value = TypeVar("Value", bound=np.generic)

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

    def counts(self, maps: LumiMaps, columns: NDArray[np.intp]) -> Cells[np.int32]:
        """(rows, columns) digis; never more than the events of each LS."""
        first = np.array([p[0] for p in self.position], dtype=np.intp)
        several = {row: p[1:] for row, p in enumerate(self.position) if len(p) > 1}

        def computed(rows: NDArray[np.intp], some: NDArray[np.intp]) -> NDArray[np.int32]:
            own = columns[some]
            counts = _taken(maps, first[rows], own)
            for row in np.flatnonzero(np.isin(rows, list(several))) if several else ():
                counts[row] += _taken(maps, several[int(rows[row])], own).sum(axis=0, dtype=np.int32)
            return counts

        return Cells((len(self), len(columns)), np.dtype(np.int32), computed)

    def counts_by_channel(self, maps: LumiMaps, columns: NDArray[np.intp]) -> Cells[np.int32]:
        """The same, to be looked at channel by channel: of a long run in a copy where each lies in one place."""
        cells = self.counts(maps, columns)
        if 4 * len(self) * len(columns) < LARGE:
            return cells
        by_channel: NDArray[np.int32] = transposed(cells.__getitem__, cells.shape, np.int32)

        def computed(rows: NDArray[np.intp], some: NDArray[np.intp]) -> NDArray[np.int32]:
            own, lumisections = side_by_side(some), side_by_side(rows)
            counts = np.ascontiguousarray(by_channel[own][:, lumisections].T)
            release(by_channel[some[0] : some[-1] + 1])
            return counts

        return Cells(cells.shape, cells.dtype, computed)

    def row_of(self, lumisections: int) -> NDArray[np.intp]:
        """(LS,) the row that holds each LS of so many, −1 where none does."""
        out = np.full(lumisections, -1, dtype=np.intp)
        for row, p in enumerate(self.position):
            out[p] = row
        return out

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

    def spread(self, values: NDArray[Value], size: int, fill: float = 0) -> NDArray[Value]:
        """(size, …) values at all the LS that the rows hold, ``fill`` elsewhere; itself if every LS is a row."""
        if self.is_every(size):
            return values
        out = np.full((size, *values.shape[1:]), fill, dtype=values.dtype)
        if len(self):
            where = np.concatenate(self.position)
            out[where] = np.repeat(values, [len(p) for p in self.position], axis=0)
        return out


def side_by_side(numbers: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Numbers as a slice, if they follow each other: then an array is looked at where it is, and not copied."""
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1 and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _taken(maps: LumiMaps, position: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int32]:
    """(positions, columns) digis, never more than the events; a copy."""
    own = side_by_side(columns)
    counts = np.empty((len(position), len(columns)), dtype=np.int32)
    for first in range(0, len(position), TRANSPOSED):  # the counts of a long run lie in a file
        some = position[first : first + TRANSPOSED]
        rows = side_by_side(some)
        cells = (rows, own) if isinstance(rows, slice) or isinstance(own, slice) else np.ix_(rows, own)
        counts[first : first + len(some)] = maps.counts[cells]
        release(maps.counts[some[0] : some[-1] + 1])
    most = np.minimum(maps.events[position, None], np.iinfo(np.int32).max).astype(np.int32)
    return np.minimum(counts, most, out=counts)


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


class GrowingRows(Generic[Value]):
    """Rows of an array that grows at its end. What was there never changes, so views of it stay good."""

    def __init__(self, first: NDArray[Value]) -> None:
        self._room, self._used = first, len(first)

    def __len__(self) -> int:
        return self._used

    def add(self, rows: NDArray[Value]) -> None:
        """Append rows."""
        self.put(np.arange(self._used, self._used + len(rows)), rows)

    def put(self, position: NDArray[np.intp], rows: NDArray[Value]) -> None:
        """Rows at ascending positions behind all others; zeros at those left out."""
        if len(position):
            self.until(int(position[-1]) + 1)
            self._room[position] = rows
            release(self._room[position[0] : position[-1] + 1])

    def until(self, length: int) -> NDArray[Value]:
        """A view of the rows up to a length; zeros where there were none yet."""
        if length > len(self._room):
            # The first array may be somebody else's: it is copied, and stays as it is.
            self._room = extended(self._room[: self._used], max(length, 2 * self._used))
        self._used = max(self._used, length)
        return self._room[:length]


class GrowingRun:
    """The maps of one run, piece by piece."""

    def __init__(self, first: LumiMaps) -> None:
        self._maps = first
        self._counts = GrowingRows(first.counts)

    @property
    def maps(self) -> LumiMaps:
        """All lumisections so far; the counts are a view."""
        return self._maps

    def add(self, further: LumiMaps) -> None:
        """Join lumisections that come after all before.

        Raises:
            InputError: if they are of another run or other channels, not later, or not maps per lumisection.
        """
        have = self._maps
        _check(have, further)
        self._counts.add(further.counts)
        joined: dict[str, Any] = {
            name: np.append(getattr(have, name), getattr(further, name))
            for name in ("lumisections", "events", "event_source", "present")
        }
        names = dict.fromkeys((*have.missing, *further.missing))
        self._maps = replace(
            have,
            **joined,
            missing={name: np.append(_lacking(have, name), _lacking(further, name)) for name in names},
            counts=self._counts.until(len(joined["lumisections"])),
            sources=tuple(dict.fromkeys((*have.sources, *further.sources))),
            notes=tuple(dict.fromkeys((*have.notes, *further.notes))),
        )


def _lacking(maps: LumiMaps, subdetector: str) -> NDArray[np.bool_]:
    """(LS,) where a sub-detector's element is missing."""
    return np.asarray(maps.missing.get(subdetector, np.zeros(len(maps), dtype=np.bool_)))


def _check(have: LumiMaps, further: LumiMaps) -> None:
    if further.run != have.run:
        raise InputError(f"expected more of run {have.run}, found run {further.run}; judge each run by itself")
    if have.coarse is not None or further.coarse is not None:
        raise InputError(f"run {have.run}: strips and run totals cannot be judged in pieces; give them as one file")
    if not np.array_equal(have.channels.raw_id, further.channels.raw_id):
        raise InputError(f"run {have.run}: its pieces have different channels; give files of one detector")
    if len(have) and len(further) and further.lumisections[0] <= have.lumisections[-1]:
        raise InputError(
            f"run {have.run}: expected lumisections after LS {have.lumisections[-1]}, found LS "
            f"{further.lumisections[0]}; give them in order"
        )


def packed(maps: LumiMaps, since: int) -> dict[str, NDArray[Any]]:
    """Lumisections of a run from a position on, as arrays."""
    small = np.uint16 if maps.counts[since:].max(initial=0) < 2**16 else np.int32
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(maps, name)[since:] for name in ("lumisections", "events", "event_source", "present")
    }
    arrays |= {f"missing_{name}": lacking[since:] for name, lacking in maps.missing.items()}
    arrays["counts"] = maps.counts[since:].astype(small)
    arrays["run"], arrays["era"] = np.array(maps.run), np.array(maps.channels.era.value)
    arrays["raw_id"], arrays["definition"] = maps.channels.raw_id, np.array(maps.definition)
    arrays["notes"] = np.array(maps.notes, dtype=np.str_)
    for name in ("name", "size", "sha256"):
        arrays[f"source_{name}"] = np.array([getattr(source, name) for source in maps.sources])
    return arrays


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> LumiMaps:
    """The maps that :func:`packed` was given."""
    table = channel_table(str(arrays["era"]))
    sources = zip(*(arrays[f"source_{name}"].tolist() for name in ("name", "size", "sha256")), strict=True)
    return LumiMaps(
        run=int(arrays["run"]),
        channels=table.take(table.rows_of_raw_ids(arrays["raw_id"])),
        lumisections=arrays["lumisections"],
        events=arrays["events"],
        event_source=arrays["event_source"],
        counts=arrays["counts"].astype(np.int32),
        present=arrays["present"],
        definition=str(arrays["definition"]),
        sources=tuple(Source(*source) for source in sources),
        notes=tuple(arrays["notes"].tolist()),
        missing={key.removeprefix("missing_"): arrays[key] for key in arrays if key.startswith("missing_")},
    )
