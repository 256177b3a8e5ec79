"""Forecasts: which channels age, and in which lumisection they will be bad.

A channel's digis over the expected ones follow ``f(t) = 1 + c`` up to an onset s, and ``1 + c − b·(t − s)``
after it. For every onset on a grid the likelihood of (c, b) is a normal distribution; the mixture over
onsets, each with its marginal likelihood, gives the crossing ``s + (1 + c − BAD_BELOW)/b`` an interval that
knows that neither onset nor slope is certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.learn.series import Series
from hcal_root_ad.stats.binomial import Binomial, Floats

BAD_BELOW = 0.5
"""Share of its expected digis below which a channel is bad for physics."""
ONSETS, SIFTED = 24, 4
"""Onsets tried, evenly over the run so far; every fourth of them to find the channels worth it."""
BLOCKS = 60
"""A longer run is summed to this many blocks of lumisections: a ramp that matters lasts many."""
FEWEST = 12
"""Assessed lumisections below which nothing is foretold."""
CONVINCING = 18.0
"""Log marginal likelihood ratio of a ramp against none: of 16,000 channels none should come by chance."""
STRAIGHT = 2.5
"""Mean squared pull left by the ramp above which the channel does something else: it stepped, or was hot."""
LEAST_LOSS = 0.06
"""Share of the digis that a ramp must have taken so far; drifts of a sound detector stay within a few percent."""
HORIZON = 3000
"""Lumisections (19 h, a long fill) within which a crossing is announced."""
DRIFT = 0.01
"""Spread of a sound channel's own drift of ln λ over a few hundred LS, which a slope may be wrong by."""
DRAWS, LEVEL = 600, 0.90
"""Draws from the posterior, and the probability that the interval holds."""


@dataclass(frozen=True)
class Forecast:
    """A channel that loses digis steadily.

    ``crossing``: median LS at which it falls below ``BAD_BELOW`` of its expected digis; ``earliest`` and ``latest``
    bound it with 90 % probability. ``now``: share of the expected digis at the end of what was seen;
    ``loss``: share lost per 100 LS.
    """

    channel: int
    onset: int
    now: float
    loss: float
    earliest: int
    crossing: int
    latest: int


@dataclass(frozen=True, eq=False)
class _Course:
    """(blocks, channels) observed over expected digis and its inverse variance, at times (blocks,).

    ``prior``: (channels,) standard error of the level.
    """

    time: Floats
    ratio: Floats
    weight: Floats
    prior: Floats

    def of(self, channels: NDArray[np.intp]) -> _Course:
        """Some of the channels."""
        return _Course(self.time, self.ratio[:, channels], self.weight[:, channels], self.prior[channels])


