"""A run that grows: later lumisections join those before, in room that doubles when it is used up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.room import copied, let_go, sweep

Value = TypeVar("Value", bound=np.generic)


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
            let_go(self._room[position[0] : position[-1] + 1])

    def until(self, length: int) -> NDArray[Value]:
        """A view of the rows up to a length; zeros where there were none yet."""
        if length > len(self._room):
            # The first array may be somebody else's: it is copied, and stays as it is.
            self._room = copied(self._room[: self._used], max(length, 2 * self._used))
        self._used = max(self._used, length)
        return self._room[:length]


class GrowingRun:
    """The maps of one run, piece by piece."""

    def __init__(self, first: LumiMaps) -> None:
        self._maps = first
        self._counts = GrowingRows(first.counts)
        self.seen = _seen(first)

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
        self.seen = self.seen | _seen(further)
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


def _seen(maps: LumiMaps) -> NDArray[np.bool_]:
    """(channels,) whether a channel had a digi in any LS that came with maps."""
    seen = np.zeros(len(maps.channels), dtype=np.bool_)
    for rows in sweep(maps.counts):
        for counts in maps.counts[rows][maps.present[rows]]:
            seen |= counts > 0
    return seen


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
