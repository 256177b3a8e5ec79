"""Windows of time series, and how far a series moved in each against its own level outside of it.

A series is given by sums: b (T,) scores and w (T,) information per lumisection; Σb/Σw over a window is its mean shift.
It is compared with the series' own level *outside* of the window, under the prior that a healthy series stays within
``prior`` (a variance) of its reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.stats.binomial import Floats

FIRST_LENGTHS = (1, 2, 3, 5)
"""These windows begin at every lumisection; longer ones, each 1.6 times the last, at every quarter of their length."""
GROWTH = 1.618
CLIP = 2.0
"""The level outside of a window counts up to this many prior widths: beyond, it is at fault itself."""
FEW_SERIES = 100
"""From so many on, adding row after row is faster than numpy's cumulative sum."""
MOST_STEPS = 400
"""Lumisections after which a healthy series has wandered as far as it does."""


@dataclass(frozen=True, eq=False)
class Window:
    """Windows: where they begin, ``first`` (windows,), and their ``length``: one for all, or (windows, 1).

    Those of one length are evenly spaced; the last one ends with the run.
    """

    length: int | NDArray[np.intp]
    first: NDArray[np.intp]

    def sums(self, cumulative: Floats) -> NDArray[np.float32]:
        """(windows, series) sums in the windows, of cumulative sums (T + 1, series)."""
        first, length = self.first, self.length
        if not isinstance(length, int):
            return np.asarray(cumulative[first + length[:, 0]] - cumulative[first], dtype=np.float32)
        out = np.empty((len(first), cumulative.shape[1]), dtype=np.float32)
        step = int(first[1] - first[0]) if len(first) > 1 else 1
        begin = cumulative[first[0] : first[-1] : step][: len(first) - 1]
        end = cumulative[first[0] + length : first[-1] + length : step][: len(first) - 1]
        np.subtract(end, begin, out=out[:-1], casting="same_kind")
        np.subtract(cumulative[first[-1] + length], cumulative[first[-1]], out=out[-1], casting="same_kind")
        return out

    def apart(self, cumulative: Floats) -> Floats:
        """(windows,) mean in each window, less that outside; 0 of the whole run. ``cumulative``: (T + 1,) sums."""
        length = np.broadcast_to(np.ravel(self.length), self.first.shape)
        others = len(cumulative) - 1 - length
        inside = cumulative[self.first + length] - cumulative[self.first]
        return np.asarray(np.where(others > 0, inside / length - (cumulative[-1] - inside) / np.maximum(others, 1), 0))


@lru_cache(maxsize=64)
def windows(lumisections: int) -> tuple[Window, ...]:
    """All windows that are looked at in so many lumisections, by length; the last is the whole run."""
    lengths: list[int] = []
    length = 1.0
    while (size := round(length)) < lumisections:
        lengths.append(size)
        length = (
            max(size + 1, size * GROWTH) if size >= FIRST_LENGTHS[-1] else FIRST_LENGTHS[FIRST_LENGTHS.index(size) + 1]
        )
    return tuple(Window(size, _beginnings(size, lumisections)) for size in (*lengths, lumisections))


@lru_cache(maxsize=64)
def windows_together(lumisections: int, shortest: int = 1) -> tuple[Window, NDArray[np.intp]]:
    """The same windows, from a length on, in one, and where each length begins among them."""
    every = [window for window in windows(lumisections) if int(window.length) >= shortest]
    if len(every) == 1:
        return every[0], np.zeros(1, dtype=np.intp)
    counts = [len(window.first) for window in every]
    lengths = np.repeat([window.length for window in every], counts)[:, None]
    together = Window(lengths, np.concatenate([window.first for window in every]))
    return together, np.concatenate([[0], np.cumsum(counts)[:-1]])


