"""The pileup-aware binomial template: the bar that everything else has to pass.

``p = 1 − exp(−a·g^k)``: per channel a rate a; per ring (|ieta|, depth) a power k; per LS a common
activity g, the median of what bright channels say. On its own on purpose: it shares no code with the
reference of :mod:`hcal_root_ad.model.reference_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats, Numbers
from studies.evaluate.protocol import WINDOW, Fitted, System, Training
from studies.evaluate.scoring import thinned, window_sum, with_clean_threshold

LUMISECTIONS, ROUNDS = 400, 12
BRIGHT, FULL = 30, 0.95
"""Channels with more digis per LS, and fewer per event, tell the activity."""


def _seen(counts: Numbers, events: Floats) -> Floats:
    """log of the rate that a count says, half a digi allowed for."""
    return np.log(-np.log1p(-((counts + 0.5) / (events + 1)).astype(np.float32)))


@dataclass(frozen=True, eq=False)
class Template:
    """``log_a``, ``k``: (channels,); ``bright``, ``live``: (channels,) masks."""

    log_a: Floats
    k: Floats
    bright: NDArray[np.bool_]
    live: NDArray[np.bool_]

    def log_g(self, counts: Numbers, events: Floats) -> Floats:
        """(LS, 1) log activity."""
        seen = _seen(counts[:, self.bright], events)
        return np.median((seen - self.log_a[self.bright]) / self.k[self.bright], axis=1, keepdims=True)

    def probability(self, log_g: Floats) -> Floats:
        """(LS, channels) expected digi probability."""
        p = -np.expm1(-np.exp((self.log_a + self.k * log_g).astype(np.float32)))
        return np.clip(p, 1e-6, 1 - 1e-6)

    def score(self, series: SubdetectorCounts, width: int) -> Floats:
        """|Σ(n − N·p)| / √(Σ N·p·(1 − p)) over the window."""
        trials = series.trials.astype(np.float32)
        p = self.probability(self.log_g(series.counts, trials))
        surprise = window_sum(series.counts - trials * p, series, width)
        pull = surprise / np.sqrt(window_sum(trials * p * (1 - p), series, width))
        return np.where(self.live, np.abs(pull), 0).astype(np.float32)


def fit_template(counts: Floats, events: Floats, ring: NDArray[np.intp]) -> Template:
    """Learn from (LS, channels) counts and (LS, 1) events: Newton steps for a and k between medians for g."""
    typical = np.median(counts, axis=0)
    live = counts.sum(axis=0) > 0
    bright = (typical > BRIGHT) & (typical < FULL * np.median(events))
    log_a, k = np.median(_seen(counts, events), axis=0), np.ones(len(ring))
    for _ in range(ROUNDS):
        template = Template(log_a, k, bright, live)
        log_g = template.log_g(counts, events)
        log_g -= log_g.mean()
        p = template.probability(log_g)
        slope = -(1 - p) * np.log1p(-p)
        weight = events * slope**2 / (p * (1 - p))
        pull = (counts - events * p) * slope / (p * (1 - p)) * live
        lever = log_g - (weight * log_g).sum(axis=0) / weight.sum(axis=0)
        log_a = log_a + np.clip(pull.sum(axis=0) / weight.sum(axis=0), -0.5, 0.5)
        moved = np.bincount(ring, (pull * lever).sum(axis=0))
        known = np.bincount(ring, (weight * lever**2 * live).sum(axis=0))
        # A spread of g of 0.01 or less tells nothing of k, which then stays where it was.
        k = np.clip(k + (moved / (known + 1e-4 * np.bincount(ring, weight.sum(axis=0)) + 1e-9))[ring], 0.3, 2.0)
        k /= k[bright].mean()
    return Template(log_a, k, bright, live)


def _fit(training: Training, width: int) -> Fitted:
    template = fit_template(*thinned(training.learn, LUMISECTIONS), training.channels.ring)
    return with_clean_threshold(partial(template.score, width=width), training)


SYSTEMS: tuple[System, ...] = (
    System("binomial template", "per-channel rate, ring power of pileup, 5 LS", partial(_fit, width=WINDOW)),
    System("binomial template, 1 LS", "the same, each LS by itself", partial(_fit, width=1)),
)
