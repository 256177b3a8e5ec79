"""Faults to findings: channels that fail alike in one unit are one line; sizes, kinds and lumisections of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.judge.verdict import Finding, Interval, Kind, Level
from hcal_root_ad.lumi_maps import Cells
from hcal_root_ad.stats.binomial import Floats

DEAD_BELOW, HOT_ABOVE, NOISY_ABOVE = 0.1, 1.5, 4.0
"""Share of the digis below which a fault is dead, and above which it is hot; scatter (χ² per LS) of a noisy one."""
ALIKE = 0.5
"""Faults whose lumisections overlap by more (over their union) may have one cause."""
MOST_OF = 0.7
"""Share of a unit's live channels that must fail alike for the unit to be named."""
FEWEST = 4
"""Channels from which on a unit is named."""
CLUSTER = {Level.RM: 6, Level.RBX: 10, Level.SUBDETECTOR: 25}
"""Channels that fail alike in an RM, an RBX or a sub-detector from which on they are one line."""
HUNDREDS = 100
"""From so many on, all over a sub-detector, one line says it all."""
JOIN = 3
"""Stretches this near to each other are one."""
TOLD_APART = 8.0
"""Loss over the statistical error of an LS from which an LS that is sound can be told from one that fails."""
COMES_AND_GOES = 2
"""Interruptions of a fault in each half of its stretch from which on it flickers."""


@dataclass(frozen=True, eq=False)
class Fault:
    """What is at fault, before it is written as a finding.

    ``columns``: channels of the sub-detector. ``inside``: (LS,) where. ``sign``: −1 loss, +1 excess.
    """

    level: Level
    unit: str
    sign: int
    columns: NDArray[np.intp]
    inside: NDArray[np.bool_]
    significance: float


@dataclass(frozen=True, eq=False)
class _Level:
    """Units of a level whose channels may fail together.

    ``of``: (channels,) unit, or −1. ``name``: of a channel's unit.
    """

    level: Level
    of: NDArray[np.intp]
    name: Callable[[int], str]


def grouped(faults: Sequence[Fault], channels: ChannelTable, live: NDArray[np.bool_]) -> list[Fault]:
    """Channels that fail alike joined to the unit that they share, the largest first; then crowds without a unit."""
    left = list(faults)
    out: list[Fault] = []
    levels = _levels_of(channels, live.tobytes()) if len(left) >= FEWEST else ()
    while levels and (best := _largest(left, levels)):
        fault, used = best
        out.append(fault)
        left = [f for i, f in enumerate(left) if i not in used]
    crowds, left = _crowds(left, channels)
    return out + crowds + left


@lru_cache(maxsize=8)
def _levels_of(channels: ChannelTable, live: bytes) -> tuple[_Level, ...]:
    """The levels, once for a detector."""
    return tuple(_levels(channels, np.frombuffer(live, dtype=np.bool_)))


def _levels(channels: ChannelTable, live: NDArray[np.bool_]) -> Iterator[_Level]:
    sub = channels.names[0]
    eta, side = np.abs(channels.ieta).astype(int), "MP"

    def level(level: Level, key: NDArray[np.integer], name: Callable[[int], str]) -> _Level:
        _, of = np.unique(np.where(live, key, -1), return_inverse=True)
        return _Level(level, np.where(live & (key >= 0), of, -1), name)

    yield level(Level.SUBDETECTOR, np.zeros(len(channels), dtype=int), lambda _: sub)
    yield level(Level.HALF, channels.side.astype(int), lambda row: f"{sub}{side[channels.side[row]]}")
    yield level(Level.DEPTH, channels.depth.astype(int), lambda row: f"{sub} depth {channels.depth[row]}")
    yield level(
        Level.RING, eta * 8 + channels.depth, lambda row: f"{sub} |ieta| {eta[row]} depth {channels.depth[row]}"
    )
    yield level(
        Level.RING, (eta * 2 + channels.side) * 8 + channels.depth,
        lambda row: f"{sub} ieta {channels.ieta[row]:+d} depth {channels.depth[row]}",
    )  # fmt: skip
    yield level(
        Level.WEDGE, channels.iphi.astype(int) * 2 + channels.side,
        lambda row: f"{sub}{side[channels.side[row]]} iphi {channels.iphi[row]}",
    )  # fmt: skip
    if Subdetector[sub] > Subdetector.HE:
        return
    box, rm = channels.box.astype(int), channels.rm.astype(int)
    yield level(Level.FED, np.where(channels.crate > 0, channels.fed, -1), lambda row: f"{sub} FED {channels.fed[row]}")
    yield level(
        Level.UHTR, np.where(channels.crate > 0, channels.crate.astype(int) * 16 + channels.slot, -1),
        lambda row: f"{sub} uHTR crate {channels.crate[row]} slot {channels.slot[row]}",
    )  # fmt: skip
    yield level(Level.RBX, box, channels.box_name)
    yield level(Level.RM, np.where(rm > 0, box * 8 + rm, -1), lambda row: f"{channels.box_name(row)}-RM{rm[row]}")
    yield level(
        Level.CARD, np.where(channels.card > 0, (box * 8 + rm) * 8 + channels.card, -1),
        lambda row: f"{channels.box_name(row)}-RM{rm[row]}-card{channels.card[row]}",
    )  # fmt: skip


