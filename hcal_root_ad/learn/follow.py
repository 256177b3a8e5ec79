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
from numpy.typing import NDArray
from scipy.signal import lfilter

from hcal_root_ad.learn.reconstruct import Reconstruction, model_error
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.series import Series, blocks
from hcal_root_ad.stats.binomial import Binomial, Floats

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
KEEP = np.float32(np.exp(-1 / MEMORY))
"""Share of its weight that a count keeps from one LS to the next."""


class Follower:
    """Running estimate of every channel's shift of log λ; the state is two numbers per channel, and those in wait."""

    def __init__(self, channels: int) -> None:
        self._score: Floats = np.zeros(channels, dtype=np.float32)
        self._information: Floats = np.zeros(channels, dtype=np.float32)
        self._waiting: deque[tuple[Floats, Floats]] = deque()

    def follow(self, counts: Floats, events: Floats, log_rate: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Shift of log λ, and its standard error, of further lumisections; then take note of their counts.

        As a count has no say before ``LAG`` LS have passed, ``LAG + 1`` of them are looked at together.

        Args:
            counts, log_rate: (LS, channels), single precision; events: (LS, 1). The expectation before the shift.
            error: (LS, channels) prior standard error of log λ.
        """
        parts = [slice(first, first + LAG + 1) for first in range(0, len(counts), LAG + 1)]
        found = [self._together(counts[rows], events[rows], log_rate[rows], error[rows]) for rows in parts]
        if len(found) == 1:
            return found[0]
        shift, left = zip(*found, strict=True)
        return np.concatenate(shift), np.concatenate(left)

    def _together(self, counts: Floats, events: Floats, log_rate: Floats, error: Floats) -> tuple[Floats, Floats]:
        score, precision = np.empty_like(error), np.empty_like(error)
        for row in range(len(error)):
            if len(self._waiting) + row > LAG:
                self._believe(*self._waiting.popleft())
            score[row], precision[row] = self._score, self._information
        precision += prior_precision(error)
        shift = np.clip(score / precision, -REACH * error, REACH * error)
        expected = Binomial(events, log_rate + shift)
        weight, believed = believed_information(counts, expected)
        deviation = np.sqrt(expected.variance)
        pulled = np.clip(counts - expected.mean, -CLIP * deviation, CLIP * deviation) * expected.steepness
        self._waiting.extend(zip(weight * shift + believed * pulled, weight, strict=True))
        return shift, remaining_error(precision, error)

    def _believe(self, score: Floats, weight: Floats) -> None:
        self._score = KEEP * self._score + score
        self._information = KEEP * self._information + weight


def believed_information(counts: Floats, expected: Binomial) -> tuple[Floats, NDArray[np.bool_]]:
    """(LS, channels) information of the counts on log λ, 0 for those that look like a fault, and which do not."""
    believed = np.abs(counts - expected.mean) < REJECT * np.sqrt(expected.variance)
    return believed * expected.information, believed


def prior_precision(error: Floats) -> Floats:
    """Inverse variance of log λ before any count."""
    return 1 / np.square(np.maximum(error, SMALLEST_ERROR))


def remaining_error(precision: Floats, error: Floats) -> Floats:
    """Standard error of log λ at a precision, from ``error`` on; something always remains unknown."""
    return np.maximum(1 / np.sqrt(precision), np.minimum(LEAST_ERROR, error))


def errors_again(counts: Floats, events: Floats, log_rate: Floats, error: Floats) -> Floats:
    """The standard errors that a :class:`Follower` gave, from what it said.

    Args:
        counts: (LS, channels) from the first LS on. events: (LS, 1).
        log_rate: (LS, channels) with the shift. error: (LS, channels) before any count.
    """
    weight, _ = believed_information(counts, Binomial(events, log_rate))
    delay = np.eye(1, LAG + 2, LAG + 1, dtype=np.float32)[0]
    information = lfilter(delay, np.array([1, -KEEP], dtype=np.float32), weight, axis=0)
    return remaining_error(information + prior_precision(error), error)


@dataclass(frozen=True, eq=False)
class Expectation:
    """(LS, channels) log λ that each count is held against, and its standard error.

    ``exposure``: (LS,) see :meth:`~hcal_root_ad.learn.reference.Reference.exposure`.
    """

    log_rate: Floats
    error: Floats
    exposure: Floats


def followed(
    found: Reconstruction, series: Series, reference: Reference, own: Floats, follower: Follower | None = None
) -> Expectation:
    """The reconstruction of a series, moved by each channel's own drift; ``follower`` knows what came before."""
    follower = follower or Follower(found.log_rate.shape[1])
    log_rate, error = np.empty((2, *found.log_rate.shape), dtype=np.float32)
    for rows in blocks(len(series)):
        prior = model_error(reference, own, found.activity[rows])
        base = found.log_rate[rows].astype(np.float32, copy=False)
        shift, error[rows] = follower.follow(*series.single(rows), base, prior)
        log_rate[rows] = base + shift
    return Expectation(log_rate, error, reference.exposure(series.events, found.activity))
