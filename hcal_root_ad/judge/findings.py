"""Faults and findings: kind, size and lumisections of what is at fault, and its intervals channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.judge.verdict import Finding, Interval, Kind, Level
from hcal_root_ad.machine import Cells
from hcal_root_ad.stats.binomial import Floats

DEAD_BELOW, HOT_ABOVE, NOISY_ABOVE = 0.1, 1.5, 4.0
"""Share of the digis below which a fault is dead, and above which it is hot; scatter (χ² per LS) of a noisy one."""
JOIN = 3
"""Stretches this near to each other are one."""
TOLD_APART = 8.0
"""Loss over the statistical error of an LS from which an LS that is sound can be told from one that fails."""
COMES_AND_GOES = 2
"""Interruptions of a fault in each half of its stretch from which on it flickers."""
LEAST_DIGIS = 0.02
"""What changes the digis by less is no fault."""
HUNDREDS = 100
"""From so many on, all over a sub-detector, one line says it all."""
FEWEST_LS = 4
"""Lumisections of a fault from which on pauses in it are looked for."""


@dataclass(frozen=True, eq=False)
class Fault:
    """What is at fault, before it is written as a finding.

    ``columns``: channels of the sub-detector. ``inside``: (LS,) where. ``sign``: −1 loss, +1 excess.
    ``sound``: (LS, columns) cells in which single channels are not at fault all the same; None if there are none.
    """

    level: Level
    unit: str
    sign: int
    columns: NDArray[np.intp]
    inside: NDArray[np.bool_]
    significance: float
    sound: NDArray[np.bool_] | None = None

    def fails(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(rows, columns) which channels are at fault in which of some lumisections."""
        fails = np.repeat(self.inside[rows, None], len(self.columns), axis=1)
        return fails if self.sound is None else fails & ~self.sound[rows]


