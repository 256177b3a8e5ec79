"""Units at fault, and what each channel should have counted if none were.

Every series of every level is scanned, the larger unit first; what it explains is not told twice. The healthy
expectation keeps conditions and the drifts that health allows: it is what is published, and what faults are sized by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.levels import UnitLevels
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.machine import ROWS, Cells, row_blocks
from hcal_root_ad.model.common_part import CommonLevels
from hcal_root_ad.model.model import Thresholds
from hcal_root_ad.model.reference import Limits, Reference
from hcal_root_ad.model.reference_fit import CHANNEL_POWER
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats, probability
from hcal_root_ad.stats.scan import (
    Stretch,
    empirical_null,
    excess_variance,
    medians,
    quantiles,
    quiet,
    stretches,
    strongest,
)
from hcal_root_ad.stats.windows import CLIP, Sums, windows

UNITS_OF = {
    Level.SUBDETECTOR: "subdetector",
    Level.HALF: "half",
    Level.RBX: "box",
    Level.RM: "module",
    Level.RING: "side_ring",
}
"""Which units of a :class:`~hcal_root_ad.model.unit_tree.UnitTree` a level is about."""
SUBDETECTOR_WIDTH = 0.03
"""How far one sub-detector may be off the others from run to run."""
SIDE_WIDTH, LEAST_APART = 0.01, 0.06
"""How far the sides of a healthy ring are off each other from run to run; from which shift on one is at fault."""
_LIMITS = {Level.SUBDETECTOR: "subdetector", Level.HALF: "half", Level.RING: "ring", Level.RBX: "box",
           Level.RM: "module"}  # fmt: skip
"""Levels as :class:`Limits` names them."""
SPEAKS = float(np.log(1.25))
"""A unit that is off by more speaks for what is in it."""
DARK = float(np.log(0.1))
"""A unit with less than a tenth of its digis is dark, and so is all that is in it."""
SHARE = 0.3
"""What moves by less than this share of its larger unit's shift moves with it."""
SLOW = 8
"""Lumisections in which the health of a unit does not change; medians are over four times as many."""
CELLS = 2**17
"""Expectations that are computed together."""


@dataclass(frozen=True)
class UnitFault:
    """One unit of a level (index into its units) with the stretches in which it is at fault, all of one sign."""

    level: Level
    unit: int
    stretches: tuple[Stretch, ...]

    @property
    def sign(self) -> int:
        return 1 if self.stretches[0].shift > 0 else -1

    @property
    def significance(self) -> float:
        return max(abs(stretch.significance) for stretch in self.stretches)

    def rows(self, size: int) -> NDArray[np.bool_]:
        """(LS,) where it is at fault."""
        inside = np.zeros(size, dtype=bool)
        for stretch in self.stretches:
            inside[stretch.first : stretch.last + 1] = True
        return inside


@dataclass(frozen=True, eq=False)
class _Group:
    """Series of one level of one sub-detector: shifts of log rate, with variances.

    ``width``: (units,) how far a healthy unit is off. ``threshold``, ``limits``: from which significance and shift on
    it is at fault. ``walk``: variance per LS by which it wanders. ``response``: (units,) error of its change with the
    log pileup. ``slope``: (LS, units) change of log digis with log rate, if the shift is told as one of digis.
    """

    level: Level
    units: NDArray[np.intp]
    values: Floats
    variances: Floats
    width: Floats
    threshold: float
    limits: Limits
    walk: float = 0.0
    response: Floats | None = None
    slope: Floats | None = None

    def faults(self, log_pileup: Floats) -> Iterator[UnitFault]:
        b, w, response = self._series()
        if quiet(b, w, self.width**2, self.threshold):
            return
        null = empirical_null(sums := Sums.of(b, w, self.width**2, self.walk, log_pileup, response))
        for k in strongest(sums, null, self.threshold):
            prior = float(self.width[k] ** 2)
            found = stretches(
                b[:, k], w[:, k], prior, self.walk, null, self.threshold, 0.0, None, log_pileup, float(response[k])
            )
            level = _LIMITS[self.level]
            found = [s for s in found if self.limits.is_fault(level, s.shift, s.length / len(b))]
            found = [self._in_digis(stretch, k) for stretch in found]
            for sign in (-1, 1):
                if mine := tuple(s for s in found if np.sign(s.shift) == sign):
                    yield UnitFault(self.level, int(self.units[k]), mine)

    def scatter(self) -> float:
        """Variance by which the units scatter over the whole run beyond what is known of them."""
        b, w, _ = self._series()
        sums = Sums.of(b, w, self.width**2)
        return float(excess_variance(*sums.deviations(windows(len(b))[-1]))[0])

    def _series(self) -> tuple[Floats, Floats, Floats]:
        """(LS, units) scores and information, and (units,) variance of the change with the log pileup."""
        variances = np.maximum(self.variances[:, self.units], 1e-9)
        response = np.zeros(len(self.units)) if self.response is None else self.response**2
        return self.values[:, self.units] / variances, 1 / variances, response

    def _in_digis(self, stretch: Stretch, k: int) -> Stretch:
        """The stretch with its shift of the log rate as one of log digis."""
        if self.slope is None:
            return stretch
        slope = float(self.slope[stretch.first : stretch.last + 1, self.units[k]].mean())
        return replace(stretch, shift=stretch.shift * slope, error=stretch.error * slope)


