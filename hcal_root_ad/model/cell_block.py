"""The cells (channels, LS) of some lumisections: expected rates, Newton steps from them, and robust means over units.

Most time of a judgement is spent here. Every array is used again and again: to get fresh memory from the system costs
as much as what is computed in it. No sum depends on how many lumisections are beside each other.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.unit_tree import Units
from hcal_root_ad.stats.binomial import HIGHEST_RATE, LOWEST_RATE, newton_step_at

Single = NDArray[np.float32]

BLOCK = 16
"""Lumisections that are looked at together: their arrays stay near the processor."""
BIWEIGHT = 6.0
"""Tukey's constant: a channel this many standard deviations away has no say."""
CLIPPED = 4.0
"""Standard deviations at which a channel's pull is cut where a robust mean starts."""
LEAST_AGREEMENT = 0.3
"""Share of a unit's information that must agree for a robust mean."""
CHANNEL_WIDTH = 0.0155
"""Shift of a channel's log rate from run to run (measured 0.015 to 0.016 between pairs of clean runs)."""

_kept = threading.local()


def _arrays(cells: int) -> list[Single]:
    """Ten arrays of so many numbers, the same ones for each call of a thread."""
    if getattr(_kept, "cells", 0) < cells:
        _kept.cells, _kept.arrays = cells, [np.empty(cells, dtype=np.float32) for _ in range(10)]
    return [array[:cells] for array in _kept.arrays]


class CellBlock:
    """Counts of some lumisections, and what is expected of them. One block at a time is good in a thread.

    Attributes:
        n: (channels, LS) digis, never more than the events. trials: (channels, LS) events.
        rate: (channels, LS) expected rates, to be set. b, w: scores and information of :meth:`newton_step`.
    """

    def __init__(self, counts: NDArray[np.integer], events: NDArray[np.integer], rows: NDArray[np.intp] | None) -> None:
        """``counts``: (LS, channels), of which ``rows`` are wanted (all, if not given); ``events``: (LS,)."""
        shape = (counts.shape[1] if rows is None else len(rows), len(counts))
        self.n, self.trials, self.rate, self.b, self.w, self._weight, self._scale, *self._spare = (
            array.reshape(shape) for array in _arrays(shape[0] * shape[1])
        )
        if rows is None:
            self.n[:] = counts.T
        else:
            np.take(np.array(counts.T, dtype=np.float32, order="C"), rows, axis=0, out=self.n, mode="clip")
        self.trials[:] = events  # one number per cell: numpy is slow where short rows are spread
        np.minimum(self.n, self.trials, out=self.n)

    def move(self, units: Units, shift: Single) -> None:
        """Shift the log rate of each unit; ``shift``: (units, LS)."""
        self.rate *= units.spread(np.exp(shift), out=self._spare[0])
        self.clip()

    def clip(self) -> None:
        """Keep rates inside of what the smallest and largest probabilities allow."""
        np.clip(self.rate, LOWEST_RATE, HIGHEST_RATE, out=self.rate)

    def newton_step(self) -> None:
        """Score ``b`` and information ``w`` of every cell at its rate."""
        newton_step_at(self.n, self.trials, self.rate, (self.b, self.w, self._spare[0]))

    def clipped_mean(self, units: Units, say: NDArray[np.bool_] | None = None) -> Single:
        """(units, LS) mean shift with each channel's pull cut: where a robust mean starts.

        ``say``: (channels, LS) which of them count.
        """
        limit, b, w = *self._spare[:2], self.w
        np.sqrt(w, out=limit)
        limit *= CLIPPED
        np.minimum(self.b, limit, out=b)
        np.maximum(b, np.negative(limit, out=limit), out=b)
        if say is not None:
            b *= say
            w = np.multiply(w, say, out=limit)
        return np.asarray((units.sums @ b) / np.maximum(units.sums @ w, 1e-6))

    def weigh(self) -> None:
        """Make shifts x = b/w of the scores ``b``, and give each channel its weight: 1 / (1/w + CHANNEL_WIDTH²).

        That is its information, and the spread that health allows.
        """
        weight = np.reciprocal(self.w, out=self._weight)
        self.b *= weight
        weight += np.float32(CHANNEL_WIDTH**2)
        np.reciprocal(weight, out=weight)
        np.multiply(weight, np.float32(-1 / BIWEIGHT**2), out=self._scale)

    def robust_mean(
        self, units: Units, start: Single | None = None, say: NDArray[np.bool_] | None = None
    ) -> tuple[Single, Single]:
        """(units, LS) mean of the shifts that were weighed, with Tukey's weights, and its statistical variance.

        ``start``: (units, LS) where it is looked for, 0 if not given.
        """
        x, (tukey, weighted, own) = self.b, self._spare
        weight = self._weight if say is None else np.multiply(self._weight, say, out=own)
        everyone, mean = units.sums @ weight, start
        for _ in range(2):
            if mean is None:
                np.square(x, out=tukey)
            else:
                units.spread(mean, out=tukey)
                np.subtract(x, tukey, out=tukey)
                np.square(tukey, out=tukey)
            tukey *= self._scale
            tukey += 1
            np.maximum(tukey, 0, out=tukey)
            np.square(tukey, out=tukey)
            np.multiply(tukey, weight, out=weighted)
            total = units.sums @ weighted
            mean = (units.sums @ np.multiply(weighted, x, out=tukey)) / np.maximum(total, np.float32(1e-6))
        assert mean is not None
        np.square(weighted, out=weighted)
        weighted /= self.w
        variance = (units.sums @ weighted) / np.maximum(total, 1e-6) ** 2
        few = total < LEAST_AGREEMENT * everyone
        if few.any():
            # Most channels are far from each other and from the start: there is no robust mean, only the plain one.
            w = self.w if say is None else self.w * say
            plain = (units.sums @ (x * w)) / np.maximum(units.sums @ w, 1e-6)
            mean = np.where(few, plain, mean)
            variance = np.where(few, 1 / np.maximum(everyone, 1e-6), variance)
        return np.asarray(mean), np.where(everyone > 1e-6, variance, np.float32(1e6))

    def without(self, units: Units, shift: Single) -> None:
        """Take a shift of each unit, (units, LS), out of the shifts that were weighed."""
        self.b -= units.spread(shift, out=self._spare[0])
