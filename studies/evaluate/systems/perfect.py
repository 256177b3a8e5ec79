"""What the published score makes of reconstructions that were not trained: it separates the score from the training.

The score of the public GraphSTAD code: errors in each channel's minimum-to-maximum space, averaged over a window, over
their spread in clean runs. The reconstruction is the true rate, which nobody can know, or what our model of the common
part expects (no judge, no evidence).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.stats.binomial import Floats, probability
from studies.evaluate.protocol import WINDOW, Fitted, System, Training, Truth
from studies.evaluate.systems.deep import Scaling, minimum_to_maximum, side_by_side, sigmas, trailing

THRESHOLD = 25.0
"""The public code's."""
Expected = Callable[[SubdetectorCounts, Floats], Floats]
"""Counts and true rates → (LS, channels) digis per event that are expected; one of the two is looked at."""


@dataclass(frozen=True, eq=False)
class PublishedScore:
    """``spread``: (channels,) of clean errors averaged over ``width`` LS."""

    expected: Expected
    scaling: Scaling
    width: int
    spread: Floats
    threshold: float = THRESHOLD

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:
        errors = scaled_errors(series, self.expected(series, truth.healthy), self.scaling)
        return np.asarray(errors[trailing(series, self.width)].mean(axis=1) / self.spread)


def scaled_errors(series: SubdetectorCounts, expected: Floats, scaling: Scaling) -> Floats:
    """(LS, channels) distance of what is counted from what is expected, in units of the scaling."""
    return np.asarray(np.abs(series.counts / series.trials - expected) / scaling(series).unit, dtype=np.float32)


def _fit(training: Training, width: int, learn: Callable[[Training], Expected]) -> Fitted:
    expected, scaling = learn(training), minimum_to_maximum(training.learn)
    clean = []
    for series, rates in zip(training.calibrate, training.rates, strict=True):
        errors = scaled_errors(series, expected(series, rates), scaling)
        clean.append(errors[side_by_side(series, width)].mean(axis=1))
    _, spread = sigmas(np.concatenate(clean))
    return PublishedScore(expected, scaling, width, spread)


def _true_rates(training: Training) -> Expected:  # noqa: ARG001
    return lambda _series, rates: rates


def _common_part(training: Training) -> Expected:
    """Level and pileup of our reference, and what rings do from LS to LS."""
    counts, events = (np.concatenate([getattr(one, name) for one in training.learn]) for name in ("counts", "events"))
    run = np.repeat(np.arange(len(training.learn)), [len(one) for one in training.learn])
    reference = fit_reference(CleanLumisections(training.channels, counts, events.astype(np.int64), run))
    fit = CommonPartFit(reference)

    def expected(series: SubdetectorCounts, _rates: Floats) -> Floats:
        levels = fit.fit(series.counts, series.events.astype(np.int64))
        log_rate = reference.level + np.multiply.outer(levels.log_pileup.astype(np.float64), reference.power)
        return np.where(reference.live, probability(log_rate + levels.ring[:, reference.tree.ring.of]), 0.0)

    return expected


def _system(name: str, origin: str, width: int, learn: Callable[[Training], Expected], told: bool) -> System:
    return System(name, origin, partial(_fit, width=width, learn=learn), told_rates=told)


SYSTEMS = (
    _system("perfect reconstruction, published score", "the true rates, 5 LS", WINDOW, _true_rates, told=True),
    _system("perfect reconstruction, published score, 1 LS", "the true rates, 1 LS", 1, _true_rates, told=True),
    _system("model of the common part, published score", "our expectation, 5 LS", WINDOW, _common_part, told=True),
    _system("model of the common part, published score, 1 LS", "our expectation, 1 LS", 1, _common_part, told=True),
)
