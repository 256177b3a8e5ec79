"""Channels and readout units that changed against a reference: lines for people, the largest units first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.compare.against import Against, threshold
from hcal_root_ad.compare.readout_levels import SMALLEST, readout_levels
from hcal_root_ad.detector import Subdetector
from hcal_root_ad.model.reference_fit import LEAST_RATE
from hcal_root_ad.model.units import Units
from hcal_root_ad.references.rates import LEAST_SPREAD
from hcal_root_ad.stats.binomial import Floats, deviance

LEAST_CHANGE, LEAST_UNIT_CHANGE = 0.10, 0.05
"""Relative change of the rate of a channel, and of a readout unit as a whole, below which it is drift."""
BEYOND = 0.5
"""The same beyond what a larger unit explains: digis lost alike change rates unlike, the more of them near p = 1."""
HALF_LEVEL, BOX_LEVEL = 1, 2
"""Places of halves and boxes among :func:`~hcal_root_ad.compare.readout_levels.readout_levels`."""
SHARE = 0.6
"""Share of a unit's channels that must have changed alike."""
HUBER = 2.5
"""Deviations beyond this many σ lose weight."""
NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
KEPT = 0.9776
"""Mean square of standard normal values that are cut at ±``HUBER``."""
ROUNDS = 20

Mask = NDArray[np.bool_]


class Change(StrEnum):
    """How a channel or unit changed."""

    EMPTY = "empty"
    """Empty here, filled in the reference."""
    FILLED = "filled"
    """Filled here, empty in the reference."""
    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True)
class Changed:
    """One channel or unit that changed.

    ``channels`` counts those that a unit's line speaks of, ``observed`` and ``expected`` are their digis. ``ratio``
    is that of the rates (of empty ones, of the digis), with ``ratio_error``; None where the reference is empty.
    ``significance`` is signed, of an empty or filled unit that of its most significant channel.
    """

    subdetector: str
    unit: str
    change: Change
    channels: int
    observed: int
    expected: float
    ratio: float | None
    ratio_error: float | None
    significance: float


@dataclass(frozen=True)
class UnitShift:
    """Mean change of log λ of the ``channels`` of a readout unit that are filled in both, with its error."""

    unit: str
    channels: int
    shift: float
    error: float


def channel_changes(against: Against) -> dict[Change, Mask]:
    """(channels,) where each change happened; every channel has one at most.

    A change is beyond what chance does once in a hundred comparisons, and what the reference's errors explain, and
    more than drift.
    """
    limit = threshold(len(against.live))
    far, ratio = np.abs(against.significance) > limit, np.exp(against.sums.shift)
    empty = far & against.empty & (ratio < 1)
    return {
        Change.EMPTY: empty,
        Change.FILLED: ~against.live & (_above_the_floor(against) > limit),
        Change.LOWER: far & (ratio < 1 - LEAST_CHANGE) & ~empty,
        Change.HIGHER: far & (ratio > 1 + LEAST_CHANGE),
    }


def _above_the_floor(against: Against) -> Floats:
    """(channels,) significance of digis where a channel that is not live has a rate of ``LEAST_RATE`` at most."""
    n, events = against.sums.observed, np.array(against.sums.events)
    root = np.sqrt(np.maximum(deviance(n, events, np.array(LEAST_RATE)), 0))
    return np.where(n > LEAST_RATE * events, root, 0.0)


def unit_shifts(against: Against, depth: int) -> list[UnitShift]:
    """Mean shift of every unit of a readout level that has channels filled in both.

    Channels far from the unit's median count as ``HUBER`` errors only. What the channels of a unit do in common is
    part of the error: as much as the level's units scatter, but no more than runs are known to. Halves are
    too few to tell, and bear what their boxes scatter.
    """
    level, both = readout_levels(against.series.channels)[depth], against.live & ~against.empty
    units = np.unique(level.of[both])
    if not len(units):
        return []
    members = [np.flatnonzero(both & (level.of == unit)) for unit in units]
    means = [_mean_shift(against, rows) for rows in members]
    if depth < BOX_LEVEL:
        boxes = unit_shifts(against, BOX_LEVEL)
        common = _common_error(against, [one.shift for one in boxes], both) / np.sqrt(len(boxes) / len(units))
    else:
        common = _common_error(against, [mean for mean, _ in means], both)
    return [
        UnitShift(level.names[unit], len(rows), mean, float(np.hypot(error, common)))
        for unit, rows, (mean, error) in zip(units, members, means, strict=True)
    ]


def _mean_shift(against: Against, rows: NDArray[np.intp]) -> tuple[float, float]:
    """Mean shift of some channels and its error, as if they were independent."""
    shift, error = against.sums.shift[rows], against.error[rows]
    middle, weight = float(np.median(shift)), error**-2
    kept = np.clip(shift, middle - HUBER * error, middle + HUBER * error)
    return float(np.average(kept, weights=weight)), float(1 / np.sqrt(weight.sum()))


