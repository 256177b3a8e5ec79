"""The two sides of each ring: what they do alike is the ring, what all rings of a side do alike is its half.

Between the two no single lumisection decides: a third of a half's rings at × 0.6 looks like a half that lost, whose
other rings gained. Then it is most rings that count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.unit_tree import BIWEIGHT, NO_SAY, CellBlock, UnitTree, other_of, sum_in_order
from hcal_root_ad.stats.scan import medians

Single = NDArray[np.float32]

FEW_RINGS = 0.03
"""Where most rings of a half are off the other side by more, and its modules the other way, other rings failed."""
LOST_DIGIS = -2.0
"""A module with fewer digis, in log, says nothing of the rings."""
RING_STEP = 3.0
"""Largest shift of a ring in one Newton step: of one with a digi in every event nothing is known."""
RING_WIDTH = 0.01
"""By how much the rings of a side may differ in what they do against those of the other side."""


@dataclass(frozen=True, eq=False)
class RingSides:
    """Sides of the rings of a tree, which holds the channels that are fitted."""

    tree: UnitTree

    def together(self, shift: Single, variance: Single) -> tuple[Single, Single, Single]:
        """(rings, LS) mean shift of the sides of each ring, its variance, and (side rings, LS) what each is off it.

        A side without a say is as the other one.
        """
        of, ring, shift = (
            self.tree.ring_of_side_ring,
            self.tree.sides_of_rings.sums,
            np.clip(shift, -RING_STEP, RING_STEP),
        )
        weight = np.where(variance < NO_SAY, 1 / np.maximum(variance, np.float32(1e-9)), np.float32(0))
        total = ring @ weight
        mean = (ring @ (weight * shift)) / np.maximum(total, np.float32(1e-9))
        error = np.where(total > 0, 1 / np.maximum(total, np.float32(1e-9)), np.float32(NO_SAY))
        return mean, error, np.where(weight > 0, shift - mean[of], np.float32(0))

    def of_halves(self, side: Single, variance: Single) -> Single:
        """(halves, LS) robust mean of (side rings, LS): what all rings of a side do alike its modules do."""
        out = []
        for rows in self._rings_of_halves:
            own, width = side[rows], variance[rows] + np.float32(RING_WIDTH**2)
            off = np.square(own - medians(own.T)) / (width * BIWEIGHT**2)
            weight = np.square(np.maximum(1 - off, 0)) / width
            out.append(sum_in_order(weight * own) / np.maximum(sum_in_order(weight), 1e-9))
        return np.stack(out)

    def silent(self, variance: Single) -> NDArray[np.bool_]:
        """(side rings, LS) which have live channels, but none with a say."""
        return np.asarray((variance >= NO_SAY) & self._with_channels)

    def with_lost_halves(
        self, cells: CellBlock, silent: NDArray[np.bool_], say: Single, module: Single
    ) -> tuple[Single, Single, Single]:
        """Sides of rings (side rings, LS): those that are ``silent``, of lost halves, by what their modules leave.

        Returns a first shift, which the cells have then, the rest of it, and its variance.
        """
        sides = self.tree.side_ring
        lit = self.tree.module.spread((module > LOST_DIGIS).astype(np.float32))
        first = np.where(silent, np.clip(cells.robust_mean(sides, None, lit)[0], -RING_STEP, RING_STEP), np.float32(0))
        cells.move(sides, first)
        cells.newton_step()
        cells.weigh()
        lost, sound = (cells.robust_mean(sides, None, some) for some in (lit, say))
        return first, np.where(silent, lost[0], sound[0]), np.where(silent, lost[1], sound[1])

    def mistaken_for_halves(self, side: Single, variance: Single, module: Single) -> Single:
        """(side rings, LS) shifts of the sides of rings that failed, where they were taken for a loss of their half.

        Then most rings of the half look as if they were off it, the other way. 0 elsewhere. ``side``, ``variance``: as
        in :class:`~hcal_root_ad.model.common_part.CommonLevels`, but (side rings, LS); ``module``: (modules, LS).
        """
        tree = self.tree
        apart = side - side[tree.other_side]
        most = self.of_halves(apart, variance + variance[tree.other_side])
        moved = np.stack([medians(module[modules].T) for modules in self._modules_of_halves])
        farther = np.abs(moved) >= np.abs(moved[self._other_half])
        mistaken = farther & (np.abs(most) > FEW_RINGS) & (most * moved < 0)
        of = tree.half_of_side_ring
        return np.asarray(np.where(mistaken[of], apart - most[of], 0), dtype=np.float32)

    @cached_property
    def _with_channels(self) -> NDArray[np.bool_]:
        """(side rings, 1) whether a side has a live channel."""
        return (np.bincount(self.tree.side_ring.of, minlength=len(self.tree.side_ring)) > 0)[:, None]

    @cached_property
    def _modules_of_halves(self) -> list[NDArray[np.intp]]:
        half = self.tree.half_of_box[self.tree.box_of_module]
        return [np.flatnonzero(half == own) for own in range(len(self.tree.half))]

    @cached_property
    def _other_half(self) -> NDArray[np.intp]:
        """(halves,) the other half of the same sub-detector; itself where there is none."""
        return other_of(self.tree.subdetector_of_half)

    @cached_property
    def _rings_of_halves(self) -> list[NDArray[np.intp]]:
        return [np.flatnonzero(self.tree.half_of_side_ring == half) for half in range(len(self.tree.half))]
