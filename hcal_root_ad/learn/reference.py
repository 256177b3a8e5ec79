"""The reference: each channel's own rate and its ring's pileup response, learned from clean runs.

It is the part of the reconstruction that needs no network: what is static, and what moves with the
lumisection's common activity. The network learns what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.learn.series import Series, blocks
from hcal_root_ad.stats.binomial import Binomial, Floats, information, log_rate, probability, pull, slope

UNKNOWN_POWER = 0.25
"""Prior width of a ring's pileup power around 1, where nothing is known."""
TRANSFERRED_POWER = 0.06
"""Prior width around another detector's power (4 % between simulated detectors, rounded up)."""
CHANNEL_POWER = 0.03
"""Spread of the pileup power between the channels of a ring (2 % in the simulation, rounded up)."""
HUBER = 2.5
"""Pulls beyond this many σ lose weight, so that a few faults in a clean run do no harm."""
REJECT = 8.0
"""Pulls beyond this many σ have no say in an LS's activity, as long as most channels stay within."""
ROUNDS = 20
"""Most alternations between activity, rates and powers; the fit stops earlier when nothing moves."""
STILL = 2e-4
"""Change of the log rate of a typical channel below which the fit stops; counts know it to some 1e-3."""
ENOUGH = 600
"""More lumisections than this are thinned evenly: rates are then known to 0.2 %, drifts are larger."""
RING_DRIFT = 0.003
"""Drift of a whole ring's log rate within a run that has nothing to do with its activity."""
NEWTON_STEPS = 4
RATE_FLOOR = 2e-4
"""A channel with fewer digis per event over the whole clean run counts as not connected."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Expected occupancy of one sub-detector: ``log λ = level + power·u``.

    Attributes:
        level: (channels,) log rate at activity u = 0. level_error: its standard error.
        power: (channels,) response of log rate to the activity, equal within a ring.
        power_error: (channels,) its standard error.
        live: (channels,) False where the clean runs had no digis: not connected, or masked.
        activity: lowest and highest u of the clean runs.
    """

    level: Floats
    level_error: Floats
    power: Floats
    power_error: Floats
    live: NDArray[np.bool_]
    activity: tuple[float, float]

    @cached_property
    def single(self) -> Reference:
        """The same in single precision, which knows a log rate to 3e-7."""
        return replace(
            self,
            level=self.level.astype(np.float32),
            level_error=self.level_error.astype(np.float32),
            power=self.power.astype(np.float32),
            power_error=self.power_error.astype(np.float32),
        )

    def log_rate(self, activity: Floats) -> Floats:
        """(LS, channels) expected log rate at activities u (LS,), in the precision of the level."""
        return self.level + np.multiply.outer(activity.astype(self.level.dtype), self.power)

    def exposure(self, events: Floats, activity: Floats) -> Floats:
        """(LS,) log of the digi-making hits that a live channel sees on average, in lumisections of so many events."""
        typical = np.log(np.exp(self.level[self.live]).mean()) if self.live.any() else 0.0
        return np.asarray(np.log(np.maximum(events, 1)) + typical + activity)

    def expected(self, activity: Floats) -> Floats:
        """(LS, channels) expected digi probability at activities u (LS,)."""
        return probability(self.log_rate(activity))


def _huber(z: Floats) -> Floats:
    return np.minimum(1.0, HUBER / np.maximum(np.abs(z), 1e-9))


def _believed(z: Floats) -> NDArray[np.bool_]:
    """(LS, channels) False for channels at fault, in lumisections where the larger part is not."""
    believed: NDArray[np.bool_] = np.abs(z) < REJECT
    for near in believed:
        if 2 * np.count_nonzero(near) <= len(near):
            near[:] = True
    return believed


def _score(counts: NDArray[np.integer], events: Floats, p: Floats) -> tuple[Floats, Floats]:
    """Robust score and information on log λ of every count."""
    weight = _huber(pull(counts, events, p))
    score = weight * (counts - events * p) * slope(p) / (p * (1 - p))
    return score, weight * information(events, p)


def fit_activity(
    reference: Reference, counts: NDArray[np.integer], events: Floats, start: Floats | None = None
) -> Floats:
    """(LS,) common log activity u of each LS: a robust maximum-likelihood fit over the live channels.

    Half of the channels may be at fault in the same direction before the fit follows them: it starts
    from the median channel (or from ``start``) and then weighs pulls as Huber does.
    """
    activity = np.zeros(len(counts))
    if not reference.live.any():
        return activity
    chosen = np.flatnonzero(reference.live)
    level, power = reference.single.level[chosen], reference.single.power[chosen]
    for rows in blocks(len(counts)):
        n = counts[rows].take(chosen, axis=1).astype(np.float32)
        trials = events[rows, None].astype(np.float32)
        single = log_rate((n + np.float32(0.5)) / (trials + 1))
        u = _median((single - level) / power) if start is None else start[rows]
        for _ in range(NEWTON_STEPS):
            expected = Binomial(trials, level + np.multiply.outer(u.astype(np.float32), power))
            u = u + _activity_step(n, expected, power)
        activity[rows] = u
    return activity


