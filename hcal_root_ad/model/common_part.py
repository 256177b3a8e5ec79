"""The common part of a lumisection: log pileup, sub-detectors, rings and modules, each estimated robustly.

The expected log rate of channel c in an LS is

    η = level_c + power_c · u + ring_r + side_s + module_m ,

with one log pileup u for all sub-detectors. Ring shifts hold what conditions do (trigger mix, zero suppression, ageing)
and what a whole sub-detector does; side shifts what one side of a ring does against the other; module shifts hold what
the readout does (half, box and module together). Which of several explanations holds where many units moved is decided
by the cheapest one: a box that fails by itself costs ``FAILED_BOX``, a sub-detector that moves against the others up to
``MOVED_SUBDETECTOR``.

Every LS is fitted by itself, so neither chunks nor order matter.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hcal_root_ad.machine import Cells, in_order
from hcal_root_ad.model.lost_digis import digi_factors
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.ring_sides import RingSides
from hcal_root_ad.model.unit_tree import BLOCK, CellBlock, Units, UnitTree, sum_in_order
from hcal_root_ad.stats.scan import quantiles

Single = NDArray[np.float32]

PILEUPS = 385
"""Values of the log pileup, evenly spaced, at which the digis of a sub-detector are tabulated."""
BOX_WIDTH = 0.02
"""Shift of a readout box's log rate from run to run (0.015 to 0.021)."""
FAILED_BOX, MOVED_SUBDETECTOR = 10.0, 200.0
"""Costs in units of −ln L: a box that fails alone; a sub-detector that moves as a whole."""
FREE = 0.15
"""Shift of one sub-detector's log rate against the others that conditions may cause."""
FREE_BY_PILEUP = 0.06
"""By how much that grows per unit of log pileup outside of the clean runs' range."""
LOWEST, HIGHEST = -8.0, 4.0
"""Log pileup is sought between these."""
STEP = 1.5
"""Largest shift of a log rate in one Newton step."""
FAR_FROM_SUM = 0.1
"""Log pileup that the boxes ask for is found again if it is farther from that of their sum."""
MANY_LOST = 0.25
"""Share of a sub-detector's boxes that are off the others."""
LOST = 0.06
"""A box that is off its sub-detector by less than this may have a say in the rings."""


@dataclass(frozen=True, eq=False)
class CommonLevels:
    """Levels of the common part, one row per LS; shifts are of log rates.

    Attributes:
        log_pileup: (LS,) u: 0 is the mean of the clean runs. log_pileup_error: its standard error.
        subdetector: (LS, sub-detectors) shift of the sub-detector's boxes against what u lets expect (in ``ring`` too).
        ring: (LS, rings) shift of each ring. ring_variance: its statistical variance.
        side: (LS, side rings) further shift of each side of a ring; 0 where none of its boxes had a say.
        side_variance: statistical variance of the shift of that side, ring included.
        module: (LS, modules) shift of each module, its box and half included. module_variance: of ``digis``.
        digis: (LS, modules) the same shift as log of observed over expected digis: one measure for near and far ones.
        far: (LS, modules) where the shift is the log of a factor on digis, not on the rate.
        sound: (LS, boxes) whether the box had a say in the rings.
    """

    log_pileup: Single
    log_pileup_error: Single
    subdetector: Single
    ring: Single
    ring_variance: Single
    side: Single
    side_variance: Single
    module: Single
    module_variance: Single
    digis: Single
    far: NDArray[np.bool_]
    sound: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.log_pileup)

    def ring_by_side(self, tree: UnitTree) -> Single:
        """(LS, side rings) shift of each side of each ring."""
        return self.ring[:, tree.ring_of_side_ring] + self.side

    def rows(self, where: slice | NDArray[np.intp]) -> CommonLevels:
        """Some of the lumisections."""
        return CommonLevels(*(getattr(self, field.name)[where] for field in fields(self)))

    def replaced(self, rows: NDArray[np.intp], other: CommonLevels) -> CommonLevels:
        """The same with some lumisections taken from others."""
        out = {}
        for field in fields(self):
            out[field.name] = getattr(self, field.name).copy()
            out[field.name][rows] = getattr(other, field.name)
        return CommonLevels(**out)


def joined(parts: list[CommonLevels]) -> CommonLevels:
    """Lumisections one after the other."""
    return CommonLevels(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(CommonLevels)))


@lru_cache(maxsize=8)
def common_part_fit(reference: Reference) -> CommonPartFit:
    """The fit of a reference, made once."""
    return CommonPartFit(reference)


