"""The common activity of each lumisection of a run, from the sub-detectors that are well enough to tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.conditions import REACH, SETTLED, activity_from, agreeing
from hcal_root_ad.references.rates import CHUNK
from hcal_root_ad.learn.reference import Reference, fit_activity
from hcal_root_ad.learn.series import Series
from hcal_root_ad.stats.binomial import Floats


@dataclass(frozen=True, eq=False)
class Activity:
    """(LS,) log activity ``u`` of one sub-detector, and which lumisections are ``near`` what the reference knows."""

    u: Floats
    near: NDArray[np.bool_]


def activities(references: Mapping[str, Reference], series: Mapping[str, Series]) -> dict[str, Activity]:
    """Activities of the same lumisections in every sub-detector.

    Where most channels of one sub-detector do not agree with what its fit says, or it is far outside of what the
    reference knows, another one that is sound tells instead: then it is the sub-detector that fails, not the beam.
    """
    own = {name: _own(references[name], series[name]) for name in series}
    return {name: _helped(name, references[name], series[name], own) for name in series}


@dataclass(frozen=True, eq=False)
class _Own:
    """What a sub-detector says by itself: (LS,) activity, whether it is near, and whether most channels agree."""

    u: Floats
    near: NDArray[np.bool_]
    sound: NDArray[np.bool_]


def _own(reference: Reference, series: Series) -> _Own:
    u, sound = np.zeros(len(series)), np.zeros(len(series), dtype=np.bool_)
    for first in range(0, len(series), CHUNK):
        rows = slice(first, first + CHUNK)
        one = series.part(rows)
        u[rows] = fit_activity(reference, one.counts, one.events)
        sound[rows] = agreeing(reference, one, u[rows]).sum(axis=1) >= SETTLED * reference.live.sum()
    near = np.abs(u - np.clip(u, *reference.activity)) <= REACH
    return _Own(u, near, near & sound)


def _helped(name: str, reference: Reference, series: Series, own: Mapping[str, _Own]) -> Activity:
    u, near = own[name].u.copy(), own[name].near.copy()
    for other in (found for which, found in own.items() if which != name):
        for row in np.flatnonzero(~own[name].sound & other.sound):
            # Unlike the judge's, it is not cut to what the reference has seen: that of one run has seen one activity.
            u[row] = activity_from(reference, series.part(np.array([row])), other.u[[row]])[0]
            near[row] = True
    return Activity(u, near)
