"""What is right in a world: which pairs are at fault, and what certification each lumisection deserves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.policy import Policy
from studies.stress.judged import Certified, certified
from studies.stress.worlds import WorldRuns

DEAD_BELOW, HOT_ABOVE = 0.1, 1.5
"""Factors on the digi probability from which a channel is bad, not problematic."""
EDGE = 1
"""LS before and behind a fault in which a finding is not false, and where certification is not counted."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth about a judged run.

    Attributes:
        at_fault: (LS, channels) where the actual rate is not the healthy one.
        allowed: (LS, channels) where a flag is not false: at fault, within a fault's edges, or tolerated.
        certification: what is right for each LS.
        counted: (LS,) where certification is counted: not at the edges of what is right.
    """

    at_fault: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    certification: tuple[Certified, ...]
    counted: NDArray[np.bool_]


def truth_of(runs: WorldRuns, policy: Policy) -> Truth:
    """The truth of a world under a policy of certification."""
    judged, lumisections = runs.judged, runs.judged.maps.lumisections
    at_fault = judged.faulty_rates != judged.rates
    allowed = at_fault | runs.tolerated
    for fault in runs.faults:
        near = np.flatnonzero((lumisections >= fault.first - EDGE) & (lumisections <= fault.last + EDGE))
        allowed[np.ix_(near, fault.rows)] = True
    right = _certification(runs, at_fault, policy)
    changes = np.flatnonzero(np.array(right[1:]) != np.array(right[:-1]))
    counted = np.ones(len(right), dtype=np.bool_)
    for change in changes:
        counted[max(change + 1 - EDGE, 0) : change + 1 + EDGE] = False
    return Truth(at_fault, allowed, right, counted)


def _certification(runs: WorldRuns, at_fault: NDArray[np.bool_], policy: Policy) -> tuple[Certified, ...]:
    if not runs.world.knowable:
        return (Certified.NOTSET,) * len(at_fault)
    judged = runs.judged
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(at_fault, judged.faulty_rates / judged.rates, 1.0)
    bad = (factor <= DEAD_BELOW) | (factor >= HOT_ABOVE)
    for fault in runs.faults:
        inside = np.flatnonzero(np.isin(judged.maps.lumisections, fault.first + np.flatnonzero(fault.added > 0)))
        bad[np.ix_(inside, fault.rows)] = True
    return certified(judged.maps.channels, bad, at_fault, judged.detector.live, policy)
