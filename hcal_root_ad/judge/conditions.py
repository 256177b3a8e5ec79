"""What a sub-detector's reference sees of a run, lumisection by lumisection: activity, and whether it can judge it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.judge.fitness import Misfit
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reconstruct import Rings
from hcal_root_ad.learn.reference import Reference, fit_activity
from hcal_root_ad.learn.series import Series, blocks
from hcal_root_ad.stats.binomial import Binomial, Floats

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
        lumisections: (LS,). activity: (LS,) as fitted, or 0 if ``blind``. ring_shift: (LS, rings) of log λ.
        near: (LS,) whether the activity is one that the reference can judge.
        ordinary: (LS,) whether, besides, most channels agree with it: ordinary collisions, seen by a sound
            sub-detector.
        blind: nothing is known to hold the run against.
    """

    def __init__(self, bundle: Bundle, channels: ChannelTable, *, blind: bool = False) -> None:
        self.bundle, self.blind = bundle, blind
        self.rings = Rings(bundle.reference, channels, bundle.ring_normalisation)
        self.lumisections = np.zeros(0, dtype=np.int32)
        self.activity: Floats = np.zeros(0)
        self.ring_shift = np.zeros((0, self.rings.number), dtype=np.float32)
        self.near = np.zeros(0, dtype=np.bool_)
        self.ordinary = np.zeros(0, dtype=np.bool_)
        self._misfit = Misfit(bundle)

    def __len__(self) -> int:
        return len(self.lumisections)

    def add(self, series: Series) -> None:
        """Look at further lumisections."""
        activity: Floats = np.zeros(len(series))
        shift = np.zeros((len(series), self.rings.number), dtype=np.float32)
        near, ordinary = np.zeros((2, len(series)), dtype=np.bool_)
        if not self.blind:
            activity = fit_activity(self.bundle.reference, series.counts, series.events)
            near = np.abs(activity - np.clip(activity, *self.bundle.reference.activity)) <= REACH
            for rows in blocks(len(series)):
                shift[rows], ordinary[rows] = self._look(series.part(rows), activity[rows], near[rows])
        self.lumisections = np.append(self.lumisections, series.lumisections)
        self.activity = np.append(self.activity, activity)
        self.ring_shift = np.concatenate([self.ring_shift, shift])
        self.near = np.append(self.near, near)
        self.ordinary = np.append(self.ordinary, ordinary)

    def _look(
        self, series: Series, activity: Floats, near: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Shifts of the rings, and which lumisections are ordinary."""
        reference = self.bundle.reference
        counts, events = series.single(slice(None))
        expected = Binomial(events, reference.single.log_rate(activity))
        agree = np.count_nonzero(_agreeing(reference, counts, expected), axis=1)
        shift = self.rings.shift(counts, expected, activity)
        moved = Binomial(events, self.rings.log_rate(activity, shift))
        self._misfit.add(counts, moved, activity, near)
        return shift, near & (agree >= SETTLED * reference.live.sum())

    @property
    def known(self) -> Floats:
        """(LS,) the activity, cut to what the reference has seen."""
        return np.clip(self.activity, *self.bundle.reference.activity)

    @property
    def misfit(self) -> float:
        """Typical deviation of the channels from the reference, over the lumisections near it."""
        return self._misfit.value

    def seen_from(self, one: Series, elsewhere: float) -> tuple[float, NDArray[np.float32]]:
        """Activity of one LS, from the channels that agree with what another sub-detector sees in it; ring shifts."""
        reference, (counts, events) = self.bundle.reference, one.single(slice(None))
        activity = activity_from(reference, one, np.clip([elsewhere], *reference.activity))
        expected = Binomial(events, reference.single.log_rate(activity))
        return float(activity[0]), self.rings.shift(counts, expected, activity)[0]


def activity_from(reference: Reference, one: Series, elsewhere: Floats) -> Floats:
    """(1,) activity of one LS, from the channels that agree with what is seen elsewhere; that, if none does."""
    agree = agreeing(reference, one, elsewhere)[0]
    if not agree.any():
        return elsewhere
    return fit_activity(replace(reference, live=agree), one.counts, one.events, elsewhere)


def agreeing(reference: Reference, series: Series, activity: Floats) -> NDArray[np.bool_]:
    """(LS, channels) live channels whose counts are about what activities (LS,) let expect."""
    counts, events = series.single(slice(None))
    return _agreeing(reference, counts, Binomial(events, reference.single.log_rate(activity)))


def _agreeing(reference: Reference, counts: Floats, expected: Binomial) -> NDArray[np.bool_]:
    width = np.maximum(AGREE * np.sqrt(expected.variance), AT_LEAST * expected.mean)
    return np.asarray((np.abs(counts - expected.mean) < width) & reference.live)
