"""What each channel should have counted if nothing were at fault: what is published, and what faults are sized by.

Conditions and the drifts that health allows stay in; what was found to be at fault is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.levels import UnitLevels
from hcal_root_ad.judge.unit_scan import UNITS_OF, UnitFault
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.model.common_part import BLOCK, CommonLevels
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.units import UnitTree
from hcal_root_ad.stats.binomial import Floats, probability

LEAST_SLOPE = 0.2
"""Where digis hardly follow the rate, a shift of digis says little of it."""


@dataclass(frozen=True, eq=False)
class Expectation:
    """Healthy expectation: ``ring`` (LS, rings) and ``module`` (LS, modules) shifts without the faults."""

    reference: Reference
    log_pileup: Floats
    ring: Floats
    module: Floats

    def counts(self, events: NDArray[np.int64], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """(LS, columns) expected digis of channels of the reference; 0 for those that are not live."""
        reference, tree = self.reference, self.reference.tree
        level, power = (a[columns].astype(np.float32) for a in (reference.level, reference.power))
        ring, module, live = tree.ring.of[columns], tree.module.of[columns], reference.live[columns]
        out = np.empty((len(events), len(columns)), dtype=np.float32)
        for first in range(0, len(events), BLOCK):
            rows = slice(first, first + BLOCK)
            eta = level + np.multiply.outer(self.log_pileup[rows].astype(np.float32), power)
            eta += self.ring[rows][:, ring].astype(np.float32)
            eta += self.module[rows][:, module].astype(np.float32)
            out[rows] = events[rows, None] * (probability(eta) * live)
        return out


def expectation(
    levels: CommonLevels,
    units: UnitLevels,
    tree: UnitTree,
    reference: Reference,
    faults: Sequence[UnitFault],
    slope: Floats,
) -> Expectation:
    """The common part without the units at fault; ``slope``: (LS, modules) change of log digis with log rate."""
    size = len(levels)
    keep = {name: np.ones((size, len(getattr(tree, unit))), dtype=bool) for name, unit in UNITS_OF.items()}
    for fault in faults:
        # What a unit at fault does before and after is no measure of its health: the reference is.
        rows = slice(None) if fault.level in (Level.RM, Level.RBX) else fault.rows(size)
        keep[fault.level][rows, fault.unit] = False
    lost = ~keep[Level.SUBDETECTOR]
    ring = np.where(keep[Level.RING], units.ring, 0) + units.condition
    # A lost sub-detector took its conditions along: nothing is known of them in these lumisections.
    ring = np.where(lost[:, tree.subdetector_of_ring], 0, ring)
    half = np.where(keep[Level.HALF], units.half, 0)[:, tree.half_of_box]
    box = np.where(keep[Level.RBX], units.box, 0) + half + units.around
    digis = np.where(keep[Level.RM], units.module, 0) + box[:, tree.box_of_module]
    module = digis / np.maximum(slope, LEAST_SLOPE)
    return Expectation(reference, levels.log_pileup.astype(np.float64), ring, module)
