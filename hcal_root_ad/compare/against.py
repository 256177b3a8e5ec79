"""One sub-detector of a run against the rates of a reference, at the run's own pileup: expectation, shifts, errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import LEAST_DIGIS, LEAST_RATE
from hcal_root_ad.references.rates import CHUNK, Rates, Sums, expected_share, sums_against
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
        sums: digis seen and expected over them.
        error: (channels,) standard error of the shift: statistics of the run, and of the reference and its
            runs, scaled up by ``misfit``.
        misfit: typical deviation of the channels in units of their errors, where it is above 1; a reference of
            another detector shows here, and never as thousands of changed channels.
    """

    rates: Rates
    reference: Reference
    series: SubdetectorCounts
    log_pileup: Floats
    sums: Sums
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
        """(channels,) binomial pull of the digis seen, statistics alone; 0 where the reference knows nothing."""
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
        """(LS,) digis seen and expected in the channels where a (channels,) mask says."""
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
    found = Against(rates, reference, series, log_pileup, sums, np.ones(len(series.channels)), 1.0)
    statistics, known = 1 / np.sqrt(sums.information), rates.error(mean)
    filled = found.live & ~found.empty
    misfit = max(1.0, _typical((sums.shift / np.hypot(statistics, known))[filled]))
    return replace(found, error=np.hypot(statistics, misfit * known), misfit=misfit)


def _empty(sums: Sums) -> NDArray[np.bool_]:
    empty: NDArray[np.bool_] = sums.observed <= np.maximum(LEAST_RATE * sums.events, LEAST_DIGIS)
    return empty


def _with_powers_of(rates: Rates, sums: Sums, mean: float) -> Reference:
    """The reference, each ring's pileup power moved within its error by what the ring does in common in this run.

    Away from the pileup of the clean runs, the power is what a whole ring's shift is first put down to. Empty
    channels say nothing of it.
    """
    reference, ring = rates.reference, rates.channels.ring
    power = reference.power.copy()
    if mean == 0:
        return reference
    variance = 1 / sums.information + rates.spread**2
    told = reference.live & ~_empty(sums)
    for label in np.unique(ring[told]):
        mates = (ring == label) & told
        width = abs(mean) * float(np.median(reference.power_error[mates]))
        chance = MEDIAN * float(np.median(variance[mates])) / mates.sum()
        share = width**2 / (width**2 + chance)
        moved = np.clip(share * np.median(sums.shift[mates]), -FARTHEST * width, FARTHEST * width)
        power[ring == label] += moved / mean
    return replace(reference, power=power)


def _typical(deviations: Floats) -> float:
    """Width of normal deviations, as their nearest quarter shows it: faults of the others do not widen it."""
    return float(np.quantile(np.abs(deviations), SOUND) / NORMAL_QUARTILE) if len(deviations) else 0.0


def threshold(places: int, known_from: int = 0) -> float:
    """Significance that ``CHANCE`` healthy places of so many exceed, in either direction.

    Where the error itself is known only from the scatter of some places, it is Student's, not normal.
    """
    tail = CHANCE / (2 * max(places, 1))
    return float(-stdtrit(known_from - 1, tail) if known_from > 1 else -ndtri(tail))
