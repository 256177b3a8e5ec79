"""Following each channel's own slow drift within a run, as far as the calibration says it may go.

The reference and the network leave a channel's own shift of the run, a percent or two. Some dozen
lumisections tell it: the most probable shift, given its prior spread, moves with the counts seen
five LS ago and earlier. It stays within two standard errors, counts that look like a fault have no say,
and so a fault cannot be learned away.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from hcal_root_ad.learn.reconstruct import Reconstruction, model_error
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.series import Series
from hcal_root_ad.occupancy import Floats, Numbers, information, probability, pull

LAG = 5
"""LS before a count has a say: a fault is flagged by then."""
MEMORY = 60.0
"""LS after which a count has lost most of its weight; drifts take hundreds."""
CLIP, REJECT = 3.0, 5.0
"""Pulls are cut at the first and have no say beyond the second."""
REACH = 2.0
"""Prior standard errors that a shift may have at most."""
SMALLEST_ERROR = 1e-6
"""A prior error of 0 would be an infinite weight."""
LEAST_ERROR = 0.005
"""What remains unknown of log λ however long one looks: drifts go on."""


class Follower:
    """Running estimate of every channel's shift of log λ; the state is two numbers per channel, and those in wait."""

    def __init__(self, channels: int) -> None:
        self._score = np.zeros(channels)
        self._information = np.zeros(channels)
        self._waiting: deque[tuple[Floats, Floats]] = deque()

    def estimate(self, error: Floats) -> tuple[Floats, Floats]:
        """Shift of log λ and its standard error, from counts of ``LAG`` LS ago and earlier.

        ``error``: (channels,) prior standard error of log λ.
        """
        precision = self._information + np.maximum(error, SMALLEST_ERROR) ** -2.0
        shift = np.clip(self._score / precision, -REACH * error, REACH * error)
        return shift, np.maximum(1 / np.sqrt(precision), np.minimum(LEAST_ERROR, error))

    def add(self, counts: Numbers, events: Floats, log_rate: Floats, shift: Floats) -> None:
        """Take note of one LS's counts, expected at ``log_rate + shift``."""
        p = probability(log_rate + shift)
        z, weight = pull(counts, events, p), information(events, p)
        believed = np.abs(z) < REJECT
        score = weight * shift + np.sqrt(weight) * np.clip(z, -CLIP, CLIP)
        self._waiting.append((believed * score, believed * weight))
        if len(self._waiting) > LAG:
            score, weight = self._waiting.popleft()
            keep = np.exp(-1 / MEMORY)
            self._score = keep * self._score + score
            self._information = keep * self._information + weight


@dataclass(frozen=True, eq=False)
class Expectation:
    """(LS, channels) log λ that each count is held against, and its standard error."""

    log_rate: Floats
    error: Floats


def followed(
    found: Reconstruction, series: Series, reference: Reference, own: Floats, follower: Follower | None = None
) -> Expectation:
    """The reconstruction of a series, moved by each channel's own drift; ``follower`` knows what came before."""
    prior = model_error(reference, own, found.activity)
    follower = follower or Follower(found.log_rate.shape[1])
    log_rate, error = np.empty_like(found.log_rate), np.empty_like(prior)
    for row in range(len(series)):
        shift, error[row] = follower.estimate(prior[row])
        follower.add(series.counts[row], series.events[row], found.log_rate[row], shift)
        log_rate[row] = found.log_rate[row] + shift
    return Expectation(log_rate, error)
