"""Scan of time series for stretches in which they moved: how far, how surely, from when to when.

What all series of a group do in a window beyond what health allows is no fault of any of them: it widens all (the
empirical null, see Efron, J. Am. Stat. Assoc. 99 (2004) 96).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.windows import CLIP, MOST_STEPS, Sums, Window, cumulative_sums, windows, windows_together

QUARTILES = 1.349
"""Distance of the quartiles of a normal distribution."""
QUARTILES_TELL = 0.37
"""How much of what series say of their scatter their quartiles say."""
CLUSTER, CLUSTER_WIDTH = 0.42, 1.107
"""Share of the series in the densest cluster, and the width of such a cluster of a normal distribution."""
SHORTEST = 1.3
"""The densest cluster counts this many times; so half of the series may fail without widening the others."""
LEAST_INFORMATION = 1e-12
"""A window with less says nothing."""
FEWEST_SERIES, MANY_SERIES = 6, 300
"""Fewer series than the first tell no scatter; fewer than the second tell it badly from one window."""
TOGETHER = 2**18
"""Windows times series up to which all windows are looked at in one array."""
MOST_STRETCHES = 60
"""Stretches looked for in one series."""


def medians(values: Floats) -> Floats:
    """Medians over the last axis, NaN left out; NaN where nothing is left. For short rows, where numpy's are slow."""
    values = np.sort(values, axis=-1)  # NaN last
    if not np.isnan(values[..., -1]).any():
        size = values.shape[-1]
        return np.asarray((values[..., (size - 1) // 2] + values[..., size // 2]) / 2)
    count = np.count_nonzero(~np.isnan(values), axis=-1)[..., None]
    low, high = (
        np.take_along_axis(values, np.maximum(middle, 0), axis=-1) for middle in ((count - 1) // 2, count // 2)
    )
    return np.asarray((low + high)[..., 0] / 2)


def quantiles(values: Floats, fractions: Sequence[float]) -> Floats:
    """(fractions, …) quantiles over the first axis, of at least one value and none NaN; numpy's are slow for few."""
    values, place = np.sort(values, axis=0), np.array(fractions) * (len(values) - 1)
    low = place.astype(np.intp)
    share = (place - low).reshape(-1, *(1 for _ in values.shape[1:]))
    below, above = values[low], values[np.minimum(low + 1, len(values) - 1)]
    return np.asarray(below + (above - below) * share)


def robust_scale(values: Floats) -> Floats:
    """(rows,) standard deviation of the healthy majority of each row: the smaller of the quartile scale and 1.3 × the
    densest 42 %."""
    values = np.sort(np.ascontiguousarray(values), axis=1)
    n = values.shape[1]
    quartile = (values[:, (3 * n) // 4] - values[:, n // 4]) / QUARTILES
    few = max(2, int(CLUSTER * n))
    densest = (values[:, few - 1 :] - values[:, : n - few + 1]).min(axis=1) / CLUSTER_WIDTH
    return np.asarray(np.minimum(quartile, SHORTEST * densest))


def excess_variance(shift: Floats, variance: Floats) -> Floats:
    """(windows,) what must be added to the variances of all series so that the majority scatters as expected.

    ``shift``, ``variance``: (windows, series).
    """
    if not (use := np.isfinite(variance).all(axis=0)).all():
        shift, variance = shift[:, use], variance[:, use]
    shift, variance = np.ascontiguousarray(shift), np.ascontiguousarray(variance)
    excess = np.zeros(len(shift))
    if shift.shape[1] < FEWEST_SERIES:
        return excess
    allowed = 1.0 if shift.shape[1] >= MANY_SERIES else 1 + 1 / np.sqrt(shift.shape[1])
    rows = np.flatnonzero(robust_scale(shift / np.sqrt(variance)) > allowed)
    if not len(rows):
        return excess
    typical = np.median(variance[rows], axis=1)
    for _ in range(5):
        own = excess[rows]
        scale = robust_scale(shift[rows] / np.sqrt(variance[rows] + own[:, None].astype(np.float32)))
        excess[rows] = np.maximum(0.0, scale**2 * (typical + own) - typical)
    return excess


@dataclass(frozen=True, eq=False)
class Null:
    """How the series of a group scatter beyond what health allows: nothing of it is the fault of any one of them.

    ``prior``: variance that their levels have in excess over the whole run. ``scatter``: of each window, what it has
    itself, one array per length. ``series``: how many there are.
    """

    prior: float
    scatter: list[Floats]
    series: int

    @cached_property
    def excess(self) -> list[Floats]:
        """What counts: of few series one window knows little, so there what is typical of its length at least."""
        if self.series >= MANY_SERIES:
            return self.scatter
        return [np.maximum(own, np.median(own)) for own in self.scatter]

    @cached_property
    def together(self) -> Floats:
        """The excess of all windows, one length after the other."""
        return np.concatenate(self.excess)

    @cached_property
    def _least(self) -> Floats:
        """What three quarters of all windows of a length have, likewise: some are widened by what fails in them."""
        return np.concatenate([np.full(len(own), quantiles(own, (0.25,))[0]) for own in self.scatter])

    def as_normal(self, size: NDArray[Any], variance: NDArray[Any]) -> NDArray[Any]:
        """Squared significances of all windows, (windows, …), as a normal distribution has them.

        Where few series told the excess in the ``variance``, they are Student's: z² = ν ln(1 + t²/ν) (Wallace, Ann.
        Math. Statist. 30 (1959) 1124), with the degrees of freedom ν of their quartiles, by Welch and Satterthwaite.
        """
        if self.series >= MANY_SERIES or not self._least.any():
            return size
        least = self._least.reshape(-1, *(1,) * (size.ndim - 1))
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            freedom = QUARTILES_TELL * self.series * np.square(variance / least)
            return np.where(least > 0, freedom * np.log1p(size / freedom), size)


def empirical_null(sums: Sums) -> Null:
    """The scatter of a group of series, in every window."""
    every = windows(len(sums.b) - 1)
    whole = excess_variance(*sums.deviations(every[-1]))
    prior = float(whole[0])
    if prior:
        sums = sums.widened(prior)
        whole = excess_variance(*sums.deviations(every[-1]))
    if len(every) == 1:
        return Null(prior, [whole], len(sums.prior))
    together, begin = windows_together(len(sums.b) - 1)
    if len(together.first) * len(sums.prior) < TOGETHER:
        shift, variance = sums.deviations(together)
        if np.isfinite(variance).all():
            return Null(prior, np.split(excess_variance(shift, variance), begin[1:]), len(sums.prior))
    excess = [excess_variance(*sums.deviations(window)) for window in every[:-1]]
    return Null(prior, [*excess, whole], len(sums.prior))


@dataclass(frozen=True)
class Stretch:
    """Consecutive lumisections (positions ``first`` to ``last``) in which a series is off by ``shift`` ± ``error``."""

    first: int
    last: int
    shift: float
    error: float
    significance: float

    @property
    def length(self) -> int:
        """Lumisections."""
        return self.last - self.first + 1


def quiet(b: Floats, w: Floats, prior: Floats, threshold: float) -> bool:
    """Whether no series of a lone lumisection can be off by more than ``threshold``, whatever the others do.

    ``b``, ``w``: (T, series), all w above 0. What the others scatter only makes the series less significant.
    """
    return len(b) == 1 and not (np.square(b[0]) > (w[0] + prior * np.square(w[0])) * 0.999 * threshold**2).any()


def strongest(sums: Sums, null: Null, threshold: float) -> dict[int, Stretch]:
    """Of each series that is off by more than ``threshold`` in any window, the one in which it is off most."""
    sums = sums.widened(null.prior)
    every, _ = windows_together(len(sums.b) - 1)
    near = np.arange(len(sums.prior))
    if len(every.first) * len(near) >= TOGETHER:
        near = np.flatnonzero(_bounds(sums, null) > 0.999 * threshold**2)
        sums = sums.take(near)
    if not len(near):
        return {}
    size = null.as_normal(*sums.sizes(every, null.together))
    most = size.argmax(axis=0)
    out: dict[int, Stretch] = {}
    for k in np.flatnonzero(size[most, np.arange(len(near))] > threshold**2).tolist():
        first = int(every.first[most[k]])
        last = first + int(np.ravel(every.length)[most[k]]) - 1
        b, w = (float(cumulative[last + 1, k] - cumulative[first, k]) for cumulative in (sums.b, sums.w))
        z = float(np.sqrt(size[most[k], k]) * np.sign(b))
        out[int(near[k])] = Stretch(first, last, b / w, float(1 / np.sqrt(w)), z)
    return out


def _bounds(sums: Sums, null: Null) -> Floats:
    """(series,) squared significance that is reached in no window: cheap, and for most series below any threshold.

    With W' = ΣW + 1/prior over all and the level o = ΣB/W', a window's shift is r/w + r/(W' − w), where r = b − o·w: so
    z² ≤ r²/w · W'/(W' − w). Where the level outside was clipped, (a + b)²/(p + q) ≤ a²/p + b²/q adds a term.
    """
    lumisections = len(sums.b) - 1
    level = sums.b[-1] / (sums.w[-1] + 1 / sums.prior)
    size, least, most, more = [], [], [], []
    long, _ = windows_together(lumisections, lumisections // 4 + 1)
    bound: Floats = sums.significances(long, null.together[-len(long.first) :]).max(axis=0)
    short = _short_windows(sums, level)
    for window, excess in zip(windows(lumisections), null.excess, strict=True):
        if 4 * int(window.length) > lumisections:
            break
        r, w = next(short, None) or _off_level(sums, window, level)
        least.append(w.min(axis=0))
        most.append(w.max(axis=0))
        r = np.square(r)
        size.append(np.divide(r, w, out=r).max(axis=0))
        more.append(float(excess.min()) + sums.walk * min(lumisections, MOST_STEPS) / 3)
    if not size:
        return bound
    chance = 1 / np.maximum(np.array(least, dtype=np.float64), LEAST_INFORMATION)
    whole, limit = sums.w[-1] + 1 / sums.prior, CLIP * np.sqrt(sums.prior)
    outside = whole - np.array(most, dtype=np.float64)
    clipped = np.maximum(np.abs(level) + np.sqrt(np.array(size) * most) / outside - limit, 0) / limit
    sizes = size * whole / outside * (chance / (chance + np.array(more)[:, None])) + clipped**2
    return np.asarray(np.maximum(bound, sizes.max(axis=0)))


def _short_windows(sums: Sums, level: Floats) -> Iterator[tuple[Floats, Floats]]:
    """b − o·w and w of the windows of ``FIRST_LENGTHS``, (windows, series): each the sum of shorter ones."""
    if sums.steps is None:
        return
    b, w = sums.steps
    w1 = (w + LEAST_INFORMATION).astype(np.float32, copy=False)
    r1 = np.multiply(w, level.astype(np.float32), dtype=np.float32)
    np.subtract(b, r1, out=r1, casting="same_kind")
    yield r1, w1
    r2, w2 = (values[1:] + values[:-1] for values in (r1, w1))
    yield r2, w2
    r3, w3 = (two[:-1] + one[2:] for two, one in ((r2, r1), (w2, w1)))
    yield r3, w3
    yield r3[:-2] + r2[3:], w3[:-2] + w2[3:]


def _off_level(sums: Sums, window: Window, level: Floats) -> tuple[Floats, Floats]:
    """b − o·w and w of windows, (windows, series)."""
    r, w = window.sums(sums.b), window.sums(sums.w)
    r -= w * level.astype(np.float32)
    return r, np.maximum(w, LEAST_INFORMATION, out=w)


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
    sums = Sums.of(b[:, None], w[:, None], np.array([prior]), walk, condition, np.array([response]))
    for _ in range(MOST_STRETCHES):
        stretch = _next_stretch(b, w, sums, null, threshold, exact)
        if stretch is None:
            break
        if abs(stretch.shift) >= least:
            out.append(stretch)
        rows = slice(stretch.first, stretch.last + 1)
        b[rows], w[rows] = 0, 0
        if not w.any():
            break
        sums = replace(sums, b=cumulative_sums(b[:, None]), w=cumulative_sums(w[:, None]))
    return out


def _next_stretch(
    b: Floats, w: Floats, sums: Sums, null: Null, threshold: float, exact: Exact | None
) -> Stretch | None:
    every, begin = windows_together(len(b))
    shift, variance = (v[:, 0] for v in sums.deviations(every))
    excess = null.together
    z = np.sqrt(null.as_normal(shift**2 / (variance + excess), variance + excess))
    largest = np.maximum.reduceat(z, begin)
    best, most, lengths = None, (threshold, 0), windows(len(b))
    # The largest first, which leaves few others to look at; of equal ones the first window of the shortest counts.
    for k in np.argsort(-largest, kind="stable").tolist():
        if largest[k] <= threshold or largest[k] < most[0]:
            break
        start, window = int(begin[k]), lengths[k]
        for row in (start + np.argsort(-z[start : start + len(window.first)])[: 3 if exact else 1]).tolist():
            size, length, rank = float(z[row]), int(window.length), -3 * k
            if (size, rank) <= most:
                break
            first = int(every.first[row])
            if exact is not None:
                size = min(size, _exact_size(exact, sums, first, length, float(variance[row]), float(excess[row])))
            if (size, rank) > most:
                best, most = (size, first, length, float(excess[row])), (size, rank)
    return None if best is None else _refined(b, w, sums, best)


def with_edges(b: Floats, w: Floats, prior: float, stretch: Stretch) -> Stretch:
    """A stretch of a series, known to a window's edges, with its own. ``b``, ``w``: (T,), see :class:`Sums`."""
    sums = Sums.of(b[:, None], w[:, None], np.array([prior]))
    length = stretch.last - stretch.first + 1
    return _refined(b, w, sums, (abs(stretch.significance), stretch.first, length, 0.0))


def _level_outside(sums: Sums, first: int, length: int) -> float:
    stop = first + length
    b, w = sums.b[stop, 0] - sums.b[first, 0], sums.w[stop, 0] - sums.w[first, 0]
    limit = CLIP * np.sqrt(sums.prior[0])
    return float(np.clip((sums.b[-1, 0] - b) / (sums.w[-1, 0] - w + 1 / sums.prior[0]), -limit, limit))


def _exact_size(exact: Exact, sums: Sums, first: int, length: int, variance: float, excess: float) -> float:
    w = float(sums.w[first + length, 0] - sums.w[first, 0])
    z = abs(exact(first, first + length - 1, _level_outside(sums, first, length)))
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