class CommonPartFit:
    """Fits the common part of lumisections of a detector, against its reference."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._live = np.flatnonzero(reference.live)
        tree = reference.tree.of_rows(self._live)
        self.tree: UnitTree = tree
        self._level = reference.level[self._live].astype(np.float32)[:, None]
        self._power = reference.power[self._live].astype(np.float32)[:, None]
        self._subdetectors = len(tree.subdetector)
        weight = -np.expm1(-np.exp(self._level[:, 0]))
        self._box_power = _means(tree.box, self._power[:, 0], weight)
        self._sides = RingSides(tree)
        filled = np.bincount(tree.box.of, minlength=len(tree.box)) > 0
        self._box_power = np.where(filled, self._box_power, 1.0)
        self._members = [np.flatnonzero((tree.subdetector_of_box == d) & filled) for d in range(self._subdetectors)]
        self._mean_power = _means(tree.subdetector, self._power[:, 0], weight)

    @cached_property
    def _slopes(self) -> Single:
        return _slopes(self.tree.module, self._level, self._power)

    def slope(self, log_pileup: Single) -> Single:
        """(modules, LS) change of a module's log digis with its log rate: 1 at low rates, less where they saturate."""
        place = (log_pileup - LOWEST) / (HIGHEST - LOWEST) * (len(self._slopes[0]) - 1)
        left = np.clip(place.astype(np.intp), 0, len(self._slopes[0]) - 2)
        share = (place - left).astype(np.float32)
        return np.asarray(self._slopes[:, left] * (1 - share) + self._slopes[:, left + 1] * share)

    def fit(
        self,
        counts: NDArray[np.integer] | Cells[np.int32],
        events: NDArray[np.integer],
        pileup: NDArray[np.floating] | None = None,
    ) -> CommonLevels:
        """Levels of lumisections: ``counts`` (LS, channels of the reference), ``events`` (LS,).

        ``pileup``: (LS,) log pileup against the clean runs from elsewhere, NaN where not known.
        """
        if not len(counts):
            return self._empty()
        outside = np.full(len(counts), np.nan) if pileup is None else pileup
        blocks = (slice(first, first + BLOCK) for first in range(0, len(counts), BLOCK))
        return joined(list(in_order(lambda rows: self._block(counts[rows], events[rows], outside[rows]), blocks)))

    def _empty(self) -> CommonLevels:
        tree = self.tree
        sizes = self._subdetectors, len(tree.ring), len(tree.side_ring), len(tree.module)
        s, r, side, m = (np.zeros((0, size), np.float32) for size in sizes)
        u, sound = np.zeros(0, np.float32), np.zeros((0, len(tree.box)), bool)
        return CommonLevels(u, u, s, r, r, side, side, m, m, m, m.astype(bool), sound)

    def _block(
        self, counts: NDArray[np.integer], events: NDArray[np.integer], outside: NDArray[np.floating]
    ) -> CommonLevels:
        """Levels of a block. No sum may depend on how many lumisections are beside each other."""
        cells = CellBlock(counts, events, self._live)
        rough = self._rough_pileup(cells.n, events)
        levels = self._levels(cells, rough, outside)
        rings = self._sides.mistaken_for_halves(levels.side.T, levels.side_variance.T, levels.module.T)
        if rings.any():
            levels = self._levels(cells, rough, outside, rings)
        return levels

    def _levels(
        self, cells: CellBlock, rough: Single, outside: NDArray[np.floating], before: Single | None = None
    ) -> CommonLevels:
        """Levels of a block; ``before``: (side rings, LS) shifts of sides of rings that are known beforehand."""
        tree = self.tree
        u, centre, sound = self._explained(*self._boxes(cells, rough, before), outside)
        asked = u + centre / self._mean_power[:, None]
        # Where many boxes are lost the sum was a bad beginning: the others ask for more than one step from there.
        # (Where all agree it is rings that moved, and another beginning would only share them out otherwise.)
        boxes = tree.subdetector_of_box
        off = np.stack([(~sound[boxes == d]).mean(axis=0) for d in range(self._subdetectors)]) > MANY_LOST
        if (lost := (off & (np.abs(asked - rough) > FAR_FROM_SUM)).any(axis=0)).any():
            u, centre, sound = self._explained(*self._boxes(cells, np.where(lost, asked, rough), before), outside)
        self._expect(cells, u, centre)
        if before is not None:
            cells.move(tree.side_ring, before)
        say = tree.box.spread(sound.astype(np.float32))
        cells.newton_step()
        start = cells.clipped_mean(tree.side_ring, say)
        cells.weigh()
        both, variance = cells.robust_mean(tree.side_ring, start, say)
        ring, _, side = self._sides.together(both, variance)
        side -= self._sides.of_halves(side, variance)[tree.half_of_side_ring]
        cells.move(tree.side_ring, ring[tree.ring_of_side_ring] + side)
        cells.newton_step()
        start = cells.clipped_mean(tree.module)
        cells.weigh()
        module, _ = cells.robust_mean(tree.module, start)
        module, far_variance, far = digi_factors(cells, tree, module)
        cells.move(tree.module, np.where(far, np.float32(0), module))
        if far.any():
            cells.lose_digis(tree.module, module, far)
            say *= tree.module.spread((~far).astype(np.float32))
        cells.newton_step()
        cells.weigh()
        step, side_variance = cells.robust_mean(tree.side_ring, None, say)
        if (silent := self._sides.silent(side_variance)).any():
            moved, step, side_variance = self._sides.with_lost_halves(cells, silent, say, module)
            side += moved
        ring_step, ring_variance, side_step = self._sides.together(step, side_variance)
        side += side_step if before is None else side_step + before
        cells.without(tree.side_ring, ring_step[tree.ring_of_side_ring] + side_step)
        step, variance = cells.robust_mean(tree.module)
        ring, module = ring + ring_step + centre[tree.subdetector_of_ring], np.where(far, module, module + step)
        variance = np.where(far, far_variance, variance)
        error = np.sqrt(1 / np.maximum(self._power_2 @ cells.w, 1e-9))[0]
        slope = self.slope(u)
        digis, variance = np.where(far, module, module * slope), np.where(far, variance, variance * slope**2)
        return CommonLevels(
            log_pileup=_rows_first(u), log_pileup_error=_rows_first(error), subdetector=_rows_first(centre),
            ring=_rows_first(ring), ring_variance=_rows_first(ring_variance),
            side=_rows_first(side), side_variance=_rows_first(side_variance),
            module=_rows_first(module), module_variance=_rows_first(variance), digis=_rows_first(digis),
            far=far.T.copy(), sound=sound.T.copy(),
        )  # fmt: skip

    def _expect(self, cells: CellBlock, log_pileup: Single, shift: Single | None = None) -> None:
        """Set the rates at a log pileup, one for all or (sub-detectors, LS), and shifts of these."""
        u, units = log_pileup, self.tree.subdetector
        np.multiply(self._power, u if u.ndim == 1 else units.spread(u), out=cells.rate)
        cells.rate += self._level
        if shift is not None:
            cells.rate += units.spread(shift)
        np.exp(cells.rate, out=cells.rate)
        cells.clip()

    @cached_property
    def _digis(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Log pileups, ascending, and (sub-detectors, pileups) digis per event, each times its channel's power."""
        u, power = np.linspace(LOWEST, HIGHEST, PILEUPS), np.maximum(self._power, 0)
        digis = [
            self.tree.subdetector.sums @ (power * -np.expm1(-np.exp(np.clip(self._level + power * one, -12, 2.4))))
            for one in u
        ]
        return u, np.concatenate(digis, axis=1)

    def _rough_pileup(self, n: Single, events: NDArray[np.integer]) -> Single:
        """(sub-detectors, LS) log pileup that the digis of each sub-detector ask for, all together."""
        u, digis = self._digis
        share = self._by_power @ n / np.maximum(events, 1)
        return np.stack([np.interp(own, table, u) for own, table in zip(share, digis, strict=True)]).astype(np.float32)

    @cached_property
    def _by_power(self) -> sparse.csr_array:
        """(sub-detectors, channels) power of each channel: times (channels, LS) digis."""
        sums = self.tree.subdetector.sums
        return sparse.csr_array((np.maximum(self._power[sums.indices, 0], 0), sums.indices, sums.indptr), sums.shape)

    @cached_property
    def _power_2(self) -> sparse.csr_array:
        """(1, channels) squared powers."""
        return sparse.csr_array(self._power.T**2)

    def _boxes(self, cells: CellBlock, rough: Single, side: Single | None) -> tuple[Single, Single]:
        """(boxes, LS) log pileup that each box asks for, and its variance; ``side``: (side rings, LS) shifts."""
        tree = self.tree
        self._expect(cells, rough)
        if side is not None:
            cells.move(tree.side_ring, side)
        cells.newton_step()
        first = np.clip(cells.clipped_mean(tree.box), -STEP, STEP)
        cells.move(tree.box, first)
        cells.newton_step()
        cells.weigh()
        second, variance = cells.robust_mean(tree.box)
        second = np.clip(second, -STEP, STEP)
        power = self._box_power[:, None]
        asked = rough[tree.subdetector_of_box] + (first + second) / power
        return np.clip(asked, 2 * LOWEST, 2 * HIGHEST), variance / power**2

    def _explained(
        self, boxes: Single, variance: Single, outside: NDArray[np.floating]
    ) -> tuple[Single, Single, NDArray[np.bool_]]:
        """Pileup (LS,), shift of each sub-detector (sub-detectors, LS) and sound boxes, by the cheapest explanation."""
        members, power = self._members, self._mean_power
        nothing = np.full((3, boxes.shape[1]), np.nan)
        candidates = np.concatenate(
            [quantiles(boxes[rows], (0.15, 0.5, 0.85)) if len(rows) else nothing for rows in members]
            + ([outside[None]] if np.isfinite(outside).any() else [])
        )
        candidates = np.where(np.isnan(candidates), candidates[1], candidates)
        width = variance + (BOX_WIDTH / self._box_power[:, None]) ** 2
        low, high = self.reference.pileup_range
        beyond = np.maximum(np.maximum(low - candidates, candidates - high), 0)
        total = 2 * np.minimum(beyond, 3) - 0.1 * candidates  # of equals: known conditions, and a loss before a gain
        if np.isfinite(outside).any():
            total = total + np.where(np.isnan(outside), 0, np.minimum((candidates - outside) ** 2 / (2 * 0.05**2), 300))
        best = []
        for d, rows in enumerate(members):
            pull = (boxes[rows, None] - candidates) ** 2 / (2 * width[rows, None])
            own = sum_in_order(np.minimum(pull, FAILED_BOX))  # (candidates, LS): centre of this sub-detector
            free = FREE + FREE_BY_PILEUP * beyond
            apart = np.abs(candidates[:, None] - candidates) * power[d] / free
            cost = own[:, None] + MOVED_SUBDETECTOR * np.minimum(apart**2, 1)  # (centre, pileup, LS)
            best.append(cost.argmin(axis=0))
            total = total + cost.min(axis=0)
        ls = np.arange(boxes.shape[1])
        chosen = total.argmin(axis=0)
        centres = np.stack([candidates[index[chosen, ls], ls] for index in best])
        sound = np.zeros(boxes.shape, dtype=bool)
        for d, rows in enumerate(members):
            near = np.abs(boxes[rows] - centres[d]) * power[d]
            sound[rows] = near < np.maximum(LOST, 4 * np.sqrt(width[rows]) * power[d])
            weight = sound[rows] / width[rows]
            total = sum_in_order(weight)
            centres[d] = np.where(total > 0, sum_in_order(weight * boxes[rows]) / np.maximum(total, 1e-9), centres[d])
        u = candidates[chosen, ls]
        agree = np.abs(centres - u) * power[:, None] < FREE + FREE_BY_PILEUP * beyond[chosen, ls]
        names = self.tree.subdetector.names  # HO counts few digis: it follows HB and HE where these are there
        follows = np.array([name == "HO" and len(names) > 1 for name in names])
        say = agree * np.where(follows, 0.0, [len(rows) for rows in members])[:, None]
        total = sum_in_order(say)
        mean = sum_in_order(say * centres) / np.maximum(total, 1e-9)
        u = np.where(np.isfinite(outside), outside, np.where(total > 0, mean, u))
        return u.astype(np.float32), ((centres - u) * power[:, None]).astype(np.float32), sound


def _rows_first(values: NDArray[np.floating]) -> Single:
    """(LS, units) of (units, LS)."""
    return np.ascontiguousarray(np.asarray(values, dtype=np.float32).T)


def _slopes(units: Units, level: Single, power: Single, steps: int = 49) -> Single:
    """(units, steps) of :meth:`CommonPartFit.slope`, over the range of the log pileup."""
    rate = np.exp(np.clip(level + power * np.linspace(LOWEST, HIGHEST, steps, dtype=np.float32), -12, 2.4))
    return np.asarray((units.sums @ (rate * np.exp(-rate))) / np.maximum(units.sums @ -np.expm1(-rate), 1e-9))


def _means(units: Units, values: NDArray[np.floating], weight: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray((units.sums @ (values * weight)) / np.maximum(units.sums @ weight, 1e-12))
