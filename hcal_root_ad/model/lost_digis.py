"""Modules that are far off: what they lost are digis, by one factor, whatever the rate (a link), or rate (a gain)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.unit_tree import BIWEIGHT, CHANNEL_WIDTH, CellBlock, Units, UnitTree
from hcal_root_ad.stats.binomial import HIGHEST_RATE, LOWEST_RATE

Single = NDArray[np.float32]

FAR, FAR_ALONE = 0.05, 0.09
"""A box, or a module, that is off by more may lose (or gain) digis by one factor in all channels, saturated or not."""
DARK = 6.0
"""A module without a digi counts as this much below expectation, in log."""


def digi_factors(cells: CellBlock, tree: UnitTree, module: Single) -> tuple[Single, Single, NDArray[np.bool_]]:
    """Modules that are far off: what is lost are digis, whatever the rate. Log of observed over expected digis.

    Returns the shifts with those of far modules replaced, their variances (0 for others), and which are far.
    """
    modules = tree.modules_of_boxes
    inside = np.bincount(tree.box_of_module, minlength=len(tree.box)).clip(1)
    box = modules.sums @ np.clip(module, -1, 1)
    # Modules of one box are measured alike, or the step from one measure to the other looks like a fault.
    far = (np.abs(module) > FAR_ALONE) | (np.abs(box / inside[:, None]) > FAR)[tree.box_of_module]
    variance = np.zeros_like(module)
    touched = np.flatnonzero(far.any(axis=1))
    if not len(touched):
        return module, variance, far
    rows = np.flatnonzero(far.any(axis=1)[tree.module.of])
    units = Units(np.searchsorted(touched, tree.module.of[rows]), tuple(map(str, touched)))
    n, trials, rate = cells.n[rows], cells.trials[rows], cells.rate[rows]
    p = -np.expm1(-rate)
    expected = trials * p
    # A module may be lost as a whole, in part, or not at all: what fits most channels holds.
    plain = (units.sums @ n) / np.maximum(units.sums @ expected, 1e-6)
    factor, by_digis = plain, np.full(plain.shape, np.inf)
    for start in (plain, np.full_like(plain, 1e-3), np.ones_like(plain)):
        trial = _agreed_factor(units, n, expected, p, start)
        misfit = _misfit(units, n, trials, p * np.maximum(trial, 1e-4)[units.of])
        factor, by_digis = np.where(misfit < by_digis, trial, factor), np.minimum(misfit, by_digis)
    total = np.maximum(units.sums @ expected, 1e-6)
    shifted = np.clip(module[touched], -DARK, DARK)[units.of]
    by_rate = _misfit(units, n, trials, -np.expm1(-np.clip(rate * np.exp(shifted), LOWEST_RATE, HIGHEST_RATE)))
    # One answer per box: what its modules that are far off say together.
    difference = np.zeros_like(module)
    difference[touched] = np.where(far[touched], by_digis - by_rate, 0)
    together = modules.sums @ difference
    better = far[touched] & (together[tree.box_of_module[touched]] < 0)
    lost = np.log(np.maximum(factor, np.exp(-DARK)))
    module, variance, far = module.copy(), variance.copy(), np.zeros_like(far)
    far[touched] = better
    module[touched] = np.where(better, lost, module[touched])
    variance[touched] = np.where(better, 1 / total, 0)  # under health: what a test against it needs
    return module, variance, far


def _agreed_factor(units: Units, n: Single, expected: Single, p: Single, start: Single) -> Single:
    """(units, LS) observed over expected digis of the channels that agree, beginning with ``start``."""
    factor = start
    for _ in range(3):
        f = np.maximum(factor, 1e-3)[units.of]
        scatter = np.maximum(f * expected * (1 - np.minimum(f * p, 0.999)), 0.5) + (CHANNEL_WIDTH * f * expected) ** 2
        weight = np.maximum(1 - (n - f * expected) ** 2 / scatter / BIWEIGHT**2, 0) ** 2
        agree = units.sums @ (weight * expected)
        mean = (units.sums @ (weight * n)) / np.maximum(agree, 1e-6)
        factor = np.where(agree > 1e-3, mean, factor)
    return factor


def _misfit(units: Units, n: Single, trials: Single, p: Single) -> Single:
    """(units, LS) sum of the squared pulls of the unit's channels, each cut at Tukey's constant."""
    p = np.clip(p, 1e-5, 1 - 1e-4)
    mean = trials * p
    pull2 = (n - mean) ** 2 / np.maximum(mean * (1 - p), 0.25)
    return np.asarray(units.sums @ np.minimum(pull2, BIWEIGHT**2))
