"""Scan of time series for windows in which they moved: how far, how surely, from when to when.

A series is given by sums: b (T,) scores and w (T,) information per lumisection; Σb/Σw over a window is its mean shift.
A window is held against the series' own level *outside* of it, under the prior that a healthy series stays within
``prior`` (a variance) of its reference. What all series of a group do in a window beyond that is no fault of any of
them: it widens all (the empirical null, see Efron, J. Am. Stat. Assoc. 99 (2004) 96).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.stats.binomial import Floats

FIRST_LENGTHS = (1, 2, 3, 5)
"""These windows begin at every lumisection; longer ones, each 1.6 times the last, at every quarter of their length."""
GROWTH = 1.618
CLIP = 2.0
"""The level outside of a window counts up to this many prior widths: beyond, it is at fault itself."""
QUARTILES = 1.349
"""Distance of the quartiles of a normal distribution."""
CLUSTER, CLUSTER_WIDTH = 0.42, 1.107
"""Share of the series in the densest cluster, and the width of such a cluster of a normal distribution."""
SHORTEST = 1.3
"""The densest cluster counts this many times; so half of the series may fail without widening the others."""
FEWEST_SERIES, MANY_SERIES = 6, 300
"""Fewer series than the first tell no scatter; fewer than the second tell it badly from one window."""
MOST_STRETCHES = 60
"""Stretches looked for in one series."""


@dataclass(frozen=True)
class Window:
    """Windows of one length: ``first`` (windows,) where they begin."""

    length: int
    first: NDArray[np.intp]


def windows(lumisections: int) -> list[Window]:
    """All windows that are looked at in so many lumisections; the last is the whole run."""
    lengths: list[int] = []
    length = 1.0
    while (size := round(length)) < lumisections:
        lengths.append(size)
        length = (
            max(size + 1, size * GROWTH) if size >= FIRST_LENGTHS[-1] else FIRST_LENGTHS[FIRST_LENGTHS.index(size) + 1]
        )
    return [Window(size, _beginnings(size, lumisections)) for size in (*lengths, lumisections)]


def _beginnings(length: int, lumisections: int) -> NDArray[np.intp]:
    """Where windows of one length begin; the last one ends with the run."""
    step = 1 if length <= FIRST_LENGTHS[-1] else max(1, length // 4)
    last = lumisections - length
    return np.unique(np.append(np.arange(0, last + 1, step), last))


@dataclass(frozen=True, eq=False)
class Sums:
    """Cumulative sums of b and w, (T + 1, series), and the prior variance of each series (series,).

    ``walk``: variance per LS by which a healthy series wanders within the run. ``condition``: (T + 1,) cumulative sums
    of what a healthy series may follow, and ``response``: (series,) variance of how much it does.
    """

    b: Floats
    w: Floats
    prior: Floats
    walk: float
    condition: Floats | None = None
    response: Floats | None = None

    @classmethod
    def of(
        cls, b: Floats, w: Floats, prior: Floats, walk: float = 0.0, condition: Floats | None = None,
        response: Floats | None = None,
    ) -> Sums:  # fmt: skip
        """From b and w (T, series); ``condition`` (T,)."""
        sums = None if condition is None else np.concatenate([[0.0], np.cumsum(condition, dtype=np.float64)])
        return cls(_cumulative(b), _cumulative(w), prior, walk, sums, response)

    def widened(self, variance: float) -> Sums:
        """The same under a wider prior."""
        return replace(self, prior=self.prior + variance)

    def deviations(self, window: Window) -> tuple[Floats, Floats]:
        """(windows, series) mean shift against the level outside, and its variance; variance inf where nothing is."""
        stop = window.first + window.length
        b = (self.b[stop] - self.b[window.first]).astype(np.float32)
        w = (self.w[stop] - self.w[window.first]).astype(np.float32)
        prior = self.prior.astype(np.float32)
        precision = self.w[-1].astype(np.float32) - w + 1 / prior
        off = (self.b[-1].astype(np.float32) - b) / precision
        limit = CLIP * np.sqrt(prior)
        clipped = np.abs(off) > limit
        np.clip(off, -limit, limit, out=off)
        steps = min(len(self.b) - 1 - window.length, 400)
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(w > 0, b / w, np.float32(0)) - off
            variance = 1 / w + 1 / precision + np.float32(self.walk * steps / 3)
        variance += clipped * limit**2
        if self.condition is not None and self.response is not None and window.length < len(self.b) - 1:
            inside = self.condition[stop] - self.condition[window.first]
            outside = (self.condition[-1] - inside) / (len(self.b) - 1 - window.length)
            apart = (inside / window.length - outside).astype(np.float32)
            variance += apart[:, None] ** 2 * self.response.astype(np.float32)
        return shift, variance


def _cumulative(values: Floats) -> Floats:
    """(T + 1, series) sums over the lumisections before each."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])


