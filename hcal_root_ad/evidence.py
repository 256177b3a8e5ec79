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

from hcal_root_ad.stats.binomial import HIGHEST_RATE, Floats, Numbers, rate

LOSSES = (0.02, 0.4, 0.65, 0.8)
"""Factors on the digi probability. 0.8 leaves a dead zone of about 10 %: drifts below it never add up."""
GAINS = (1.25, 1.6, 2.5, 4.0)
"""Factors on the rate λ, so that channels near p = 1 keep the same dead zone as others."""
BAND = 2.0
"""Standard errors of the model that count as healthy."""
HYPOTHESES = len(LOSSES) + len(GAINS)
IS_LOSS = np.arange(HYPOTHESES) < len(LOSSES)


def log_likelihood_ratios(counts: Numbers, events: Floats, log_rate: Floats, error: Floats) -> NDArray[np.float32]:
    """(hypotheses, …) log-likelihood ratio of each fault against health.

    Health is not one rate but all within ``BAND`` standard errors of the expected one (``error``, of
    log λ): a loss is held against the lowest of them, a gain against the highest, and the factors
    count from there. What the model may be wrong by therefore never adds up to a fault.
    """
    ratios = np.empty((HYPOTHESES, *np.shape(counts)), dtype=np.float32)
    misses = events - counts
    # log q = −λ throughout, q = 1 − p being the probability of a miss.
    lowest = rate(log_rate - BAND * error)
    p = -np.expm1(-lowest)
    for h, factor in enumerate(LOSSES):
        ratios[h] = counts * float(np.log(factor)) + misses * (np.log1p(-factor * p) + lowest)
    highest = rate(log_rate + BAND * error)
    log_p = np.log(-np.expm1(-highest))
    for h, factor in enumerate(GAINS, start=len(LOSSES)):
        higher = np.minimum(factor * highest, HIGHEST_RATE)
        ratios[h] = counts * (np.log(-np.expm1(-higher)) - log_p) + misses * (highest - higher)
    return ratios


@dataclass(frozen=True, eq=False)
class Excursions:
    """Excursions of the sums above some height, one per row.

    ``hypothesis``, ``channel``, ``first`` and ``last`` (positions of lumisections, inclusive) and
    ``peak`` (natural-log likelihood ratio, less what was asked for beyond the height).
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

    Where and when an excursion began is known of every sum; its peak is followed only once it has reached the height.

    Args:
        channels: number of channels.
        height: excursions whose peak stays below it are forgotten.
        cap: sums stop growing here, so that a long fault is forgotten soon after its end.
    """

    def __init__(self, channels: int, height: float, cap: float = np.inf) -> None:
        shape = (HYPOTHESES, channels)
        self.sums = np.zeros(shape, dtype=np.float32)
        self._height, self._cap = np.float32(height), np.float32(cap)
        self._lasted = np.zeros(shape, dtype=np.int32)
        """For how many lumisections each sum has been above 0."""
        self._high = _NONE
        self._is_high = np.zeros(self.sums.size, dtype=np.bool_)
        self._closed: list[_High] = []
        self._position = 0

    def add(self, ratios: Floats, extra: float = 0.0) -> None:
        """Add one lumisection's log-likelihood ratios (hypotheses, channels).

        ``extra`` evidence is asked for in this lumisection, beyond the height.
        """
        self.sums += ratios
        np.clip(self.sums, 0, self._cap, out=self.sums)
        self._lasted += 1
        self._lasted *= self.sums > 0
        asked = np.float32(extra)
        self._follow_high(asked)
        reaching = self.sums >= self._height + asked
        if reaching.any():
            self._begin(np.flatnonzero(reaching), asked)
        self._position += 1

    def _follow_high(self, asked: np.float32) -> None:
        """Take note of the peaks of excursions that have reached the height, and of those that end."""
        high = self._high
        now = self.sums.ravel()[high.cell]
        higher = now >= high.top
        high.top[higher], high.last[higher] = now[higher], self._position
        np.maximum(high.peak, now - asked, out=high.peak)
        ended = now <= 0
        if ended.any():
            self._is_high[high.cell[ended]] = False
            self._closed.append(high.part(ended))
            self._high = high.part(~ended)

    def _begin(self, reaching: NDArray[np.intp], asked: np.float32) -> None:
        """Follow excursions from where they reach the height."""
        new = reaching[~self._is_high[reaching] & (self._lasted.ravel()[reaching] > 0)]
        self._is_high[new] = True
        first = self._position + 1 - self._lasted.ravel()[new].astype(np.intp)
        last, top = np.full(len(new), self._position), self.sums.ravel()[new]
        self._high = _joined([self._high, _High(new, first, last, top, top - asked)])

    def excursions(self) -> Excursions:
        """All excursions so far, those still under way included."""
        found = _joined([*self._closed, self._high])
        hypothesis, channel = np.divmod(found.cell, self.sums.shape[1])
        return Excursions(hypothesis, channel, found.first, found.last, found.peak)

    def signed(self) -> NDArray[np.float32]:
        """(channels,) strongest sum of each channel in log10, negative for a loss."""
        loss, gain = self.sums[IS_LOSS].max(axis=0), self.sums[~IS_LOSS].max(axis=0)
        signed: NDArray[np.float32] = np.where(loss > gain, -loss, gain) / np.float32(np.log(10))
        return signed


@dataclass(frozen=True, eq=False)
class _High:
    """Excursions that have reached the height: cell of the sums, first position, and that of the largest sum.

    ``top``: that sum. ``peak``: the largest beyond what was asked for.
    """

    cell: NDArray[np.intp]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    top: NDArray[np.float32]
    peak: NDArray[np.float32]

    def part(self, chosen: NDArray[np.bool_]) -> _High:
        return _High(*(getattr(self, column)[chosen] for column in _COLUMNS))


_COLUMNS = ("cell", "first", "last", "top", "peak")
_NOWHERE, _NOTHING = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.float32)
_NONE = _High(_NOWHERE, _NOWHERE, _NOWHERE, _NOTHING, _NOTHING)


def _joined(parts: list[_High]) -> _High:
    columns = ([getattr(part, name) for part in parts] for name in _COLUMNS)
    return _High(*(np.concatenate(column) for column in columns))


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
