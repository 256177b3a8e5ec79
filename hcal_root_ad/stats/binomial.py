"""The statistics of occupancy: how often a channel has a digi, as pileup and time move it.

A channel that sees particles at rate λ per event has a digi with probability
``p = 1 − exp(−λ)``, and ``log λ = a + k·u + δ``: the channel's own level a, the pileup power k of its
ring, the lumisection's common log activity u, and a small correction δ that a network may learn.
Counts are binomial; ten real lumisections show nothing beyond that (run 306138).

Arrays are (LS, channels) unless said otherwise; every function here is pure, and single precision stays single.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Numbers = NDArray[np.floating] | NDArray[np.integer]

SMALLEST, LARGEST = 1e-5, 1 - 1e-5
"""Probabilities are kept inside these, so that one count never has infinite weight."""


LOWEST_RATE, HIGHEST_RATE = float(-np.log1p(-SMALLEST)), float(-np.log1p(-LARGEST))
LOWEST_LOG_RATE, HIGHEST_LOG_RATE = float(np.log(LOWEST_RATE)), float(np.log(HIGHEST_RATE))


def rate(log_rate: Floats) -> Floats:
    """λ, inside of what the smallest and largest probabilities allow; it is also −log(1 − p)."""
    with np.errstate(over="ignore"):
        return np.clip(np.exp(log_rate), LOWEST_RATE, HIGHEST_RATE)


def probability(log_rate: Floats) -> Floats:
    """Digi probability of a log rate: 1 − exp(−exp(log λ))."""
    return -np.expm1(-rate(log_rate))


def log_rate(p: Floats) -> Floats:
    """Log rate of a digi probability, the inverse of :func:`probability` (complementary log-log)."""
    return np.log(-np.log1p(-np.clip(p, SMALLEST, LARGEST)))


def slope(p: Floats) -> Floats:
    """dp / dlog λ = −(1 − p)·log(1 − p)."""
    return -(1 - p) * np.log1p(-p)


def pull(counts: Numbers, events: Floats, p: Floats) -> Floats:
    """Binomial pull (n − N·p) / √(N·p·(1−p)); 0 where there were no events."""
    variance = events * p * (1 - p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 0, (counts - events * p) / np.sqrt(variance), 0.0)


def information(events: Floats, p: Floats) -> Floats:
    """Fisher information on log λ of a binomial count: N·(dp/dlog λ)² / (p·(1−p))."""
    return events * slope(p) ** 2 / (p * (1 - p))


def deviance(counts: Numbers, events: Floats, p: Floats) -> Floats:
    """Twice the log-likelihood ratio of the observed fraction against p; ≥ 0, about 1 on average if p is right."""
    misses = events - counts
    with np.errstate(invalid="ignore", divide="ignore"):
        hit = np.where(counts > 0, counts * np.log(counts / (events * p)), 0.0)
        miss = np.where(misses > 0, misses * np.log(misses / (events * (1 - p))), 0.0)
    return np.asarray(np.maximum(2 * (hit + miss), 0.0))  # rounding leaves a little less than 0 where p is right


class Binomial:
    """What counts of N events are expected to be at log rates, and what a count then says.

    Attributes:
        rate: λ. p: digi probability. mean: N·p. variance: N·p·(1 − p).
    """

    def __init__(self, events: Floats, log_rate: Floats) -> None:
        self.rate = rate(log_rate)
        self.p = -np.expm1(-self.rate)
        self.mean = events * self.p
        self.variance = self.mean * (1 - self.p)

    def pull(self, counts: Numbers) -> Floats:
        """(n − N·p) / √(N·p·(1 − p)), see :func:`pull`."""
        return np.asarray((counts - self.mean) / np.sqrt(self.variance))

    @cached_property
    def steepness(self) -> Floats:
        """λ/p = dlog(odds) / dlog λ: what the difference between a count and its mean is worth on log λ."""
        return self.rate / self.p

    @property
    def information(self) -> Floats:
        """Fisher information on log λ, see :func:`information`."""
        return np.asarray(self.variance * self.steepness**2)


def newton_step(counts: Floats, events: Floats, log_rate: Floats) -> tuple[Floats, Floats]:
    """Score b and information w on log λ of every count: b / w is the shift that the count asks for.

    With λ = exp(log_rate), p = 1 − exp(−λ) and q = 1 − p: b = (n − N·p)·λ/p and w = N·q·λ²/p. Sums of b over sums of w
    are estimates of a common shift; 1/Σw is their variance.
    """
    lam = np.clip(log_rate, LOWEST_LOG_RATE, HIGHEST_LOG_RATE)
    np.exp(lam, out=lam)
    return newton_step_at(counts, events, lam)


def newton_step_at(
    counts: Floats, events: Floats, rate: Floats, room: tuple[Floats, Floats, Floats] | None = None
) -> tuple[Floats, Floats]:
    """The same at rates λ, inside of what the smallest and largest probabilities allow.

    b = n·(λ/p) − N·λ and w = q·(λ/p)·N·λ, step by step in three arrays: those of ``room``, if given.
    """
    b, w, mean = room or (np.empty_like(rate), np.empty_like(rate), np.empty_like(rate))
    np.negative(rate, out=w)
    np.exp(w, out=w)
    np.subtract(1, w, out=b)
    np.divide(rate, b, out=b)
    np.multiply(rate, events, out=mean)
    w *= b
    w *= mean
    b *= counts
    b -= mean
    return b, w