def _common_error(against: Against, means: Sequence[float], both: Mask) -> float:
    """How far units move as wholes from run to run."""
    most = float(np.median(against.rates.spread[both])) * against.misfit
    return min(max(robust_width(np.array(means)), LEAST_SPREAD), most)


def robust_width(values: Floats) -> float:
    """Standard deviation of normal values of which a few may be far off: Huber's proposal 2 about the median.

    P. J. Huber, Ann. Math. Statist. 35 (1964) 73. Of 36 values it is known to 13 %, of which the median absolute
    deviation, where it starts, knows 20 %.
    """
    away = np.abs(values - np.median(values))
    width = NORMAL * float(np.median(away))
    for _ in range(ROUNDS):
        width = float(np.sqrt((np.minimum(away, HUBER * width) ** 2).mean() / KEPT))
    return width


def changed(against: Against) -> tuple[Changed, ...]:
    """Everything that changed in one sub-detector; what the line of a unit says is not said of its parts again."""
    channels, changes = against.series.channels, channel_changes(against)
    lines: list[Changed] = []
    told, explained = np.zeros(len(channels), dtype=bool), np.zeros(len(channels))
    for depth, level in enumerate(readout_levels(channels)):
        for name, change, where in _lost_or_found(against, level, changes):
            if not told[where].all():
                lines.append(_line(against, name, change, where))
                told |= where
        for one, members in _moved(against, level, depth, explained):
            change = Change.LOWER if one.shift < 0 else Change.HIGHER
            lines.append(_line(against, one.unit, change, members, one))
            explained[members] = one.shift
    return tuple(sorted([*lines, *_single(against, changes, told, explained)], key=by_weight))


def by_weight(line: Changed) -> tuple[bool, float]:
    """Key of the order in which people should see lines: what is empty first, then by digis lost or gained."""
    return line.change is not Change.EMPTY, -abs(line.observed - line.expected)


def _lost_or_found(
    against: Against, level: Units, changes: Mapping[Change, Mask]
) -> Iterator[tuple[str, Change, Mask]]:
    """Units of which most channels that the reference has are empty, or most of all are filled that it has not."""
    instrumented = against.series.channels.instrumented
    for change, of in ((Change.EMPTY, against.live), (Change.FILLED, instrumented)):
        size, found = (np.bincount(level.of[where], minlength=len(level.names)) for where in (of, of & changes[change]))
        for unit in np.flatnonzero((size >= SMALLEST) & (found >= SHARE * size)):
            yield level.names[unit], change, of & changes[change] & (level.of == unit)


def _moved(against: Against, level: Units, depth: int, explained: Floats) -> Iterator[tuple[UnitShift, Mask]]:
    """Units whose channels have another rate in common, beyond what larger units explain already.

    Of a whole sub-detector, that would look like pileup.
    """
    if depth < HALF_LEVEL:
        return
    both, shifts = against.live & ~against.empty, unit_shifts(against, depth)
    limit = threshold(len(shifts), known_from=len(shifts))
    for one in shifts:
        members = both & (level.of == level.names.index(one.unit))
        before = float(np.median(explained[members]))
        size = abs(one.shift - before)
        far = size > limit * one.error and np.expm1(size) > (BEYOND if before else LEAST_UNIT_CHANGE)
        if one.channels >= SMALLEST and far:
            yield one, members


def _single(against: Against, changes: Mapping[Change, Mask], told: Mask, explained: Floats) -> Iterator[Changed]:
    """Channels that changed otherwise than their units."""
    size = np.abs(against.sums.shift - explained)
    least = np.where(explained == 0, np.log1p(LEAST_CHANGE), np.log1p(BEYOND))
    own = (size > threshold(len(told)) * against.error) & (size > least)
    for change, where in changes.items():
        for row in np.flatnonzero(where & (own if change in (Change.LOWER, Change.HIGHER) else ~told)):
            yield _line(against, against.series.channels.name_of(int(row)), change, np.arange(len(told)) == row)


def _line(against: Against, name: str, change: Change, where: Mask, moved: UnitShift | None = None) -> Changed:
    """The line of a channel or unit; of a unit that moved as a whole, with its common shift."""
    seen, expected = float(against.sums.observed[where].sum()), float(against.sums.expected[where].sum())
    found = against.significance[where]
    strongest = float(found[np.abs(found).argmax()])
    ratio: float | None
    error: float | None
    if change is Change.FILLED:
        ratio, error = None, None
        strongest = float(_above_the_floor(against)[where].max())
    elif change is Change.EMPTY:
        ratio, error = seen / expected, float(np.sqrt(seen + 1)) / expected
    else:
        shift, error = (moved.shift, moved.error) if moved else _of_one(against, where)
        strongest = shift / error if moved else strongest
        ratio, error = float(np.exp(shift)), float(np.exp(shift)) * error
    subdetector = Subdetector(against.series.channels.subdetector[0]).name
    return Changed(subdetector, name, change, int(where.sum()), int(seen), expected, ratio, error, strongest)


def _of_one(against: Against, where: Mask) -> tuple[float, float]:
    (row,) = np.flatnonzero(where)
    return float(against.sums.shift[row]), float(against.error[row])