def _beginnings(length: int, lumisections: int) -> NDArray[np.intp]:
    """Where windows of one length begin; the last one ends with the run."""
    step = 1 if length <= FIRST_LENGTHS[-1] else max(1, length // 4)
    last = lumisections - length
    first = np.arange(0, last + 1, step)
    return first if first[-1] == last else np.append(first, last)


@dataclass(frozen=True, eq=False)
class Sums:
    """Cumulative sums of b and w, (T + 1, series), and the prior variance of each series (series,).

    ``walk``: variance per LS by which a healthy series wanders within the run. ``condition``: (T + 1,) cumulative sums
    of what a healthy series may follow, and ``response``: (series,) variance of how much it does. ``steps``: b and w of
    each LS, (T, series), which are enough for a first look.
    """

    b: Floats
    w: Floats
    prior: Floats
    walk: float
    condition: Floats | None = None
    response: Floats | None = None
    steps: tuple[Floats, Floats] | None = None
    _apart: dict[Window, Floats] = field(default_factory=dict)  # of windows, which all series share

    @classmethod
    def of(
        cls, b: Floats, w: Floats, prior: Floats, walk: float = 0.0, condition: Floats | None = None,
        response: Floats | None = None,
    ) -> Sums:  # fmt: skip
        """From b and w (T, series); ``condition`` (T,)."""
        sums = None if condition is None else np.concatenate([[0.0], np.cumsum(condition, dtype=np.float64)])
        return cls(cumulative_sums(b), cumulative_sums(w), prior, walk, sums, response, (b, w))

    def widened(self, variance: float) -> Sums:
        """The same under a wider prior."""
        return replace(self, prior=self.prior + variance) if variance else self

    def take(self, series: NDArray[np.intp]) -> Sums:
        """Of some of the series."""
        response = None if self.response is None else self.response[series]
        b, w = (np.take(sums, series, axis=1) for sums in (self.b, self.w))
        return replace(self, b=b, w=w, prior=self.prior[series], response=response, steps=None)

    def deviations(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(windows, series) mean shift against the level outside, and its variance; variance inf where nothing is."""
        if window is windows(len(self.b) - 1)[-1]:
            shift, variance = self._whole
            return shift.copy(), variance.copy()
        return self._deviations(window)

    @cached_property
    def _whole(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Those of the whole run, which is looked at more than once."""
        return self._deviations(windows(len(self.b) - 1)[-1])

    def _deviations(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        b, w = window.sums(self.b), window.sums(self.w)
        prior = self.prior.astype(np.float32)
        limit = CLIP * np.sqrt(prior)
        outside = self.w[-1].astype(np.float32) - w
        outside += 1 / prior
        np.reciprocal(outside, out=outside)
        off = self.b[-1].astype(np.float32) - b
        off *= outside
        nothing = w <= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.reciprocal(w, out=w)
            shift = np.multiply(b, variance, out=b)
        if nothing.any():
            shift[nothing], variance[nothing] = 0, np.inf
        variance += outside
        clipped = np.abs(off, out=outside) > limit
        np.clip(off, -limit, limit, out=off)
        shift -= off
        lumisections = len(self.b) - 1
        whole = isinstance(window.length, int) and window.length == lumisections
        if not whole:
            # Of a random walk a third of all steps lies between the means of two neighbouring stretches.
            variance += np.float32(self.walk / 3) * min(lumisections, MOST_STEPS) * (window.length < lumisections)
        variance += np.multiply(clipped, limit**2, out=off)
        if not whole and self.condition is not None and self.response is not None:
            if (apart := self._apart.get(window)) is None:
                apart = self._apart[window] = window.apart(self.condition).astype(np.float32)
            variance += np.multiply(apart[:, None] ** 2, self.response.astype(np.float32), out=off)
        return shift, variance

    def significances(self, window: Window, excess: Floats) -> NDArray[np.float32]:
        """(windows, series) squared significances; ``excess``: (windows,) variance that all series have beyond."""
        return self.sizes(window, excess)[0]

    def sizes(self, window: Window, excess: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and the variances."""
        shift, variance = self.deviations(window)
        variance += excess[:, None].astype(np.float32)
        np.square(shift, out=shift)
        return np.divide(shift, variance, out=shift), variance


def cumulative_sums(values: Floats) -> Floats:
    """(T + 1, series) sums over the lumisections before each."""
    out = np.empty((len(values) + 1, values.shape[1]))
    out[0] = 0
    if values.shape[1] < FEW_SERIES:
        np.cumsum(values, axis=0, dtype=np.float64, out=out[1:])
        return out
    out[1:] = values
    before = out[0]
    for row in out[1:]:
        np.add(before, row, row)
        before = row
    return out