def _largest(faults: Sequence[Fault], levels: Sequence[_Level]) -> tuple[Fault, set[int]] | None:
    """The unit of which most channels fail alike, and that has the most of them."""
    best: tuple[Fault, set[int]] | None = None
    best_share = 0.0
    for sign in (-1, 1):
        mine = np.array([i for i, f in enumerate(faults) if f.sign == sign and f.level is Level.CHANNEL], dtype=int)
        if len(mine) < FEWEST:
            continue
        columns = np.array([faults[i].columns[0] for i in mine])
        for level in levels:
            sizes = np.bincount(level.of[level.of >= 0], minlength=1)
            failing = np.bincount(level.of[columns][level.of[columns] >= 0], minlength=len(sizes))
            for unit in np.flatnonzero(failing >= np.maximum(FEWEST, MOST_OF * sizes)):
                members = mine[level.of[columns] == unit]
                used = members[agreeing([faults[i] for i in members])]
                share = len(used) / sizes[unit]
                enough = len(used) >= max(FEWEST, MOST_OF * sizes[unit])
                if enough and (best is None or (len(used), share) > (len(best[1]), best_share)):
                    name = level.name(int(faults[used[0]].columns[0]))
                    best, best_share = (
                        (joined([faults[i] for i in used], level.level, name), set(used.tolist())),
                        share,
                    )
    return best


def agreeing(faults: Sequence[Fault]) -> list[int]:
    """Those whose lumisections are like those of the most typical one."""
    times = np.stack([fault.inside for fault in faults])
    typical = times.mean(axis=0) > 0.5
    if not typical.any():
        typical = times[int(np.argmax([fault.significance for fault in faults]))]
    overlap = (times & typical).sum(axis=1) / np.maximum((times | typical).sum(axis=1), 1)
    return np.flatnonzero(overlap >= ALIKE).tolist()


def joined(faults: Sequence[Fault], level: Level, name: str) -> Fault:
    times = np.stack([fault.inside for fault in faults])
    columns = np.unique(np.concatenate([fault.columns for fault in faults]))
    significance = max(fault.significance for fault in faults)
    return Fault(level, name, faults[0].sign, columns, times.mean(axis=0) >= 0.5, significance)


def _crowds(faults: list[Fault], channels: ChannelTable) -> tuple[list[Fault], list[Fault]]:
    """Many channels of an RM, an RBX or the sub-detector that fail alike, without being most of it: one line."""
    out: list[Fault] = []
    for level, least in ((Level.SUBDETECTOR, HUNDREDS), *CLUSTER.items()):
        if len(faults) < least:
            continue
        clusters: dict[tuple[int, int], list[int]] = defaultdict(list)
        crowd_of = _crowd_keys(level, channels)
        for i, fault in enumerate(faults):
            if fault.level == Level.CHANNEL:
                clusters[fault.sign, int(crowd_of[fault.columns[0]])].append(i)
        used: set[int] = set()
        for (_, key), members in clusters.items():
            if key < 0 or len(members) < least:
                continue
            mine = [members[i] for i in agreeing([faults[i] for i in members])]
            if len(mine) >= least:
                where = _crowd_name(level, channels, int(faults[mine[0]].columns[0]))
                out.append(joined([faults[i] for i in mine], Level.CHANNELS, f"{len(mine):,} channels of {where}"))
                used |= set(mine)
        faults = [fault for i, fault in enumerate(faults) if i not in used]
    return out, faults