class Blocks:
    """Digis seen and expected, summed to blocks of lumisections, from which forecasts are made.

    Args:
        lumisections: how many there will be.
    """

    def __init__(self, lumisections: int) -> None:
        self._length = lumisections
        self._size = max(1, -(-lumisections // BLOCKS))
        self._sums: Floats | None = None
        self._error: Floats | None = None
        self._time, self._counted = np.zeros((2, -(-lumisections // self._size)))
        self._row = 0

    def add(self, series: Series, log_rate: Floats, error: Floats) -> None:
        """Take note of further lumisections.

        Args:
            log_rate, error: (LS, channels) expected log λ without network and drift, and its standard error.
        """
        if self._length < FEWEST:
            return
        if self._sums is None or self._error is None:
            self._sums = np.zeros((3, len(self._time), log_rate.shape[1]))
            self._error = np.zeros(log_rate.shape[1])
        expected = Binomial(series.trials.astype(log_rate.dtype), log_rate)
        for row, lumisection in enumerate(series.lumisections):
            block = self._row // self._size
            for total, one in zip(self._sums, (series.counts, expected.mean, expected.variance), strict=True):
                total[block] += one[row]
            self._error += error[row]
            self._time[block] += lumisection
            self._counted[block] += 1
            self._row += 1

    def forecasts(self, live: NDArray[np.bool_]) -> tuple[Forecast, ...]:
        """Channels that will be bad within the horizon, the soonest first."""
        if self._sums is None or self._error is None:
            return ()
        course = self._course(self._sums, self._error)
        onsets = np.linspace(course.time[0], course.time[-1], ONSETS + 2)[:-2]
        best = np.full(len(live), -np.inf)
        for onset in onsets[::SIFTED]:
            best = np.maximum(best, _fit(course, onset)[0])
        chosen = np.flatnonzero(live & (best > CONVINCING))
        found = _forecasts(course.of(chosen), onsets, chosen)
        return tuple(sorted(found, key=lambda one: (one.crossing, one.channel)))

    def _course(self, sums: Floats, error: Floats) -> _Course:
        observed, expected, variance = sums
        expected = np.maximum(expected, 1e-9)
        ratio, misses = observed / expected, variance / expected
        # Binomial at the ratio itself, so that a channel at half of its digis is not thought better known than it is.
        variance = np.maximum(ratio, 0.05) * (misses + (1 - misses) * np.maximum(1 - ratio, 0)) / expected
        weight = np.where(expected > 1, 1 / np.maximum(variance, 1e-9), 0.0)
        return _Course(self._time / self._counted, ratio, weight, np.maximum(error / self._length, 1e-3))


def forecasts_of(series: Series, log_rate: Floats, error: Floats, live: NDArray[np.bool_]) -> tuple[Forecast, ...]:
    """:class:`Blocks` and forecasts of a whole series."""
    blocks = Blocks(len(series))
    blocks.add(series, log_rate, error)
    return blocks.forecasts(live)


def _fit(course: _Course, onset: float) -> tuple[Floats, Floats, Floats]:
    """Ramps from an onset on: (channels,) log marginal likelihood ratio against none, and (c, b) after the counts.

    Mean (2, channels), covariance (2, 2, channels). The slope's prior is wide: half of the digis within 20 LS.
    """
    x = -np.maximum(course.time - onset, 0.0)[:, None]
    y, w = course.ratio - 1, course.weight
    level, slope = course.prior**-2.0, (0.5 / 20) ** -2
    wx = w * x
    a, b, d = w.sum(axis=0) + level, wx.sum(axis=0), (wx * x).sum(axis=0) + slope
    u, v = (w * y).sum(axis=0), (wx * y).sum(axis=0)
    determinant = a * d - b * b
    mean = np.stack([d * u - b * v, a * v - b * u]) / determinant
    covariance = np.stack([np.stack([d, -b]), np.stack([-b, a])]) / determinant
    gain = 0.5 * (mean[0] * u + mean[1] * v - u * u / a - np.log(determinant / (a * slope)))
    return np.where(mean[1] > 0, gain, -np.inf), mean, covariance


def _forecasts(course: _Course, onsets: Floats, channels: NDArray[np.intp]) -> Iterator[Forecast]:
    """Forecasts of the channels (columns) that follow a ramp and nothing else."""
    gain, mean, covariance = (np.stack(part) for part in zip(*(_fit(course, one) for one in onsets), strict=True))
    best = gain.argmax(axis=0)
    level, slope = mean[best, :, np.arange(len(channels))].T
    left = course.ratio - 1 - level + slope * np.maximum(course.time[:, None] - onsets[best], 0)
    straight = (course.weight * left**2).mean(axis=0) <= STRAIGHT
    for column in np.flatnonzero(straight).tolist():
        fits = gain[:, column], mean[:, :, column], covariance[:, :, :, column]
        if found := _forecast(*fits, onsets, float(course.time[-1]), int(channels[column])):
            yield found


def _forecast(
    gain: Floats, mean: Floats, covariance: Floats, onsets: Floats, end: float, channel: int
) -> Forecast | None:
    """The crossing of one channel, from the fits of all onsets."""
    share = np.exp(gain - gain.max())
    draw = np.random.default_rng(channel)
    which = draw.choice(len(onsets), DRAWS, p=share / share.sum())
    level, slope = np.empty(DRAWS), np.empty(DRAWS)
    for number in np.unique(which):
        drawn = which == number
        spread = covariance[number] + np.diag([0.0, (DRIFT / max(end - onsets[number], 1.0)) ** 2])
        level[drawn], slope[drawn] = draw.multivariate_normal(mean[number], spread, drawn.sum()).T
    onset = onsets[which] + draw.uniform(-0.5, 0.5, DRAWS) * (onsets[1] - onsets[0])
    crossing = np.where(slope > 0, onset + (1 + level - BAD_BELOW) / np.maximum(slope, 1e-9), np.inf)
    now = float(np.median(1 + level - slope * np.maximum(end - onset, 0)))
    lost = float(np.median(slope * np.maximum(end - onset, 0)))
    low, middle, high = np.quantile(crossing, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="nearest")
    if lost < LEAST_LOSS or now < BAD_BELOW or not np.isfinite(high) or middle - end > HORIZON:
        return None
    loss = 100 * float(np.median(slope))
    return Forecast(channel, round(float(np.median(onset))), now, loss, round(low), round(middle), round(high))


def sentences(
    forecasts: Sequence[Forecast], names: Sequence[str], module_of: NDArray[np.intp], modules: Sequence[str]
) -> Iterator[str]:
    """One line for every readout module or single channel that will be bad, the soonest first."""
    by_module: dict[int, list[Forecast]] = {}
    for one in forecasts:
        by_module.setdefault(int(module_of[one.channel]), []).append(one)
    for module, ones in sorted(by_module.items(), key=lambda pair: pair[1][0].crossing):
        where = names[ones[0].channel] if len(ones) == 1 else f"{len(ones)} channels of {modules[module]}"
        first, last = min(one.earliest for one in ones), max(one.latest for one in ones)
        middle = int(np.median([one.crossing for one in ones]))
        loss = float(np.median([one.loss for one in ones]))
        yield (
            f"{where}: {loss:.1%} of the digis lost per 100 LS; below {BAD_BELOW:.0%} at about LS {middle} "
            f"(90 %: LS {first} to {last})"
        )
