"""Evidence over lumisections: a bank of cumulative sums that finds strong faults at once and weak ones in time.

For each fault hypothesis h the log-likelihood ratio of a count against health adds up as
``S ← max(0, S + log L_h/L_0)`` (E. S. Page, Biometrika 41 (1954) 100). A healthy channel's sum
stays near 0 and its excursions have an exponential tail, so a false-alarm rate sets the threshold.
An excursion's fault starts where the sum left 0 and ends at its peak.

Arrays are (channels,) per lumisection; the state (hypotheses, channels) is all that is carried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.occupancy import LARGEST, Floats, Numbers, probability

LOSSES = (0.02, 0.4, 0.65, 0.8)
"""Factors on the digi probability. 0.8 leaves a dead zone of about 10 %: drifts below it never add up."""
GAINS = (1.25, 1.6, 2.5, 4.0)
"""Factors on the rate λ, so that channels near p = 1 keep the same dead zone as others."""
BAND = 2.0
"""Standard errors of the model that count as healthy."""
HYPOTHESES = len(LOSSES) + len(GAINS)
IS_LOSS = np.arange(HYPOTHESES) < len(LOSSES)


def log_likelihood_ratios(counts: Numbers, events: Floats, log_rate: Floats, error: Floats) -> Floats:
    """(hypotheses, …) log-likelihood ratio of each fault against health.

    Health is not one rate but all within ``BAND`` standard errors of the expected one (``error``, of
    log λ): a loss is held against the lowest of them, a gain against the highest, and the factors
    count from there. What the model may be wrong by therefore never adds up to a fault.
    """
    ratios = np.empty((HYPOTHESES, *np.shape(counts)), dtype=np.float32)
    misses = events - counts
    p = probability(log_rate - BAND * error)
    log_q = np.log1p(-p)
    for h, factor in enumerate(LOSSES):
        ratios[h] = counts * np.log(factor) + misses * (np.log1p(-factor * p) - log_q)
    p = probability(log_rate + BAND * error)
    log_p, log_q = np.log(p), np.log1p(-p)
    for h, factor in enumerate(GAINS, start=len(LOSSES)):
        q = np.maximum(np.exp(factor * log_q), 1 - LARGEST)
        ratios[h] = counts * (np.log1p(-q) - log_p) + misses * (np.log(q) - log_q)
    return ratios


@dataclass(frozen=True, eq=False)
class Excursions:
    """Excursions of the sums above some height, one per row.

    ``hypothesis``, ``channel``, ``first`` and ``last`` (positions of lumisections, inclusive) and
    ``peak`` (natural-log likelihood ratio).
    """

    hypothesis: NDArray[np.intp]
    channel: NDArray[np.intp]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    peak: NDArray[np.float32]

    def above(self, height: float) -> Excursions:
        """Those whose peak reaches a height."""
        high = self.peak >= height
        return Excursions(self.hypothesis[high], self.channel[high], self.first[high], self.last[high], self.peak[high])


class EvidenceBank:
    """The running sums of all channels; feed it lumisections in order, then collect the excursions.

    Args:
        channels: number of channels.
        height: excursions whose peak stays below it are forgotten.
        cap: sums stop growing here, so that a long fault is forgotten soon after its end.
    """

    def __init__(self, channels: int, height: float, cap: float = np.inf) -> None:
        shape = (HYPOTHESES, channels)
        self.sums = np.zeros(shape, dtype=np.float32)
        self._height, self._cap = height, cap
        self._first = np.zeros(shape, dtype=np.int32)
        self._last = np.zeros(shape, dtype=np.int32)
        self._peak = np.zeros(shape, dtype=np.float32)
        self._closed: list[tuple[NDArray[np.generic], ...]] = []
        self._position = 0

    def add(self, ratios: Floats) -> None:
        """Add one lumisection's log-likelihood ratios (hypotheses, channels)."""
        starting = self.sums <= 0
        self._first[starting] = self._position
        sums = np.clip(self.sums + ratios, 0, self._cap).astype(np.float32)
        higher = (sums >= self._peak) & (sums > 0)
        self._peak[higher] = sums[higher]
        self._last[higher] = self._position
        ended = (sums <= 0) & (self._peak > 0)
        self._close(ended & (self._peak >= self._height))
        self._peak[ended] = 0
        self.sums = sums
        self._position += 1

    def _close(self, chosen: NDArray[np.bool_]) -> None:
        hypothesis, channel = np.nonzero(chosen)
        if len(channel):
            where = (hypothesis, channel)
            self._closed.append((hypothesis, channel, self._first[where], self._last[where], self._peak[where]))

    def excursions(self) -> Excursions:
        """All excursions so far, those still under way included."""
        closed = list(self._closed)
        self._close((self.sums > 0) & (self._peak >= self._height))
        found, self._closed = self._closed, closed
        columns = [np.concatenate(column) for column in zip(*found, strict=True)] if found else [np.zeros(0, int)] * 5
        hypothesis, channel, first, last, peak = columns
        return Excursions(
            hypothesis.astype(np.intp),
            channel.astype(np.intp),
            first.astype(np.intp),
            last.astype(np.intp),
            peak.astype(np.float32),
        )

    def signed(self) -> NDArray[np.float32]:
        """(channels,) strongest sum of each channel in log10, negative for a loss."""
        loss, gain = self.sums[IS_LOSS].max(axis=0), self.sums[~IS_LOSS].max(axis=0)
        signed: NDArray[np.float32] = np.where(loss > gain, -loss, gain) / np.float32(np.log(10))
        return signed


def merged(excursions: Excursions, loss: bool) -> Iterator[tuple[int, int, int, float]]:
    """Join overlapping excursions of one direction: (channel, first, last, highest peak), by channel and LS."""
    chosen = np.flatnonzero(IS_LOSS[excursions.hypothesis] == loss)
    order = chosen[np.lexsort((excursions.first[chosen], excursions.channel[chosen]))]
    current: tuple[int, int, int, float] | None = None
    for i in order:
        channel, first, last = int(excursions.channel[i]), int(excursions.first[i]), int(excursions.last[i])
        peak = float(excursions.peak[i])
        if current and current[0] == channel and first <= current[2] + 1:
            current = (channel, current[1], max(current[2], last), max(current[3], peak))
            continue
        if current:
            yield current
        current = (channel, first, last, peak)
    if current:
        yield current
