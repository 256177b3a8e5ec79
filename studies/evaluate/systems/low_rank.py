"""PCA: rate maps as a mean and a few components that clean runs move along; what is left is the anomaly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats, Numbers
from studies.evaluate.protocol import Fitted, System, Training
from studies.evaluate.scoring import thinned, window_length, window_sum, with_clean_threshold

COMPONENTS = 5
LUMISECTIONS = 600


@dataclass(frozen=True, eq=False)
class LowRank:
    """``mean``, ``sigma``, ``sigma_left``: (channels,); ``components``: (components, channels), orthonormal.

    Rates per event are standardised by mean and σ; σ_left is the spread of what the components leave.
    """

    mean: Floats
    sigma: Floats
    components: Floats
    sigma_left: Floats

    def left(self, counts: Numbers, events: Floats) -> Floats:
        """(LS, channels) standardised rates less their projection on the components."""
        x = ((counts / events - self.mean) / self.sigma).astype(np.float32)
        return x - (x @ self.components.T) @ self.components

    def score(self, series: SubdetectorCounts) -> Floats:
        """|mean over the window of what is left|, in training σ of such a mean if LS are independent."""
        z = self.left(series.counts, series.trials) / self.sigma_left
        return np.abs(window_sum(z, series)) / np.sqrt(window_length(series)).astype(np.float32)


def fit_low_rank(counts: Floats, events: Floats, components: int = COMPONENTS) -> LowRank:
    """Singular value decomposition of the standardised maps; σ are at least one digi in a typical LS."""
    digi = 1 / np.median(events)
    rate = (counts / events).astype(np.float32)
    mean, sigma = rate.mean(axis=0), np.maximum(rate.std(axis=0), np.float32(digi))
    x = (rate - mean) / sigma
    _, vectors = np.linalg.eigh(x @ x.T)
    directions = np.linalg.qr(x.T @ vectors[:, -components:])[0].T
    found = LowRank(mean, sigma, directions, np.ones_like(sigma))
    left = found.left(counts, events).std(axis=0)
    return LowRank(mean, sigma, directions, np.maximum(left, np.float32(digi) / sigma))


def _fit(training: Training) -> Fitted:
    return with_clean_threshold(fit_low_rank(*thinned(training.learn, LUMISECTIONS)).score, training)


SYSTEMS: tuple[System, ...] = (System("PCA", f"{COMPONENTS} components of rate maps, residual over 5 LS", _fit),)
