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
from hcal_root_ad.occupancy import Floats, probability

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
class _Blocks:
    """(blocks, channels) observed over expected digis and its inverse variance, at times (blocks,)."""

    time: Floats
    ratio: Floats
    weight: Floats


def forecasts_of(series: Series, log_rate: Floats, error: Floats, live: NDArray[np.bool_]) -> tuple[Forecast, ...]:
    """Channels that will be bad within the horizon, the soonest first.

    Args:
        log_rate, error: (LS, channels) expected log λ of the reconstruction, not followed, and its standard error.
    """
    if len(series) < FEWEST:
        return ()
    blocks = _blocks(series, log_rate)
    prior = np.maximum(error.mean(axis=0), 1e-3)
    onsets = np.linspace(blocks.time[0], blocks.time[-1], ONSETS + 2)[:-2]
    best = np.full(len(live), -np.inf)
    for onset in onsets[::SIFTED]:
        best = np.maximum(best, _fit(blocks, prior, onset)[0])
    chosen = np.flatnonzero(live & (best > CONVINCING))
    found = [_forecast(blocks, prior, onsets, int(channel)) for channel in chosen]
    return tuple(sorted((one for one in found if one), key=lambda one: (one.crossing, one.channel)))


def _blocks(series: Series, log_rate: Floats) -> _Blocks:
    size = -(-len(series) // BLOCKS)
    starts = np.arange(0, len(series), size)
    p = probability(log_rate)
    expected = np.add.reduceat(series.trials * p, starts, axis=0)
    observed = np.add.reduceat(series.counts, starts, axis=0)
    ratio = observed / np.maximum(expected, 1e-9)
    misses = np.add.reduceat(series.trials * p * (1 - p), starts, axis=0) / np.maximum(expected, 1e-9)
    # Binomial at the ratio itself, so that a channel at half of its digis is not thought better known than it is.
    variance = np.maximum(ratio, 0.05) * (misses + (1 - misses) * np.maximum(1 - ratio, 0)) / np.maximum(expected, 1e-9)
    counted = np.add.reduceat(np.ones(len(series)), starts)
    time = np.add.reduceat(series.lumisections.astype(float), starts) / counted
    return _Blocks(time, ratio, np.where(expected > 1, 1 / np.maximum(variance, 1e-9), 0.0))


def _fit(blocks: _Blocks, prior: Floats, onset: float) -> tuple[Floats, Floats, Floats]:
    """Ramps from an onset on: (channels,) log marginal likelihood ratio against none, and (c, b) after the counts.

    Mean (2, channels), covariance (2, 2, channels). The slope's prior is wide: half of the digis within 20 LS.
    """
    x = -np.maximum(blocks.time - onset, 0.0)[:, None]
    y, w = blocks.ratio - 1, blocks.weight
    level, slope = prior**-2.0, (0.5 / 20) ** -2
    a, b, d = w.sum(axis=0) + level, (w * x).sum(axis=0), (w * x * x).sum(axis=0) + slope
    u, v = (w * y).sum(axis=0), (w * x * y).sum(axis=0)
    determinant = a * d - b * b
    mean = np.stack([d * u - b * v, a * v - b * u]) / determinant
    covariance = np.stack([np.stack([d, -b]), np.stack([-b, a])]) / determinant
    gain = 0.5 * (mean[0] * u + mean[1] * v - u * u / a - np.log(determinant / (a * slope)))
    return np.where(mean[1] > 0, gain, -np.inf), mean, covariance


def _forecast(blocks: _Blocks, prior: Floats, onsets: Floats, channel: int) -> Forecast | None:
    one = _Blocks(blocks.time, blocks.ratio[:, [channel]], blocks.weight[:, [channel]])
    fits = [_fit(one, prior[[channel]], onset) for onset in onsets]
    gain = np.array([fit[0][0] for fit in fits])
    c, b = fits[int(gain.argmax())][1][:, 0]
    left = one.ratio[:, 0] - 1 - c + b * np.maximum(one.time - onsets[int(gain.argmax())], 0)
    if (one.weight[:, 0] * left**2).mean() > STRAIGHT:
        return None
    share = np.exp(gain - gain.max())
    draw = np.random.default_rng(channel)
    which = draw.choice(len(onsets), DRAWS, p=share / share.sum())
    level, slope = np.empty(DRAWS), np.empty(DRAWS)
    for number in np.unique(which):
        drawn = which == number
        spread = fits[number][2][:, :, 0]
        spread = spread + np.diag([0.0, (DRIFT / max(blocks.time[-1] - onsets[number], 1.0)) ** 2])
        level[drawn], slope[drawn] = draw.multivariate_normal(fits[number][1][:, 0], spread, drawn.sum()).T
    onset = onsets[which] + draw.uniform(-0.5, 0.5, DRAWS) * (onsets[1] - onsets[0])
    crossing = np.where(slope > 0, onset + (1 + level - BAD_BELOW) / np.maximum(slope, 1e-9), np.inf)
    now = float(np.median(1 + level - slope * np.maximum(blocks.time[-1] - onset, 0)))
    lost = float(np.median(slope * np.maximum(blocks.time[-1] - onset, 0)))
    low, middle, high = np.quantile(crossing, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="nearest")
    end = blocks.time[-1]
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