@dataclass(frozen=True, eq=False)
class JudgedDigis:
    """Digis of one sub-detector: ``observed``, ``expected`` (rows, channels), ``events`` (rows,), ``live`` (channels,).

    ``columns``: rows of the joint reference. ``width``: (channels,) how far a healthy one is off, of its rate.
    ``module``: (channels,) of each, and ``moved``: (rows, modules) how far their levels were from healthy ones.
    """

    subdetector: str
    channels: ChannelTable
    columns: NDArray[np.intp]
    live: NDArray[np.bool_]
    observed: Cells[np.int32]
    expected: Cells[np.float32]
    events: NDArray[np.int64]
    width: Floats
    module: NDArray[np.intp]
    moved: NDArray[np.float32]

    def name_of(self, column: int) -> str:
        """For example ``HF +33/5/2``: sub-detector, ieta/iphi/depth."""
        return channel_name(self.channels, column)

    def pulls(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """(rows, columns) counts against the healthy expectation, in standard deviations of chance and of health."""
        mean, events = self.expected.compute(rows, columns), np.maximum(self.events[rows, None], 1).astype(np.float32)
        variance = np.maximum(mean * (1 - mean / events), np.float32(0.25))
        variance += np.square(mean * self.width[columns].astype(np.float32))
        pulls = self.observed.compute(rows, columns).astype(np.float32)
        pulls -= mean
        pulls /= np.sqrt(variance, out=variance)
        pulls *= self.live[columns]
        return pulls


def finding_of(
    fault: Fault, subdetector: str, lumisections: Sequence[NDArray[np.int32]],
    observed: NDArray[np.integer] | Cells[np.int32], expected: Floats | Cells[np.float32], events: NDArray[np.int64],
) -> Finding:  # fmt: skip
    """The finding that a fault is.

    ``lumisections``: of each judged row. ``observed``, ``expected``: (rows, channels) of the sub-detector;
    ``events``: (rows,).
    """
    rows = np.flatnonzero(fault.inside)
    sound = None if fault.sound is None else fault.sound[rows]
    n, e = (_digis(values, rows, fault.columns, sound) for values in (observed, expected))
    total, wanted = float(n.sum()), float(e.sum())
    failing = np.full(len(rows), len(fault.columns)) if sound is None else (~sound).sum(axis=1)
    trials = float(events[rows] @ failing)
    size = total / max(wanted, 1e-9)
    error = np.sqrt(max(total * (1 - min(total / max(trials, 1), 1)), 1.0)) / max(wanted, 1e-9)
    ranges = _ranges(rows, lumisections)
    span = slice(int(rows[0]), int(rows[-1]) + 1)
    flagged = sum(len(lumisections[row]) for row in rows.tolist())
    assessed = sum(len(ls) for ls in lumisections[span])
    return Finding(
        subdetector=subdetector, level=fault.level, unit=fault.unit, kind=kind_of(n[e > 0], e[e > 0], size, fault.sign),
        ranges=ranges, lumisections=flagged, duty=flagged / assessed, rows=tuple(fault.columns.tolist()),
        observed=int(total),
        expected=wanted, size=size, size_error=float(error), significance=fault.significance,
    )  # fmt: skip


def _digis(
    values: NDArray[np.integer] | Floats | Cells[np.int32] | Cells[np.float32], rows: NDArray[np.intp],
    columns: NDArray[np.intp], sound: NDArray[np.bool_] | None = None,
) -> Floats:  # fmt: skip
    """(rows,) digis of some channels together, LS by LS, without the cells (rows, columns) that are ``sound``."""
    cells = values[np.ix_(rows, columns)]
    if sound is not None:
        cells = np.where(sound, 0, cells)
    return np.asarray(cells.sum(axis=1, dtype=np.float64))


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
    unit = "" if finding.level == Level.CHANNEL else finding.unit
    for part in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        cells = np.ix_(part, fault.columns)
        n, e, fails = observed[cells], expected[cells], fault.fails(part)
        for first, last, some in _runs(fails):
            columns = fault.columns[some].tolist()
            total = n[first : last + 1, some].sum(axis=0, dtype=np.int64).tolist()
            wanted = e[first : last + 1, some].sum(axis=0, dtype=np.float64).tolist()
            begin, end = int(lumisections[part[first]][0]), int(lumisections[part[last]][-1])
            for column, count, mean in zip(columns, total, wanted, strict=True):
                score = fault.sign * fault.significance
                yield Interval(column, finding.kind, begin, end, count, mean, score, unit)


def _runs(fails: NDArray[np.bool_]) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """First and last row of stretches at fault, with the columns that fail just there."""
    edges = np.diff(fails.astype(np.int8), axis=0, prepend=0, append=0).T
    column, first = np.nonzero(edges > 0)
    last = np.nonzero(edges < 0)[1] - 1
    stretch, place = np.unique(np.stack([first, last], axis=1), axis=0, return_inverse=True)
    for i, (begin, end) in enumerate(stretch.tolist()):
        yield begin, end, column[place.ravel() == i]


def with_gaps_closed(fault: Fault) -> Fault:
    """Stretches at most ``JOIN`` rows apart joined, unless they alternate (a flickering channel keeps its gaps)."""
    rows = np.flatnonzero(fault.inside)
    gaps = np.diff(rows)
    if np.count_nonzero(gaps > 1) > 2:
        return fault
    inside, sound = fault.inside.copy(), None if fault.sound is None else fault.sound.copy()
    for row, gap in zip(rows[:-1], gaps, strict=True):
        if 1 < gap <= JOIN + 1:
            inside[row : row + gap] = True
            if sound is not None:
                sound[row : row + gap] = sound[row] | sound[row + gap]
    return replace(fault, inside=inside, sound=sound)


def crowd_timed(
    fault: Fault, observed: Cells[np.int32], expected: Cells[np.float32], units: Sequence[Fault] = ()
) -> Fault:
    """A fault of hundreds of channels from its first to its last lumisection, which their sum tells one by one.

    ``observed``, ``expected``: (LS, channels). Each channel by itself tells less. ``units``: faults of units, whose
    channels have no say.
    """
    if fault.level is not Level.CHANNELS or len(fault.columns) < HUNDREDS:
        return fault
    elsewhere = np.unique([column for unit in units if unit is not fault for column in unit.columns.tolist()])
    telling = fault.columns[~np.isin(fault.columns, elsewhere)]
    if not len(telling):
        return fault
    every = np.arange(len(fault.inside))
    n, e = (_digis(values, every, telling) for values in (observed, expected))
    off = fault.sign * np.log(np.maximum(n, 1) / np.maximum(e, 1))
    size, error = float(np.median(off[fault.inside])), float(1 / np.sqrt(max(float(np.median(e)), 1.0)))
    if size < TOLD_APART * error:
        return fault
    fails = off > size / 2
    inside = np.zeros_like(fails)
    for stretch in np.split(every, np.flatnonzero(np.diff(fails)) + 1):
        inside[stretch] = fails[stretch[0]] and fault.inside[stretch].any()
    return replace(fault, inside=inside, sound=None)


def flickering(fault: Fault, observed: Cells[np.int32], expected: Cells[np.float32]) -> Fault:
    """A loss that comes and goes, without the lumisections in which its channels are clearly sound.

    ``observed``, ``expected``: (LS, channels). Only where a single LS tells the two apart, and sound ones lie between
    others in the first half of the stretch as in the second, or between clear losses: at the onset of a ramp they lie
    between others, too.
    """
    rows = np.flatnonzero(fault.inside)
    if fault.sign > 0 or len(rows) < FEWEST_LS:
        return fault
    n, e = (_digis(values, rows, fault.columns) for values in (observed, expected))
    ratio, error = n / np.maximum(e, 1e-9), 1 / np.sqrt(np.maximum(e, 1e-9))
    loss = 1 - float(np.quantile(ratio, 0.25))
    apart = loss > TOLD_APART * error
    sound = apart & (1 - ratio < loss / 4 + 3 * error) & (ratio > 1 - loss / 2)
    failing = rows[~sound]
    breaks = failing[:-1][np.diff(failing) > 1]
    early = np.count_nonzero(breaks < (rows[0] + rows[-1]) / 2)
    if min(early, len(breaks) - early) < COMES_AND_GOES:
        sound = _pauses(apart & (1 - ratio < loss / 10 + 2 * error), ratio < 1 - loss / 2)
    inside = np.zeros_like(fault.inside)
    inside[rows[~sound]] = True
    return replace(fault, inside=inside)


def _pauses(sound: NDArray[np.bool_], failing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The stretches of sound lumisections right between failing ones; all (LS,)."""
    out = np.zeros_like(sound)
    for stretch in np.split(np.arange(len(sound)), np.flatnonzero(np.diff(sound)) + 1):
        first, last = int(stretch[0]), int(stretch[-1])
        if sound[first] and first > 0 and last + 1 < len(sound) and failing[first - 1] and failing[last + 1]:
            out[stretch] = True
    return out


def channel_name(channels: ChannelTable, row: int) -> str:
    """For example ``HF +33/5/2``: sub-detector, ieta/iphi/depth."""
    sub = Subdetector(channels.subdetector[row]).name
    return f"{sub} {channels.ieta[row]:+d}/{channels.iphi[row]}/{channels.depth[row]}"
