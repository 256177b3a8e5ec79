"""Channels that are known to be broken and that nobody wants to hear of: a TOML file, and its effect on a verdict.

::

    [[mask]]
    units = ["HEP07-RM2", "HE +20/5/3", "crate24-slot3"]   # names of units, see readout_unit
    runs = [370000, 370999]                                # first and last run, both in; all runs without it
    reason = "no high voltage since the technical stop"

    [[mask]]
    subdetector = "HB"                                     # or a range of cells: all keys that are given must hold
    ieta = [-16, -13]
    iphi = [3, 6]
    depth = [1, 2]
    reason = "noisy pedestal, cmssw issue 49219"

Masked channels are not judged and have no say in what is expected of others: gray in every map, in no finding and no
count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.content import structure
from hcal_root_ad.detector import N_IPHI, SUBDET_PM, ChannelTable, Subdetector
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Interval, State, StripVerdict
from hcal_root_ad.lumi_maps import Range
from hcal_root_ad.tables import read_toml, shown
from hcal_root_ad.unit_names import UNIT_FORMS, rows_of_unit, scale_of_unit

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class MaskEntry:
    """One table of the file. Ranges hold both their ends; a range that is empty holds everything."""

    reason: str
    units: tuple[str, ...] = ()
    subdetector: str = ""
    ieta: tuple[int, ...] = ()
    iphi: tuple[int, ...] = ()
    depth: tuple[int, ...] = ()
    runs: tuple[int, ...] = ()

    def holds_for(self, run: int) -> bool:
        return not self.runs or self.runs[0] <= run <= self.runs[1]

    def rows(self, channels: ChannelTable) -> Rows:
        """Rows of a table that the entry masks."""
        if self.units:
            return np.unique(np.concatenate([rows_of_unit(channels, unit) for unit in self.units]))
        inside = np.ones(len(channels), dtype=np.bool_)
        if self.subdetector:
            inside &= channels.subdetector == Subdetector[self.subdetector]
        for name in ("ieta", "iphi", "depth"):
            if limits := getattr(self, name):
                values = getattr(channels, name)
                inside &= (values >= limits[0]) & (values <= limits[1])
        return np.flatnonzero(inside)

    @property
    def place(self) -> str:
        """What it masks, for people."""
        if self.units:
            return ", ".join(self.units)
        ranges = (f"{name} {_text(getattr(self, name))}" for name in ("ieta", "iphi", "depth") if getattr(self, name))
        return " ".join(text for text in (self.subdetector, *ranges) if text)


@dataclass(frozen=True)
class Mask:
    """The entries of a file, its name, and its digest."""

    name: str
    sha256: str
    entries: tuple[MaskEntry, ...]

    def rows(self, channels: ChannelTable, run: int) -> Rows:
        """Rows of a table that are masked in a run."""
        rows = [entry.rows(channels) for entry in self.entries if entry.holds_for(run)]
        return np.unique(np.concatenate([np.empty(0, dtype=np.intp), *rows]))

    def sentences(self, channels: ChannelTable, run: int) -> tuple[str, ...]:
        """What is masked in a run, and why."""
        counts = [(entry, len(entry.rows(channels))) for entry in self.entries if entry.holds_for(run)]
        return tuple(
            f"{entry.place} ({count} channel{'s' if count != 1 else ''}): {entry.reason}" for entry, count in counts
        )


def read_mask(path: Path) -> Mask:
    """A mask from its file.

    Raises:
        InputError: it cannot be read, or an entry masks nothing that can be named.
    """
    table = read_toml(path, "mask")
    if set(table) != {"mask"}:
        raise InputError(f"The mask {path} should hold [[mask]] tables and nothing else; see docs/masks.md.")
    entries = structure(table["mask"], tuple[MaskEntry, ...], f"The mask {path}", place="mask")
    for number, entry in enumerate(entries, start=1):
        if complaint := _complaint(entry):
            raise InputError(f"The mask {path}: entry {number} {complaint}.")
    return Mask(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), entries)


def masked(verdict: RunVerdict, mask: Mask) -> RunVerdict:
    """The verdict on a run whose masked channels were not judged: strips without them, and what was masked in words."""
    run, channels = verdict.maps.run, verdict.maps.channels
    sentences = mask.sentences(channels, run)
    if not sentences:
        return verdict
    return replace(
        verdict,
        strips=_masked_strips(verdict.strips, channels, mask.rows(channels, run)) if verdict.strips else None,
        masked=(*verdict.masked, *sentences),
    )


def _without(finding: Finding, gone: frozenset[int], intervals: Sequence[Interval]) -> Finding | None:
    """A finding of the channels that are left, with their digis; None where there are none."""
    rows = tuple(row for row in finding.rows if row not in gone)
    if rows == finding.rows:
        return finding
    if not rows:
        return None
    left = frozenset(rows)
    own = [interval for interval in intervals if interval.channel in left and interval.kind == finding.kind]
    observed, expected = sum(interval.observed for interval in own), sum(interval.expected for interval in own)
    left_over = replace(finding, rows=rows)
    return replace(left_over, observed=observed, expected=expected) if expected > 0 else left_over


def _masked_strips(strips: StripVerdict, channels: ChannelTable, rows: Rows) -> StripVerdict:
    """A strip is masked where all of its channels are."""
    inside = np.isin(channels.subdetector, (Subdetector.HB, Subdetector.HE))
    strip = np.where(inside, channels.half.astype(np.intp) * N_IPHI + channels.iphi - 1, -1)
    size = len(SUBDET_PM) * N_IPHI
    every, out = (np.bincount(strip[of][strip[of] >= 0], minlength=size) for of in (slice(None), rows))
    columns = np.flatnonzero((every > 0) & (out == every))
    if not len(columns):
        return strips
    gone = frozenset(columns.tolist())
    states = strips.states.copy()
    states[:, columns] = State.NOT_CONNECTED
    left = [_without(finding, gone, strips.intervals) for finding in strips.findings]
    return replace(
        strips,
        states=states,
        intervals=tuple(interval for interval in strips.intervals if interval.channel not in gone),
        findings=tuple(finding for finding in left if finding is not None),
    )


def _complaint(entry: MaskEntry) -> str:
    """What is wrong with an entry, or ""."""
    ranges: dict[str, tuple[int, ...]] = {name: getattr(entry, name) for name in ("ieta", "iphi", "depth", "runs")}
    for name, limits in ranges.items():
        if limits and (len(limits) != 2 or limits[0] > limits[1]):
            return f"should give {name} as [first, last], not {list(limits)}"
    cells = bool(entry.subdetector or entry.ieta or entry.iphi or entry.depth)
    if cells == bool(entry.units):
        return "should name either units, or cells by subdetector, ieta, iphi and depth"
    if entry.subdetector and entry.subdetector not in Subdetector.__members__:
        return f"has the subdetector {entry.subdetector!r}; known are {', '.join(Subdetector.__members__)}"
    wrong = [unit for unit in entry.units if not scale_of_unit(unit)]
    if wrong:
        return f"has the unit {shown(wrong[0])}; names are like {UNIT_FORMS}"
    return "" if entry.reason.strip() else "should say a reason"


def _text(limits: Sequence[int] | Range) -> str:
    return str(limits[0]) if limits[0] == limits[1] else f"{limits[0]} to {limits[1]}"
