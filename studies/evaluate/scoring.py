"""What the plain systems share: sums over the last five lumisections, and a score that is a function of counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats, Numbers
from studies.evaluate.protocol import FALSE_ALARM_SHARE, WINDOW, Training, Truth, clean_threshold


def shifted(values: Floats, series: SubdetectorCounts, lag: int) -> Floats:
    """(LS, …) the values ``lag`` lumisections earlier; 0 where the stretch had not begun."""
    earlier = np.zeros_like(values)
    for stretch in series.stretches():
        earlier[stretch][lag:] = values[stretch][: max(len(values[stretch]) - lag, 0)]
    return earlier


def window_sum(values: Numbers, series: SubdetectorCounts, width: int = WINDOW) -> Floats:
    """(LS, …) sum over a lumisection and the ``width − 1`` before it, as far as the stretch reaches back."""
    total: Floats = values.astype(np.result_type(values.dtype, np.float32))
    now = total.copy()
    for lag in range(1, width):
        total += shifted(now, series, lag)
    return total


def window_length(series: SubdetectorCounts, width: int = WINDOW) -> Floats:
    """(LS, 1) number of lumisections that :func:`window_sum` adds up."""
    return window_sum(np.ones((len(series), 1)), series, width)


@dataclass(frozen=True, eq=False)
class FromCounts:
    """A fitted system that needs nothing but the counts."""

    function: Callable[[SubdetectorCounts], Floats]
    threshold: float

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:  # noqa: ARG002
        return self.function(series)


def with_clean_threshold(function: Callable[[SubdetectorCounts], Floats], training: Training) -> FromCounts:
    """A scoring function as a system whose threshold the calibration runs set, at the common share of false alarms."""
    scores = [function(series) for series in training.calibrate]
    return FromCounts(function, clean_threshold(scores, FALSE_ALARM_SHARE))


def thinned(runs: Sequence[SubdetectorCounts], most: int) -> tuple[Floats, Floats]:
    """(LS, channels) counts and (LS, 1) events of at most ``most`` lumisections, evenly from all runs."""
    every = max(1, -(-sum(len(run) for run in runs) // most))
    counts = np.concatenate([run.counts[::every] for run in runs]).astype(np.float32)
    return counts, np.concatenate([run.trials[::every] for run in runs]).astype(np.float32)
