"""The pileup that OMS gives, as the log pileup of the counts."""

from __future__ import annotations

import numpy as np

from hcal_root_ad.stats.binomial import Floats

TYPICAL_POWER, POWER_WIDTH = 0.8, 0.15
"""Log rate of HB against the log of the pileup, and how far it may differ."""
NOISE = 0.02
"""Scatter of the counts' log pileup about it."""
FEWEST = 5
"""Lumisections with a pileup that are needed to tell anything."""


def expected_log_pileup(pileup: Floats, observed: Floats) -> Floats:
    """(LS,) the log pileup that counts should show, NaN where none is given.

    ``pileup``: (LS,) mean interactions per crossing, NaN where unknown; ``observed``: (LS,) what the counts show.
    Offset and power of one against the other are taken from the run, by its majority (Theil and Sen).
    """
    usable = np.flatnonzero(np.isfinite(pileup) & (pileup > 0))
    out = np.full(len(pileup), np.nan)
    if len(usable) < FEWEST:
        return out
    x, y = np.log(pileup[usable]), observed[usable].astype(np.float64)
    middle = np.median(x)
    pairs = np.abs(x[:, None] - x) > 0.02
    slopes = ((y[:, None] - y) / np.where(pairs, x[:, None] - x, 1.0))[pairs]
    reach = float(np.std(x))
    believed = reach**2 / (reach**2 + (NOISE / POWER_WIDTH) ** 2)
    power = TYPICAL_POWER + (believed * (np.median(slopes) - TYPICAL_POWER) if len(slopes) else 0.0)
    offset = np.median(y - power * (x - middle))
    out[usable] = offset + power * (x - middle)
    return out