def scan_units(
    levels: UnitLevels,
    tree: UnitTree,
    reference: Reference,
    subdetector: int,
    thresholds: Thresholds,
    *,
    across: bool,
    log_pileup: Floats,
) -> tuple[UnitFault, ...]:
    """Faults of the units of one sub-detector, those that a larger unit explains left out; shifts are of log digis.

    ``across``: whether the sub-detector as a whole can be compared with others. ``log_pileup``: (LS,) against the clean
    runs.
    """
    found: list[UnitFault] = []
    for group in _groups(levels, tree, reference, subdetector, thresholds, log_pileup):
        if group.level is Level.SUBDETECTOR and not across:
            continue
        found += group.faults(log_pileup)
    sides = _sides_apart(levels, tree, subdetector, thresholds.ring).faults(log_pileup)
    found += [fault for fault in sides if _of_one_side(fault, found, levels, tree)]
    size = len(levels.box)
    return tuple(fault for fault in found if not _explained(fault, found, tree, size))


@lru_cache(maxsize=32)
def _units_of(reference: Reference, d: int) -> tuple[list[NDArray[np.intp]], int]:
    """Halves, side rings, boxes and modules of a sub-detector, and how many of its channels are live."""
    tree = reference.tree
    above = (tree.subdetector_of_half, tree.subdetector_of_side_ring, tree.subdetector_of_box,
             tree.subdetector_of_box[tree.box_of_module])  # fmt: skip
    live = max(int((reference.live & (tree.subdetector.of == d)).sum()), 1)
    return [np.flatnonzero(of == d) for of in above], live


def _groups(
    levels: UnitLevels, tree: UnitTree, reference: Reference, d: int, thresholds: Thresholds, log_pileup: Floats
) -> Iterator[_Group]:
    width, least = reference.widths, reference.limits
    (half, ring, box, module), live = _units_of(reference, d)
    # Powers of a unit's channels average out, not wholly: away from the clean runs' pileup a unit is off by the rest.
    by_box, by_module = (CHANNEL_POWER / np.sqrt(live / max(len(units), 1)) for units in (box, module))
    away = float(np.abs(quantiles(log_pileup, (0.1, 0.9))).max())
    inside = np.bincount(tree.box_of_module, minlength=len(tree.box))
    slope = np.stack([np.bincount(tree.box_of_module, row, len(tree.box)) for row in levels.slope]) / inside
    module = module[inside[tree.box_of_module[module]] > 1]

    def widths(level: str, units: NDArray[np.intp], otherwise: float, power: float = 0.0) -> tuple[Floats, Floats]:
        """(units,) how far each may be off, and the error of its change with the log pileup."""
        still, moved = reference.unit_error(level, 0.0), reference.unit_error(level, 1.0)
        if still is None or moved is None:
            return np.full(len(units), np.hypot(otherwise, power * away)), np.full(len(units), power)
        error = np.sqrt(np.maximum(moved[units] ** 2 - still[units] ** 2, 0))
        return np.hypot(still[units], error * away), error

    whole, everywhere = np.array([d]), np.full_like(levels.subdetector, 1e-5)
    own, _ = widths("subdetector", whole, SUBDETECTOR_WIDTH)
    yield _Group(Level.SUBDETECTOR, whole, levels.subdetector, everywhere, own, thresholds.subdetector, least)
    own, response = widths("box", box, width.box, by_box)
    boxes = _Group(
        Level.RBX, box, levels.box, levels.box_variance, own, thresholds.box, least, width.walk_box, response, slope
    )
    own, _ = widths("half", half, width.half)
    if reference.unit_errors and len(half):  # boxes that walked farther than is known took their sides along
        own = np.hypot(own, np.sqrt(boxes.scatter() * len(half) / len(box)))
    yield _Group(Level.HALF, half, levels.half, levels.half_variance, own, thresholds.half, least)
    yield boxes
    own, response = widths("module", module, width.module, by_module)
    yield _Group(
        Level.RM, module, levels.module, levels.module_variance, own, thresholds.module, least,
        width.walk_module, response, levels.slope,
    )  # fmt: skip
    own, _ = widths("ring", tree.ring_of_side_ring[ring], width.ring)
    yield _Group(Level.RING, ring, levels.ring, levels.ring_variance, own, thresholds.ring, least)


