"""How far channels and readout units are from a reference at the run's own pileup, and which of them changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.rates import CHUNK, LEAST_SPREAD, Rates, ReferenceSums, expected_share, sums_against
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import LEAST_DIGIS, LEAST_RATE
from hcal_root_ad.model.unit_tree import Units, unit_tree
from hcal_root_ad.stats.binomial import Floats, deviance, pull

SOUND, NORMAL_QUARTILE = 0.25, 0.3186
"""Share of channels that must fit, and how far a quarter of a normal distribution reaches, in standard deviations."""
MEDIAN = 1.57
"""Variance of a median over that of a mean, for many normal values (π/2)."""
FARTHEST = 3.0
"""A ring's pileup power is moved by this many of its standard errors at most."""
CHANCE = 0.01
"""Expected number of places that chance alone calls changed, of a sub-detector's channels or of a level's units."""


@dataclass(frozen=True, eq=False)
class Against:
    """One sub-detector of a run, against a reference.

    Attributes:
        rates: what the reference knows. reference: the same, its rings' pileup powers moved to fit the run.
        series, log_pileup: the lumisections compared, and their (LS,) log pileup.
        sums: digis observed and expected over them.
        error: (channels,) standard error of the shift: statistics of the run, and of the reference and its
            runs, scaled up by ``misfit``.
        misfit: typical deviation of the channels in units of their errors, where it is above 1; a reference of
            another detector shows here, and never as thousands of changed channels.
    """

    rates: Rates
    reference: Reference
    series: SubdetectorCounts
    log_pileup: Floats
    sums: ReferenceSums
    error: Floats
    misfit: float

    @property
    def live(self) -> NDArray[np.bool_]:
        """(channels,) which channels the reference knows."""
        return self.reference.live

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """(channels,) empty in the run."""
        return _empty(self.sums)

    @cached_property
    def pull(self) -> Floats:
        """(channels,) binomial pull of the digis observed, statistics alone; 0 where the reference knows nothing."""
        return np.where(self.live, pull(self.sums.observed, np.array(self.sums.events), self.sums.probability), 0.0)

    @cached_property
    def significance(self) -> Floats:
        """(channels,) the shift in units of its error; 0 where the reference knows nothing.

        Or the signed root of the deviance less what the errors of the reference explain, where that is smaller: the
        one is right for many digis, the other for few.
        """
        sums = self.sums
        deviances = deviance(sums.observed, np.array(sums.events), sums.probability)
        root = np.sqrt(np.maximum(deviances, 0)) / np.sqrt(sums.information * self.error**2)
        return np.where(self.live, np.sign(sums.shift) * np.minimum(root, np.abs(sums.shift) / self.error), 0.0)

    def by_lumisection(self, where: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """(LS,) digis observed and expected in the channels where a (channels,) mask says."""
        expected = np.zeros(len(self.series))
        for first in range(0, len(self.series), CHUNK):
            rows = slice(first, first + CHUNK)
            p = expected_share(self.reference, self.log_pileup[rows]) * self.live
            expected[rows] = self.series.events[rows] * p[:, where].sum(axis=1)
        return self.series.counts[:, where].sum(axis=1, dtype=np.float64), expected


def hold_against(rates: Rates, series: SubdetectorCounts, log_pileup: Floats) -> Against:
    """Hold a series with at least one lumisection, at its log pileups (LS,), against the rates of a reference."""
    mean = float(np.average(log_pileup, weights=series.events))
    reference = _with_powers_of(rates, sums_against(rates.reference, series, log_pileup), mean)
    sums = sums_against(reference, series, log_pileup)
    sums = replace(sums, expected=np.where(reference.live, sums.expected, 0.0))
    fit = Against(rates, reference, series, log_pileup, sums, np.ones(len(series.channels)), 1.0)
    statistics, reference_error = 1 / np.sqrt(sums.information), rates.error(mean)
    filled = fit.live & ~fit.empty
    misfit = max(1.0, _typical((sums.shift / np.hypot(statistics, reference_error))[filled]))
    return replace(fit, error=np.hypot(statistics, misfit * reference_error), misfit=misfit)


def _empty(sums: ReferenceSums) -> NDArray[np.bool_]:
    empty: NDArray[np.bool_] = sums.observed <= np.maximum(LEAST_RATE * sums.events, LEAST_DIGIS)
    return empty


def _with_powers_of(rates: Rates, sums: ReferenceSums, mean: float) -> Reference:
    """The reference, each ring's pileup power moved within its error by what the ring does in common in this run.

    Away from the pileup of the clean runs, the power is what a whole ring's shift is first put down to. Empty
    channels say nothing of it.
    """
    reference, ring = rates.reference, rates.channels.ring
    power = reference.power.copy()
    if mean == 0:
        return reference
    variance = 1 / sums.information + rates.spread**2
    usable = reference.live & ~_empty(sums)
    for label in np.unique(ring[usable]):
        mates = (ring == label) & usable
        width = abs(mean) * float(np.median(reference.power_error[mates]))
        chance = MEDIAN * float(np.median(variance[mates])) / mates.sum()
        share = width**2 / (width**2 + chance)
        moved = np.clip(share * np.median(sums.shift[mates]), -FARTHEST * width, FARTHEST * width)
        power[ring == label] += moved / mean
    return replace(reference, power=power)


def _typical(deviations: Floats) -> float:
    """Width of normal deviations, as their nearest quarter shows it: faults of the others do not widen it."""
    return float(np.quantile(np.abs(deviations), SOUND) / NORMAL_QUARTILE) if len(deviations) else 0.0


def threshold(places: int, samples: int = 0) -> float:
    """Significance that ``CHANCE`` healthy places of so many exceed, in either direction.

    Where the error itself is known only from the scatter of some places, it is Student's, not normal.
    """
    tail = CHANCE / (2 * max(places, 1))
    return float(-stdtrit(samples - 1, tail) if samples > 1 else -ndtri(tail))


SMALLEST = 4
"""Fewer channels than this make no unit."""


def readout_levels(channels: ChannelTable) -> tuple[Units, ...]:
    """Sub-detector, halves, readout boxes, readout modules and (in HB) QIE cards."""
    tree = unit_tree(channels)
    levels = (tree.subdetector, tree.half, tree.box, tree.module)
    if not (channels.card > 0).all():
        return levels
    labels = [f"{tree.module.names[m]}-card{card}" for m, card in zip(tree.module.of, channels.card, strict=True)]
    names, of = np.unique(labels, return_inverse=True)
    return (*levels, Units(of.astype(np.intp), tuple(map(str, names))))


LEAST_CHANGE, LEAST_UNIT_CHANGE = 0.10, 0.05
"""Relative change of the rate of a channel, and of a readout unit as a whole, below which it is drift."""
BEYOND = 0.5
"""The same beyond what a larger unit explains: digis lost alike change rates unlike, the more of them near p = 1."""
HALF_LEVEL, BOX_LEVEL = 1, 2
"""Places of halves and boxes among :func:`~hcal_root_ad.compare.shifts.readout_levels`."""
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


class ChangeKind(StrEnum):
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
    change: ChangeKind
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


def channel_changes(against: Against) -> dict[ChangeKind, Mask]:
    """(channels,) where each change happened; every channel has one at most.

    A change is beyond what chance does once in a hundred comparisons, and what the reference's errors explain, and
    more than drift.
    """
    limit = threshold(len(against.live))
    far, ratio = np.abs(against.significance) > limit, np.exp(against.sums.shift)
    empty = far & against.empty & (ratio < 1)
    return {
        ChangeKind.EMPTY: empty,
        ChangeKind.FILLED: ~against.live & (_above_the_floor(against) > limit),
        ChangeKind.LOWER: far & (ratio < 1 - LEAST_CHANGE) & ~empty,
        ChangeKind.HIGHER: far & (ratio > 1 + LEAST_CHANGE),
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
        common = _common_error(against, [box.shift for box in boxes], both) / np.sqrt(len(boxes) / len(units))
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
    in_units, explained = np.zeros(len(channels), dtype=bool), np.zeros(len(channels))
    for depth, level in enumerate(readout_levels(channels)):
        for name, change, where in _lost_or_found(against, level, changes):
            if not in_units[where].all():
                lines.append(_line(against, name, change, where))
                in_units |= where
        for shift, members in _moved(against, level, depth, explained):
            change = ChangeKind.LOWER if shift.shift < 0 else ChangeKind.HIGHER
            lines.append(_line(against, shift.unit, change, members, shift))
            explained[members] = shift.shift
    return tuple(sorted([*lines, *_single(against, changes, in_units, explained)], key=by_weight))


def by_weight(line: Changed) -> tuple[bool, float]:
    """Key of the order in which people should see lines: what is empty first, then by digis lost or gained."""
    return line.change is not ChangeKind.EMPTY, -abs(line.observed - line.expected)


def _lost_or_found(
    against: Against, level: Units, changes: Mapping[ChangeKind, Mask]
) -> Iterator[tuple[str, ChangeKind, Mask]]:
    """Units of which most channels that the reference has are empty, or most of all are filled that it has not."""
    instrumented = against.series.channels.instrumented
    for change, of in ((ChangeKind.EMPTY, against.live), (ChangeKind.FILLED, instrumented)):
        size, changed_channels = (
            np.bincount(level.of[where], minlength=len(level.names)) for where in (of, of & changes[change])
        )
        for unit in np.flatnonzero((size >= SMALLEST) & (changed_channels >= SHARE * size)):
            yield level.names[unit], change, of & changes[change] & (level.of == unit)


def _moved(against: Against, level: Units, depth: int, explained: Floats) -> Iterator[tuple[UnitShift, Mask]]:
    """Units whose channels have another rate in common, beyond what larger units explain already.

    Of a whole sub-detector, that would look like pileup.
    """
    if depth < HALF_LEVEL:
        return
    both, shifts = against.live & ~against.empty, unit_shifts(against, depth)
    limit = threshold(len(shifts), samples=len(shifts))
    for shift in shifts:
        members = both & (level.of == level.names.index(shift.unit))
        before = float(np.median(explained[members]))
        size = abs(shift.shift - before)
        far = size > limit * shift.error and np.expm1(size) > (BEYOND if before else LEAST_UNIT_CHANGE)
        if shift.channels >= SMALLEST and far:
            yield shift, members


def _single(
    against: Against, changes: Mapping[ChangeKind, Mask], explained_by_unit: Mask, explained: Floats
) -> Iterator[Changed]:
    """Channels that changed otherwise than their units."""
    size = np.abs(against.sums.shift - explained)
    least = np.where(explained == 0, np.log1p(LEAST_CHANGE), np.log1p(BEYOND))
    own = (size > threshold(len(explained_by_unit)) * against.error) & (size > least)
    for change, where in changes.items():
        left = own if change in (ChangeKind.LOWER, ChangeKind.HIGHER) else ~explained_by_unit
        for row in np.flatnonzero(where & left):
            name = against.series.channels.name_of(int(row))
            yield _line(against, name, change, np.arange(len(explained_by_unit)) == row)


def _line(against: Against, name: str, change: ChangeKind, where: Mask, moved: UnitShift | None = None) -> Changed:
    """The line of a channel or unit; of a unit that moved as a whole, with its common shift."""
    observed, expected = float(against.sums.observed[where].sum()), float(against.sums.expected[where].sum())
    significance = against.significance[where]
    strongest = float(significance[np.abs(significance).argmax()])
    ratio: float | None
    error: float | None
    if change is ChangeKind.FILLED:
        ratio, error = None, None
        strongest = float(_above_the_floor(against)[where].max())
    elif change is ChangeKind.EMPTY:
        ratio, error = observed / expected, float(np.sqrt(observed + 1)) / expected
    else:
        own = (against.sums.shift[where], against.error[where])
        shift, error = (moved.shift, moved.error) if moved else (float(values.item()) for values in own)
        strongest = shift / error if moved else strongest
        ratio, error = float(np.exp(shift)), float(np.exp(shift)) * error
    subdetector = Subdetector(against.series.channels.subdetector[0]).name
    return Changed(subdetector, name, change, int(where.sum()), int(observed), expected, ratio, error, strongest)