def robust_scale(values: Floats) -> Floats:
    """(rows,) standard deviation of the healthy majority of each row: the smaller of the quartile scale and 1.3 × the
    densest 42 %."""
    values = np.sort(values, axis=1)
    n = values.shape[1]
    quartile = (values[:, (3 * n) // 4] - values[:, n // 4]) / QUARTILES
    few = max(2, int(CLUSTER * n))
    densest = (values[:, few - 1 :] - values[:, : n - few + 1]).min(axis=1) / CLUSTER_WIDTH
    return np.asarray(np.minimum(quartile, SHORTEST * densest))


def excess_variance(shift: Floats, variance: Floats) -> Floats:
    """(windows,) what must be added to the variances of all series so that the majority scatters as expected.

    ``shift``, ``variance``: (windows, series). Of few series one window knows little: there the excess that is typical
    of all windows of this length counts at least.
    """
    use = np.isfinite(variance).all(axis=0)
    shift, variance = shift[:, use], variance[:, use]
    excess = np.zeros(len(shift))
    if shift.shape[1] < FEWEST_SERIES:
        return excess
    allowed = 1.0 if shift.shape[1] >= MANY_SERIES else 1 + 1 / np.sqrt(shift.shape[1])
    rows = np.flatnonzero(robust_scale(shift / np.sqrt(variance)) > allowed)
    typical = np.median(variance[rows], axis=1)
    for _ in range(5):
        own = excess[rows]
        scale = robust_scale(shift[rows] / np.sqrt(variance[rows] + own[:, None].astype(np.float32)))
        excess[rows] = np.maximum(0.0, scale**2 * (typical + own) - typical)
    return np.maximum(excess, np.median(excess)) if shift.shape[1] < MANY_SERIES else excess


@dataclass(frozen=True, eq=False)
class Null:
    """How the series of a group scatter beyond what health allows: nothing of it is the fault of any one of them.

    ``prior``: variance that their levels have in excess over the whole run. ``excess``: of each window, one array per
    length.
    """

    prior: float
    excess: list[Floats]


def empirical_null(sums: Sums) -> Null:
    """The scatter of a group of series, in every window."""
    every = windows(len(sums.b) - 1)
    prior = float(excess_variance(*sums.deviations(every[-1]))[0])
    sums = sums.widened(prior)
    return Null(prior, [excess_variance(*sums.deviations(window)) for window in every])


@dataclass(frozen=True)
class Stretch:
    """Consecutive lumisections (positions ``first`` to ``last``) in which a series is off by ``shift`` ± ``error``."""

    first: int
    last: int
    shift: float
    error: float
    significance: float


def strongest_windows(sums: Sums, null: Null) -> tuple[Floats, Callable[[int], Stretch]]:
    """(series,) largest significance |z| over all windows, and a function that gives a series' window as a stretch."""
    series, sums = sums.b.shape[1], sums.widened(null.prior)
    best, length, first = np.zeros(series), np.zeros(series, dtype=np.intp), np.zeros(series, dtype=np.intp)
    for window, excess in zip(windows(len(sums.b) - 1), null.excess, strict=True):
        shift, variance = sums.deviations(window)
        z = np.abs(shift / np.sqrt(variance + excess[:, None].astype(np.float32)))
        row = z.argmax(axis=0)
        size = z[row, np.arange(series)]
        better = size > best
        best[better], length[better], first[better] = size[better], window.length, window.first[row[better]]

    def stretch(k: int) -> Stretch:
        start, stop = int(first[k]), int(first[k] + length[k])
        w = float(sums.w[stop, k] - sums.w[start, k])
        shift = float(sums.b[stop, k] - sums.b[start, k]) / w
        return Stretch(start, stop - 1, shift, float(1 / np.sqrt(w)), float(best[k] * np.sign(shift)))

    return best, stretch


def strongest(sums: Sums, null: Null) -> Floats:
    """(series,) largest significance |z| over all windows."""
    best, sums = np.zeros(sums.b.shape[1]), sums.widened(null.prior)
    for window, excess in zip(windows(len(sums.b) - 1), null.excess, strict=True):
        shift, variance = sums.deviations(window)
        np.maximum(best, np.abs(shift / np.sqrt(variance + excess[:, None].astype(np.float32))).max(axis=0), out=best)
    return best


Exact = Callable[[int, int, float], float]
"""(first, last, level outside) → signed significance from the exact likelihood, without the widths of health."""


def stretches(
    b: Floats, w: Floats, prior: float, walk: float, null: Null, threshold: float, least: float,
    exact: Exact | None = None, condition: Floats | None = None, response: float = 0.0,
) -> list[Stretch]:  # fmt: skip
    """The stretches of one series that are off by at least ``least`` with more than ``threshold``, the strongest first.

    ``b``, ``w``, ``condition``: (T,), see :class:`Sums`. Each stretch that was found is left out when the next is
    looked for, also from the level outside.
    """
    b, w = b.astype(np.float64).copy(), w.astype(np.float64).copy()
    prior += null.prior
    out: list[Stretch] = []
    for _ in range(MOST_STRETCHES):
        sums = Sums.of(b[:, None], w[:, None], np.array([prior]), walk, condition, np.array([response]))
        stretch = _next_stretch(b, w, sums, null, threshold, exact)
        if stretch is None:
            break
        if abs(stretch.shift) >= least:
            out.append(stretch)
        rows = slice(stretch.first, stretch.last + 1)
        b[rows], w[rows] = 0, 0
    return out


def _next_stretch(
    b: Floats, w: Floats, sums: Sums, null: Null, threshold: float, exact: Exact | None
) -> Stretch | None:
    best: tuple[float, int, int, float] = (0.0, 0, 0, 0.0)
    for window, excess in zip(windows(len(b)), null.excess, strict=True):
        shift, variance = (v[:, 0] for v in sums.deviations(window))
        z = shift / np.sqrt(variance + excess)
        for row in np.argsort(-np.abs(z))[: 3 if exact else 1]:
            size = abs(z[row])
            if size <= max(threshold, best[0]):
                break
            if exact is not None:
                size = min(size, _exact_size(exact, sums, window, int(row), float(variance[row]), float(excess[row])))
            if size > max(threshold, best[0]):
                best = (size, int(window.first[row]), window.length, float(excess[row]))
    if best[0] == 0:
        return None
    return _refined(b, w, sums, best)


def _level_outside(sums: Sums, first: int, length: int) -> float:
    stop = first + length
    b, w = sums.b[stop, 0] - sums.b[first, 0], sums.w[stop, 0] - sums.w[first, 0]
    limit = CLIP * np.sqrt(sums.prior[0])
    return float(np.clip((sums.b[-1, 0] - b) / (sums.w[-1, 0] - w + 1 / sums.prior[0]), -limit, limit))


def _exact_size(exact: Exact, sums: Sums, window: Window, row: int, variance: float, excess: float) -> float:
    first = int(window.first[row])
    w = float(sums.w[first + window.length, 0] - sums.w[first, 0])
    z = abs(exact(first, first + window.length - 1, _level_outside(sums, first, window.length)))
    return float(z * np.sqrt(1 / w / (variance + excess))) if w > 0 else 0.0


def _refined(b: Floats, w: Floats, sums: Sums, best: tuple[float, int, int, float]) -> Stretch:
    """Edges with the largest likelihood ratio of the window's shift against the level outside."""
    z, first, length, excess = best
    for _ in range(3):
        off = _level_outside(sums, first, length)
        rows = slice(first, first + length)
        shift = float(b[rows].sum() / w[rows].sum())
        # log likelihood ratio of each LS, up to the same factor: w·(x·(s − o) − (s² − o²)/2)
        ratio = b * (shift - off) - w * (shift**2 - off**2) / 2
        new_first, new_last = _best_interval(ratio, first, first + length - 1)
        if (new_first, new_last - new_first + 1) == (first, length):
            break
        first, length = new_first, new_last - new_first + 1
    total = float(w[first : first + length].sum())
    return Stretch(
        first, first + length - 1, shift, float(np.sqrt(1 / total + excess)), float(z * np.sign(shift - off))
    )


def _best_interval(ratio: Floats, first: int, last: int) -> tuple[int, int]:
    """The interval with the largest sum that overlaps the window."""
    middle = first + int(np.argmax(ratio[first : last + 1]))
    left = np.cumsum(ratio[middle::-1])
    right = np.cumsum(ratio[middle:])
    return middle - int(np.argmax(left)), middle + int(np.argmax(right))