def _sides_apart(levels: UnitLevels, tree: UnitTree, d: int, threshold: float) -> _Group:
    """Sides of rings against each other: no condition moves one of them alone."""
    rings = np.flatnonzero((tree.subdetector_of_side_ring == d) & (tree.other_side != np.arange(len(tree.side_ring))))
    variances = levels.ring_variance + levels.ring_variance[:, tree.other_side]
    return _Group(
        Level.RING, rings, levels.apart, variances, np.full(len(rings), SIDE_WIDTH), threshold, Limits(ring=LEAST_APART)
    )


def _of_one_side(fault: UnitFault, others: Sequence[UnitFault], levels: UnitLevels, tree: UnitTree) -> bool:
    """Whether it is this side of a ring that moved, and not the other one, and nothing else has said so."""
    rows, sides = fault.rows(len(levels.ring)), (fault.unit, tree.other_side[fault.unit])
    own, across = (abs(float(levels.ring[rows, side].mean())) for side in sides)
    of_ring = (other.rows(len(rows)) for other in others if other.level is Level.RING and other.unit in sides)
    return own > across and not any(2 * (rows & other).sum() > rows.sum() for other in of_ring)


def _explained(fault: UnitFault, found: list[UnitFault], tree: UnitTree, size: int) -> bool:
    """Whether a larger unit speaks for this one: a ring of a lost sub-detector, a sound module of a lost box."""
    mine = fault.rows(size)
    for other in found:
        if not _inside(fault, other, tree):
            continue
        both = mine & other.rows(size)
        if 2 * both.sum() <= mine.sum():
            continue
        larger = float(np.mean([s.shift for s in other.stretches]))
        own = float(np.mean([s.shift for s in fault.stretches]))
        if abs(larger) <= SPEAKS:
            continue
        dark = larger < DARK and own < 0
        small = abs(own) < SHARE * abs(larger)
        less = own * larger < 0 and abs(own) < 1.3 * abs(larger)
        if fault.level is Level.RING or dark or small or less:
            return True
    return False


def _inside(fault: UnitFault, other: UnitFault, tree: UnitTree) -> bool:
    """Whether a unit is a part of another one."""
    match other.level, fault.level:
        case Level.SUBDETECTOR, Level.HALF | Level.RING | Level.RBX | Level.RM:
            return True
        case Level.HALF, Level.RING:
            return bool(tree.half_of_side_ring[fault.unit] == other.unit)
        case Level.HALF, Level.RBX:
            return bool(tree.half_of_box[fault.unit] == other.unit)
        case Level.HALF, Level.RM:
            return bool(tree.half_of_box[tree.box_of_module[fault.unit]] == other.unit)
        case Level.RBX, Level.RM:
            return bool(tree.box_of_module[fault.unit] == other.unit)
        case _:
            return False


