"""An EWMA template with uncertainty, after LHCb's DINAMO-S (arXiv 2501.19237): it follows what it takes for healthy.

Each channel's rate per event, divided by the LS's common activity as DINAMO normalises histograms,
is compared with its exponentially weighted mean, in units of √(weighted variance beyond counting +
counting variance). A channel beyond ``FREEZE`` is not learned from until it is back within ``RELEASE``
(an LS with few events is no proof of health), as DINAMO learns from good data only; after ``LONGEST`` LS
on end it is, for then the conditions have changed rather than the channel.
Each stretch of LS starts from the mean and variance of the clean runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats, Numbers
from studies.evaluate.protocol import Fitted, System, Training
from studies.evaluate.scoring import thinned, with_clean_threshold

WEIGHT = 0.1
"""Share of the newest LS in the mean: a memory of ten LS."""
FREEZE, RELEASE, LONGEST = 5.0, 2.0, 20
BRIGHT = 30
LUMISECTIONS = 1000


@dataclass(frozen=True, eq=False)
class Ewma:
    """``mean``, ``variance`` (beyond counting): (channels,) of the normalised rate, from clean runs."""

    mean: Floats
    variance: Floats
    bright: NDArray[np.bool_]

    def normalised(self, counts: Numbers, events: Floats) -> tuple[Floats, Floats]:
        """(LS, channels) rate per event over the activity, and its counting variance.

        The activity is the median over bright channels of rate / mean rate.
        """
        rate = counts / events
        activity = np.median(rate[:, self.bright] / self.mean[self.bright], axis=1, keepdims=True)
        activity = np.maximum(activity, 1 / events)
        expected = np.clip(self.mean * activity, 1 / events, 1 - 1 / events)
        return rate / activity, expected * (1 - expected) / events / activity**2

    def score(self, series: SubdetectorCounts) -> Floats:
        """|rate − mean| / √(variance + counting variance), the mean and variance of earlier LS only."""
        rate, counting = self.normalised(series.counts, series.trials)
        scores = np.zeros(rate.shape, dtype=np.float32)
        for stretch in series.stretches():
            mean, variance, frozen = self.mean, self.variance, np.zeros(len(self.mean), dtype=int)
            for row in range(stretch.start, stretch.stop):
                off = rate[row] - mean
                scores[row] = np.abs(off) / np.sqrt(np.maximum(variance, 0) + counting[row])
                frozen = np.where(scores[row] > np.where(frozen > 0, RELEASE, FREEZE), frozen + 1, 0)
                weight = WEIGHT * ((frozen == 0) | (frozen > LONGEST))
                mean = mean + weight * off
                variance = variance + weight * (off**2 - counting[row] - variance)
        return scores


def fit_ewma(counts: Floats, events: Floats) -> Ewma:
    """Where the template starts from."""
    mean, nothing = (counts / events).mean(axis=0), np.zeros(counts.shape[1])
    start = Ewma(mean, nothing, np.median(counts, axis=0) > BRIGHT)
    rate, counting = start.normalised(counts, events)
    return Ewma(rate.mean(axis=0), np.maximum(rate.var(axis=0) - counting.mean(axis=0), 0), start.bright)


def _fit(training: Training) -> Fitted:
    return with_clean_threshold(fit_ewma(*thinned(training.learn, LUMISECTIONS)).score, training)


SYSTEMS: tuple[System, ...] = (System("EWMA template", "after LHCb's DINAMO-S", _fit),)
