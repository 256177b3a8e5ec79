"""The common activity of each lumisection of a run, from the sub-detectors that are well enough to tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.learn.rates import CHUNK
from hcal_root_ad.learn.reference import Reference, fit_activity
from hcal_root_ad.learn.series import Series
from hcal_root_ad.occupancy import Floats

REACH = 1.5
"""How far (in log activity) conditions may lie outside of what the reference has seen."""
SETTLED = 0.6
"""Share of channels that must agree with an activity; with half of a sub-detector off, the fit may follow either."""
AGREE, AT_LEAST = 4.0, 0.25
"""Statistical standard deviations, or share of the expected digis, within which a channel agrees with an activity."""


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
    u, agreeing = np.zeros(len(series)), np.zeros(len(series))
    for first in range(0, len(series), CHUNK):
        rows = slice(first, first + CHUNK)
        u[rows] = fit_activity(reference, series.counts[rows], series.events[rows])
        agreeing[rows] = agree(reference, series.counts[rows], series.trials[rows], u[rows]).sum(axis=1)
    near = np.abs(u - np.clip(u, *reference.activity)) <= REACH
    return _Own(u, near, near & (agreeing >= SETTLED * reference.live.sum()))


def agree(reference: Reference, counts: NDArray[np.int32], trials: Floats, u: Floats) -> NDArray[np.bool_]:
    """(LS, channels) live channels whose counts are about what activities (LS,) let expect."""
    p = reference.expected(u)
    width = np.maximum(AGREE * np.sqrt(trials * p * (1 - p)), AT_LEAST * trials * p)
    agreeing: NDArray[np.bool_] = (np.abs(counts - trials * p) < width) & reference.live
    return agreeing


def _helped(name: str, reference: Reference, series: Series, own: Mapping[str, _Own]) -> Activity:
    u, near = own[name].u.copy(), own[name].near.copy()
    for other in (found for which, found in own.items() if which != name):
        for row in np.flatnonzero(~own[name].sound & other.sound):
            u[row], near[row] = _from_another(reference, series.part(np.array([row])), other.u[row]), True
    return Activity(u, near)


def _from_another(reference: Reference, one: Series, elsewhere: float) -> float:
    """Activity of one LS, from the channels that agree with what another sub-detector sees in it."""
    start = np.array([elsewhere])
    agreeing = agree(reference, one.counts, one.trials, start)[0]
    if not agreeing.any():
        return float(start[0])
    return float(fit_activity(replace(reference, live=agreeing), one.counts, one.events, start)[0])