@dataclass(frozen=True, eq=False)
class Expectation:
    """Healthy expectation: ``ring`` (LS, side rings) and ``module`` (LS, modules) shifts without the faults.

    ``moved``: (LS, modules) how far the level of each was from it, whatever the cause.
    """

    reference: Reference
    log_pileup: NDArray[np.float32]
    ring: NDArray[np.float32]
    module: NDArray[np.float32]
    moved: NDArray[np.float32]

    def counts(self, events: NDArray[np.int64], columns: NDArray[np.intp]) -> Cells[np.float32]:
        """(LS, columns) expected digis of channels of the reference; 0 for those that are not live."""
        reference, tree = self.reference, self.reference.tree
        level, power = (a[columns].astype(np.float32) for a in (reference.level, reference.power))
        ring, module, live = tree.side_ring.of[columns], tree.module.of[columns], reference.live[columns]
        trials = events.astype(np.float32)

        def computed(rows: NDArray[np.intp], some: NDArray[np.intp]) -> NDArray[np.float32]:
            out = np.empty((len(rows), len(some)), dtype=np.float32)
            for block in row_blocks(len(rows), max(ROWS, CELLS // max(len(some), 1))):
                few = rows[block]
                eta = np.multiply.outer(self.log_pileup[few], power[some])
                eta += level[some]
                eta += np.take(self.ring[few], ring[some], axis=1)
                eta += np.take(self.module[few], module[some], axis=1)
                out[block] = probability(eta)
            out *= live[some]
            out *= trials[rows, None]
            return out

        return Cells((len(events), len(columns)), np.dtype(np.float32), computed)


def _boxes_in(fault: UnitFault, tree: UnitTree) -> NDArray[np.bool_]:
    """(boxes,) those that are the unit at fault or in it."""
    match fault.level:
        case Level.SUBDETECTOR:
            return np.asarray(tree.subdetector_of_box == fault.unit)
        case Level.HALF:
            return np.asarray(tree.half_of_box == fault.unit)
        case Level.RBX:
            return np.asarray(np.arange(len(tree.box)) == fault.unit)
        case _:
            return np.zeros(len(tree.box), dtype=bool)


def expectation(
    levels: CommonLevels,
    units: UnitLevels,
    tree: UnitTree,
    reference: Reference,
    faults: Sequence[UnitFault],
) -> Expectation:
    """The common part without the units at fault."""
    size = len(levels)
    keep = {name: np.ones((size, len(getattr(tree, unit))), dtype=bool) for name, unit in UNITS_OF.items()}
    for fault in faults:
        rows = fault.rows(size)
        keep[fault.level][rows, fault.unit] = False
        # What is in it is measured against it: a sound module of a lost box looks as if it had gained.
        if (inside := np.flatnonzero(_boxes_in(fault, tree))).size:
            own = np.flatnonzero(np.isin(tree.box_of_module, inside))
            keep[Level.RM][np.ix_(rows, own)] = False
            if fault.level is not Level.RBX:
                keep[Level.RBX][np.ix_(rows, inside)] = False
    lost = ~keep[Level.SUBDETECTOR]
    # What one side of a ring should do the other one tells, or else the conditions.
    across = np.where(keep[Level.RING][:, tree.other_side], units.ring_shift[:, tree.other_side], units.condition)
    ring = np.where(keep[Level.RING], units.ring_shift, across)
    # A lost sub-detector took its conditions along: nothing is known of them in these lumisections.
    ring = np.where(lost[:, tree.subdetector_of_side_ring], 0, ring)
    half = np.where(keep[Level.HALF], units.half, 0)[:, tree.half_of_box]
    box = _healthy(units.box, units.box_variance, keep[Level.RBX], _width(reference, "box"))
    module = _healthy(units.module, units.module_variance, keep[Level.RM], _width(reference, "module"))
    module = (module + (box + half + units.around)[:, tree.box_of_module]).astype(np.float32)
    moved = (levels.module - module).astype(np.float32)
    return Expectation(reference, levels.log_pileup, ring.astype(np.float32), module, moved)


def _width(reference: Reference, level: str) -> Floats:
    """(units,) how far each unit of a level may be off the clean runs."""
    own = reference.unit_error(level, 0.0)
    size = len(getattr(reference.tree, level))
    return np.full(size, getattr(reference.widths, level)) if own is None else own


def _healthy(shift: Floats, variance: Floats, keep: NDArray[np.bool_], width: Floats) -> Floats:
    """(LS, units) shifts that health allows: medians over neighbouring lumisections, as it moves slowly.

    Where a unit is at fault, it counts as it is elsewhere, up to ``CLIP`` widths: beyond, the rest of its series is no
    measure of its health, but part of the fault. ``shift``, ``variance``, ``keep``: (LS, units). ``width``: (units,).
    """
    some = np.flatnonzero(~keep.all(axis=0))
    out, limit = shift.copy(), CLIP * width[some]
    w = np.where(keep[:, some], 1 / np.maximum(variance[:, some], 1e-9), 0)
    level = (w * shift[:, some]).sum(axis=0) / (w.sum(axis=0) + 1 / np.maximum(width[some], 1e-6) ** 2)
    out[:, some] = np.clip(np.where(keep[:, some], shift[:, some], level), -limit, limit)
    return _slow(out)


def _slow(values: Floats) -> Floats:
    """(LS, units) medians over the lumisections around, of every ``SLOW``-th one and linear between them."""
    size = len(values)
    centres = np.unique([*range(0, size, SLOW), size - 1])
    middle = np.stack([medians(values[max(centre - 2 * SLOW, 0) : centre + 2 * SLOW + 1].T) for centre in centres])
    place = np.interp(np.arange(size), centres, np.arange(len(centres)))
    before = place.astype(np.intp)
    share = (place - before)[:, None]
    return np.asarray(middle[before] * (1 - share) + middle[np.minimum(before + 1, len(middle) - 1)] * share)
