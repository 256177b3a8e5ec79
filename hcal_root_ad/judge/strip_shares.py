"""What each iphi strip should count: its share of its half in this run, robustly, times what the half counts.

All strips of a half see the same pileup. Medians over strips and over lumisections let faults of less than half of
either change nothing. A half that goes dark, or that leaves the other half of its sub-detector, has no say in what its
strips should count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, SUBDET_PM
from hcal_root_ad.stats.binomial import Floats

SILENT = 0.5
"""A strip with less than this share of its neighbours' is held against theirs, not against its own."""
DARK = 0.1
"""Share of the brightest half's digis below which another half is dark."""
APART = 0.1
"""Two halves of a sub-detector whose ratio moved by more (in log) do not see the same: one lost digis."""
ROUNDS = 5


def expected_strips(counts: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """(LS, 288) digis that each strip should hold, and (288,) which strips are live; ``counts`` (LS, 288)."""
    if not len(counts):
        return np.zeros(counts.shape), np.ones(counts.shape[1], dtype=bool)
    halves = counts.reshape(len(counts), len(SUBDET_PM), N_IPHI).astype(float)
    lit = np.median(halves, axis=2) > 0
    shares = _median(halves, lit[..., None], axis=0)
    for _ in range(ROUNDS):
        scale = _median(_over(halves, shares), shares > 0, axis=2)
        shares = _median(_over(halves, scale[..., None]), (lit & (scale > 0))[..., None], axis=0)
    for parity in (0, 1):  # HE has only odd iphi from |ieta| 21 on
        same = shares[:, parity::2]
        middle = np.median(same, axis=1, keepdims=True)
        same[same < SILENT * middle] = np.broadcast_to(middle, same.shape)[same < SILENT * middle]
    flat = shares.reshape(-1)
    return flat * np.repeat(_healthy(scale), N_IPHI, axis=1), flat > 0


def collisions(strips: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(LS,) whether some half has more than a tenth of the digis per event that the run has at its best."""
    if not events.any():
        return np.zeros(len(events), dtype=bool)
    brightest = _over(np.median(strips, axis=2).max(axis=1), events.astype(float))
    return np.asarray(brightest > DARK * np.quantile(brightest[events > 0], 0.9))


def _healthy(scale: Floats) -> Floats:
    """(LS, halves) scale, where a half is at fault: what the others let expect."""
    brightest = scale.max(axis=1, keepdims=True)
    usual = _median(_over(scale, brightest), scale > 0, axis=0)
    scale = np.where(scale < DARK * usual * brightest, usual * brightest, scale)
    for minus, plus in ((0, 1), (2, 3)):
        both = (scale[:, minus] > 0) & (scale[:, plus] > 0)
        if both.any():
            ratio = np.log(np.where(both, scale[:, minus], 1) / np.where(both, scale[:, plus], 1))
            usual_ratio = float(np.median(ratio[both]))
            scale[:, minus] = np.where(
                both & (ratio - usual_ratio < -APART), scale[:, plus] * np.exp(usual_ratio), scale[:, minus]
            )
            scale[:, plus] = np.where(
                both & (ratio - usual_ratio > APART), scale[:, minus] / np.exp(usual_ratio), scale[:, plus]
            )
    return scale


def _median(values: Floats, where: NDArray[np.bool_], axis: int) -> Floats:
    """Median of the chosen values, 0 if there are none."""
    chosen = np.ma.masked_array(values, mask=~np.broadcast_to(where, values.shape))
    return np.asarray(np.ma.filled(np.ma.median(chosen, axis=axis), 0.0))  # type: ignore[no-untyped-call]


def _over(values: Floats, by: Floats) -> Floats:
    """Quotient, 0 where the divisor is."""
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)
