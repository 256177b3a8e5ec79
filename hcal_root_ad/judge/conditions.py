"""What a sub-detector's reference sees of a run, lumisection by lumisection: activity, and whether it can judge it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.fitness import Misfit
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reference import Reference, fit_activity
from hcal_root_ad.learn.series import Series
from hcal_root_ad.occupancy import Floats

REACH = 1.5
"""How far (in log activity) conditions may lie outside of what the reference has seen."""
SETTLED = 0.6
"""Share of channels that must agree with an activity; with half of a sub-detector off, the fit may follow either."""
AGREE, AT_LEAST = 4.0, 0.25
"""Statistical standard deviations, or share of the expected digis, within which a channel agrees with an activity."""


class Conditions:
    """The assessable lumisections of one sub-detector as a bundle's reference sees them; they grow with the run.

    Attributes:
        bundle: whose reference it is.
        lumisections: (LS,). activity: (LS,) as fitted, or 0 if ``blind``.
        near: (LS,) whether the activity is one that the reference can judge.
        ordinary: (LS,) whether, besides, most channels agree with it: ordinary collisions, seen by a sound
            sub-detector.
        blind: nothing is known to hold the run against.
    """

    def __init__(self, bundle: Bundle, *, blind: bool = False) -> None:
        self.bundle, self.blind = bundle, blind
        self.lumisections = np.zeros(0, dtype=np.int32)
        self.activity: Floats = np.zeros(0)
        self.near = np.zeros(0, dtype=np.bool_)
        self.ordinary = np.zeros(0, dtype=np.bool_)
        self._misfit = Misfit(bundle)

    def __len__(self) -> int:
        return len(self.lumisections)

    def add(self, series: Series) -> None:
        """Look at further lumisections."""
        activity: Floats = np.zeros(len(series))
        near, ordinary = np.zeros((2, len(series)), dtype=np.bool_)
        if not self.blind:
            reference = self.bundle.reference
            activity = fit_activity(reference, series.counts, series.events)
            near = np.abs(activity - np.clip(activity, *reference.activity)) <= REACH
            ordinary = near & (agreeing(reference, series, activity).sum(axis=1) >= SETTLED * reference.live.sum())
            self._misfit.add(series.part(np.flatnonzero(near)), activity[near])
        self.lumisections = np.append(self.lumisections, series.lumisections)
        self.activity = np.append(self.activity, activity)
        self.near = np.append(self.near, near)
        self.ordinary = np.append(self.ordinary, ordinary)

    @property
    def known(self) -> Floats:
        """(LS,) the activity, cut to what the reference has seen."""
        return np.clip(self.activity, *self.bundle.reference.activity)

    @property
    def misfit(self) -> float:
        """Typical deviation of the channels from the reference, over the lumisections near it."""
        return self._misfit.value


def agreeing(reference: Reference, series: Series, activity: Floats) -> NDArray[np.bool_]:
    """(LS, channels) live channels whose counts are about what activities (LS,) let expect."""
    p, trials = reference.expected(activity), series.trials
    width = np.maximum(AGREE * np.sqrt(trials * p * (1 - p)), AT_LEAST * trials * p)
    agree: NDArray[np.bool_] = (np.abs(series.counts - trials * p) < width) & reference.live
    return agree


def activity_from(reference: Reference, one: Series, elsewhere: float) -> float:
    """Activity of one LS, from the channels that agree with what another sub-detector sees in it."""
    start = np.clip([elsewhere], *reference.activity)
    agree = agreeing(reference, one, start)[0]
    if not agree.any():
        return float(start[0])
    return float(fit_activity(replace(reference, live=agree), one.counts, one.events, start)[0])