@lru_cache(maxsize=32)
def _crowd_keys(level: Level, channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) the unit in which each may be in a crowd, −1 in none."""
    if level == Level.SUBDETECTOR:
        return np.zeros(len(channels), dtype=np.intp)
    by_itself = (channels.rm == 0) & ((level == Level.RM) | (channels.subdetector > Subdetector.HE))
    key = channels.box.astype(np.intp) * 8 + (channels.rm if level == Level.RM else 0)
    return np.asarray(np.where(by_itself, -1, key))


def _crowd_name(level: Level, channels: ChannelTable, row: int) -> str:
    if level is Level.SUBDETECTOR:
        return channels.names[row]
    box = channels.box_name(row)
    return f"{box}-RM{channels.rm[row]}" if level is Level.RM else box


def finding_of(
    fault: Fault, subdetector: str, lumisections: Sequence[NDArray[np.int32]],
    observed: NDArray[np.integer] | Cells[np.int32], expected: Floats | Cells[np.float32], events: NDArray[np.int64],
) -> Finding:  # fmt: skip
    """The finding that a fault is.

    ``lumisections``: of each judged row. ``observed``, ``expected``: (rows, channels) of the sub-detector;
    ``events``: (rows,).
    """
    rows = np.flatnonzero(fault.inside)
    n, e = (values[np.ix_(rows, fault.columns)].sum(axis=1, dtype=np.float64) for values in (observed, expected))
    total, wanted = float(n.sum()), float(e.sum())
    trials = float(events[rows].sum()) * len(fault.columns)
    size = total / max(wanted, 1e-9)
    error = np.sqrt(max(total * (1 - min(total / max(trials, 1), 1)), 1.0)) / max(wanted, 1e-9)
    ranges = _ranges(rows, lumisections)
    span = slice(int(rows[0]), int(rows[-1]) + 1)
    flagged = sum(len(lumisections[row]) for row in rows.tolist())
    assessed = sum(len(ls) for ls in lumisections[span])
    return Finding(
        subdetector=subdetector, level=fault.level, unit=fault.unit, kind=kind_of(n, e, size, fault.sign),
        ranges=ranges, lumisections=flagged, duty=flagged / assessed, rows=tuple(fault.columns.tolist()),
        observed=int(total),
        expected=wanted, size=size, size_error=float(error), significance=fault.significance,
    )  # fmt: skip


def kind_of(observed: Floats, expected: Floats, size: float, sign: int) -> Kind:
    """Kind of fault from digis LS by LS, and over all."""
    if sign < 0:
        # The typical LS: of those at the edges only a part may be at fault.
        typical = float(np.median(observed / np.maximum(expected, 1e-9)))
        return Kind.DEAD if min(size, typical) <= DEAD_BELOW else Kind.DEGRADED
    if len(observed) >= 3:
        # From one LS to the next: what drifts or steps is not noisy.
        expected = np.maximum(expected, 1e-9)
        chance = size * (1 / expected[1:] + 1 / expected[:-1])
        if float(np.mean(np.diff(observed / expected) ** 2 / chance)) > NOISY_ABOVE:
            return Kind.NOISY
    return Kind.HOT if size >= HOT_ABOVE else Kind.WARM


def _ranges(rows: NDArray[np.intp], lumisections: Sequence[NDArray[np.int32]]) -> tuple[tuple[int, int], ...]:
    """First and last LS of stretches of judged rows."""
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    return tuple(
        (int(lumisections[part[0]][0]), int(lumisections[part[-1]][-1])) for part in np.split(rows, breaks) if len(part)
    )


def intervals_of(
    finding: Finding, fault: Fault, lumisections: Sequence[NDArray[np.int32]],
    observed: NDArray[np.integer] | Cells[np.int32], expected: Floats | Cells[np.float32],
) -> Iterator[Interval]:  # fmt: skip
    """One interval per channel and stretch of a finding."""
    rows = np.flatnonzero(fault.inside)
    for part in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        block = slice(int(part[0]), int(part[-1]) + 1)
        n = observed[block, fault.columns].sum(axis=0, dtype=np.int64)
        e = expected[block, fault.columns].sum(axis=0, dtype=np.float64)
        first, last = int(lumisections[part[0]][0]), int(lumisections[part[-1]][-1])
        for column, some, wanted in zip(fault.columns.tolist(), n.tolist(), e.tolist(), strict=True):
            yield Interval(
                column, finding.kind, first, last, some, wanted, fault.sign * fault.significance,
                "" if finding.level == Level.CHANNEL else finding.unit,
            )  # fmt: skip


def with_gaps_closed(fault: Fault) -> Fault:
    """Stretches at most ``JOIN`` rows apart joined, unless they alternate (a flickering channel keeps its gaps)."""
    rows = np.flatnonzero(fault.inside)
    gaps = np.diff(rows)
    if np.count_nonzero(gaps > 1) > 2:
        return fault
    inside = fault.inside.copy()
    for row, gap in zip(rows[:-1], gaps, strict=True):
        if 1 < gap <= JOIN + 1:
            inside[row : row + gap] = True
    return replace(fault, inside=inside)


def flickering(fault: Fault, observed: Cells[np.int32], expected: Cells[np.float32]) -> Fault:
    """A loss that comes and goes, without the lumisections in which its channels are clearly sound.

    ``observed``, ``expected``: (LS, channels). Only where a single LS tells the two apart, and sound ones lie between
    others in the first half of the stretch as in the second (at the onset of a ramp they do, too, but nowhere else).
    """
    rows = np.flatnonzero(fault.inside)
    if fault.sign > 0 or len(rows) < FEWEST:
        return fault
    n, e = (values[np.ix_(rows, fault.columns)].sum(axis=1, dtype=np.float64) for values in (observed, expected))
    ratio, error = n / np.maximum(e, 1e-9), 1 / np.sqrt(np.maximum(e, 1e-9))
    loss = 1 - float(np.quantile(ratio, 0.25))
    sound = (loss > TOLD_APART * error) & (1 - ratio < loss / 4 + 3 * error) & (ratio > 1 - loss / 2)
    failing = rows[~sound]
    breaks = failing[:-1][np.diff(failing) > 1]
    early = np.count_nonzero(breaks < (rows[0] + rows[-1]) / 2)
    if min(early, len(breaks) - early) < COMES_AND_GOES:
        return fault
    inside = np.zeros_like(fault.inside)
    inside[failing] = True
    return replace(fault, inside=inside)