def _median(values: Floats) -> Floats:
    """(LS,) medians of (LS, channels), the mean of the middle two if their number is even."""
    lower, upper = (values.shape[1] - 1) // 2, values.shape[1] // 2
    parted = np.partition(values, upper, axis=1)
    below = parted[:, : upper if lower < upper else upper + 1].max(axis=1)
    return np.asarray((below.astype(np.float64) + parted[:, upper]) / 2)


def _activity_step(counts: Floats, expected: Binomial, power: Floats) -> Floats:
    """(LS,) one Newton step towards the activity at which the robust score vanishes."""
    difference = counts - expected.mean
    size = np.abs(difference) / np.sqrt(expected.variance)
    weight = HUBER / np.maximum(size, HUBER)
    weight[~_believed(size)] = 0
    response = expected.steepness * power
    score = np.vecdot(weight * difference, response)
    information = np.vecdot(weight * expected.variance, response**2)
    return np.asarray(np.clip(score / np.maximum(information, 1e-9), -0.5, 0.5))


def thinning(lumisections: int) -> int:
    """Of so many lumisections every how many-th is enough to learn from."""
    return max(1, -(-lumisections // ENOUGH))


def fit_reference(runs: Sequence[Series], prior_power: Floats | None = None) -> Reference:
    """Learn a reference from the assessable lumisections of clean runs.

    ``prior_power``: (channels,) pileup power of another detector, to fall back to where the clean runs
    say little; 1, less firmly, if not given.

    Raises:
        InputError: if there is no lumisection with events.
    """
    if sum(len(run) for run in runs) == 0:
        raise InputError("the clean runs hold no lumisection with HCAL maps and enough events; give at least some ten")
    every = thinning(sum(len(run) for run in runs))
    counts = np.concatenate([run.counts[::every] for run in runs])
    events = np.concatenate([run.events[::every] for run in runs])
    ring = runs[0].channels.ring
    live = counts.sum(axis=0) > np.maximum(RATE_FLOOR * events.sum(), 5)
    width = UNKNOWN_POWER if prior_power is None else TRANSFERRED_POWER
    prior_power = np.ones(len(ring)) if prior_power is None else prior_power
    # The median LS, so that a fault of less than half of the run is not where the fit starts.
    typical = np.median((counts + 0.5) / (events[:, None] + 1), axis=0)
    nothing = np.zeros(len(ring))
    reference = Reference(log_rate(typical), nothing, prior_power.copy(), nothing, live, (0.0, 0.0))
    if not live.any():
        return reference
    activity = fit_activity(reference, counts, events)
    for _ in range(ROUNDS):
        before = reference.level
        reference = _refine(reference, counts, events[:, None], activity, ring, prior_power, width)
        activity = fit_activity(reference, counts, events, activity)
        centre = float(np.average(activity, weights=events))
        activity = activity - centre
        reference = replace(reference, level=reference.level + reference.power * centre)
        if np.quantile(np.abs(reference.level - before)[live], 0.9) < STILL:
            break
    return replace(reference, activity=(float(activity.min()), float(activity.max())))


def _refine(
    reference: Reference,
    counts: NDArray[np.integer],
    trials: Floats,
    activity: Floats,
    ring: NDArray[np.intp],
    prior_power: Floats,
    width: float,
) -> Reference:
    """One Newton step for the level of each channel and the power of each ring."""
    score, info = _score(counts, trials, reference.expected(activity))
    total = np.maximum(info.sum(axis=0), 1e-9)
    level = reference.level + np.clip(score.sum(axis=0) / total, -0.5, 0.5)

    score, info = _score(counts, trials, probability(level + np.multiply.outer(activity, reference.power)))
    live = reference.live
    # A channel's mean activity says nothing about its power: its level absorbs it.
    centred = activity[:, None] - (info * activity[:, None]).sum(axis=0) / np.maximum(info.sum(axis=0), 1e-9)
    pooled = np.bincount(ring, (live * (score * centred).sum(axis=0)), ring.max() + 1)
    weight = np.bincount(ring, (live * (info * centred**2).sum(axis=0)), ring.max() + 1)
    # A ring drifts by itself too: what little activity moves in a short run must not be mistaken for it.
    trust = 1 / (1 + weight * (RING_DRIFT / max(float(np.std(activity)), 1e-9)) ** 2)
    precision = weight * trust + width**-2
    anchor = np.bincount(ring, (prior_power - reference.power) * width**-2) / np.bincount(ring)
    power = reference.power + ((pooled * trust + anchor) / precision)[ring]
    # Only products power·u matter: keep the scale of the prior.
    share = total * live
    power *= np.average(prior_power, weights=share) / np.average(power, weights=share)
    return replace(
        reference, level=level, level_error=1 / np.sqrt(total), power=power, power_error=(1 / np.sqrt(precision))[ring]
    )
