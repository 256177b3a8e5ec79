"""Rule-based DQM: histograms against a reference run, and fixed thresholds on occupancy.

A test of a histogram says that something is wrong in it, not where: every channel in it gets its score.
The reference is the sum of the clean runs; the histograms under test are those of the last five LS.

- χ²: the (ieta, iphi) map of each depth and side, shapes compared as ROOT's ``TH1::Chi2Test("UU")``.
- Kolmogorov–Smirnov: the iphi profile of each ring (ieta, depth), as ROOT's ``TH1::KolmogorovTest``.
- Fixed thresholds, each LS by itself: no digi at all is dead, as in CMSSW's ``HcalDeadCellMonitor``; hot or
  low is a fixed factor off the φ-ring's mean, as for hot towers in CMSSW's
  ``DQM/EcalMonitorClient/src/OccupancyClient.cc`` (factor 100 and more than 20 hits there, out of reach of
  a digi probability near 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import Fitted, System, Training
from studies.evaluate.scoring import FromCounts, window_sum, with_clean_threshold

FACTOR = 2.0
"""Times more or less than the ring's mean that is hot or low: rings of Run 3 spread by some 8 %."""
DEAD_SCORE = 10.0
"""Score of a channel without a digi; 1 is the threshold."""

Labels = NDArray[np.intp]


def depth_maps(channels: ChannelTable) -> Labels:
    """(channels,) label of the depth map and side."""
    labels: Labels = np.unique(channels.depth * 2 + channels.side, return_inverse=True)[1]
    return labels


def signed_rings(channels: ChannelTable) -> Labels:
    """(channels,) label of (ieta, depth)."""
    labels: Labels = np.unique(channels.ring * 2 + channels.side, return_inverse=True)[1]
    return labels


def per_element(values: NDArray[np.generic], element: Labels) -> Floats:
    """(LS, elements) sums of (LS, channels) over each element."""
    member = (element[:, None] == np.arange(element.max() + 1)).astype(np.float64)
    sums: Floats = values.astype(np.float64) @ member
    return sums


def chi2_scores(series: SubdetectorCounts, reference: Floats) -> Floats:
    """(χ² − ndf)/√(2·ndf) of each depth map, in all its channels; ``reference``: (channels,) counts."""
    element = depth_maps(series.channels)
    n = window_sum(series.counts, series)
    ratio = per_element(n, element) / per_element(reference[None], element)
    both = n + reference
    # ROOT's form: (√(M/N)·n − √(N/M)·m)² / (n + m) with totals N and M.
    scale = np.maximum(ratio, 1e-12)[:, element]
    chi2 = per_element((n - scale * reference) ** 2 / scale / np.maximum(both, 1), element)
    freedom = np.maximum(per_element(both > 0, element) - 1, 1)
    scores = np.where(ratio > 0, (chi2 - freedom) / np.sqrt(2 * freedom), 0)
    spread: Floats = scores.astype(np.float32)[:, element]
    return spread


def kolmogorov_scores(series: SubdetectorCounts, reference: Floats) -> Floats:
    """Largest distance of the cumulative iphi profiles of each ring × √(N·M/(N + M)), in all its channels."""
    channels, element = series.channels, signed_rings(series.channels)
    order = np.lexsort((channels.iphi, element))
    first = np.searchsorted(element[order], np.arange(element.max() + 1))

    def cumulative(counts: Floats) -> tuple[Floats, Floats]:
        total = np.add.reduceat(counts[:, order], first, axis=1)
        running = np.cumsum(counts[:, order], axis=1)
        before = running[:, first] - counts[:, order][:, first]
        own = element[order]
        return (running - before[:, own]) / np.maximum(total, 1)[:, own], total

    (seen, n), (expected, m) = cumulative(window_sum(series.counts, series)), cumulative(reference[None])
    distance = np.maximum.reduceat(np.abs(seen - expected), first, axis=1)
    scores: Floats = (distance * np.sqrt(n * m / np.maximum(n + m, 1))).astype(np.float32)
    return scores[:, element]


@dataclass(frozen=True, eq=False)
class FixedThresholds:
    """``filled``: (channels,) False where clean runs have no digi: such channels are masked, not dead."""

    filled: NDArray[np.bool_]

    def score(self, series: SubdetectorCounts) -> Floats:
        """|log(n / ring's mean)| / log(factor) per LS, so that 1 is the threshold; half a digi stands for none."""
        ring = series.channels.ring
        total = per_element(series.counts * self.filled, ring)
        mean = total / np.maximum(per_element(self.filled[None], ring), 1)
        off = np.abs(np.log(np.maximum(series.counts, 0.5) / np.maximum(mean, 0.5)[:, ring])) / np.log(FACTOR)
        dead = np.where(series.counts == 0, DEAD_SCORE, 0)
        scores: Floats = np.where(self.filled, np.maximum(off, dead), 0).astype(np.float32)
        return scores


def _reference(training: Training) -> Floats:
    total: Floats = np.sum([run.counts.sum(axis=0, dtype=np.float64) for run in training.learn], axis=0)
    return total


def _fit_chi2(training: Training) -> Fitted:
    return with_clean_threshold(partial(chi2_scores, reference=_reference(training)), training)


def _fit_kolmogorov(training: Training) -> Fitted:
    return with_clean_threshold(partial(kolmogorov_scores, reference=_reference(training)), training)


def _fit_fixed(training: Training) -> Fitted:
    return FromCounts(FixedThresholds(_reference(training) > 0).score, threshold=1.0)


SYSTEMS: tuple[System, ...] = (
    System("χ² test", "depth maps against a reference run", _fit_chi2),
    System("Kolmogorov–Smirnov test", "iphi profiles of rings against a reference run", _fit_kolmogorov),
    System("fixed thresholds", "no digis, or twice off the ring's mean, as CMSSW's DQM", _fit_fixed),
)
