"""Per-channel robust z: how far a channel's rate per event lies from its own median, in its own spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import Fitted, System, Training
from studies.evaluate.scoring import thinned, with_clean_threshold

SIGMA_PER_MAD = 1.4826
LUMISECTIONS = 1000


@dataclass(frozen=True, eq=False)
class RobustZ:
    """``median``, ``sigma``: (channels,) of digis per event."""

    median: Floats
    sigma: Floats

    def score(self, series: SubdetectorCounts) -> Floats:
        """|rate − median| / σ of each LS by itself."""
        return np.abs((series.counts / series.trials).astype(np.float32) - self.median) / self.sigma


def fit_robust_z(counts: Floats, events: Floats) -> RobustZ:
    """Median, and σ from the median absolute deviation, but at least one digi in a typical LS."""
    rate = (counts / events).astype(np.float32)
    median = np.median(rate, axis=0)
    mad = np.median(np.abs(rate - median), axis=0)
    return RobustZ(median, np.maximum(SIGMA_PER_MAD * mad, np.float32(1 / np.median(events))))


def _fit(training: Training) -> Fitted:
    return with_clean_threshold(fit_robust_z(*thinned(training.learn, LUMISECTIONS)).score, training)


SYSTEMS: tuple[System, ...] = (System("robust z", "median and MAD of each channel's rate", _fit),)
