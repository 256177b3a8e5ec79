"""The oracle: likelihood ratios with the true healthy probabilities known. No system can pass it.

By Neyman and Pearson's lemma the best ranking of faulty against healthy pairs (LS, channel) is by the
likelihood ratio of the two hypotheses, *for both kinds of pair the same function of the same counts*:
the alternative that a condition is about (:class:`Alternative`) must be compared with healthy pairs too.
Taking each pair's own true probabilities instead would give healthy pairs a ratio of 1 whatever their
counts: that is reading the label, not a limit. So there are two scores:

- :func:`oracle_scores` is the limit of **one condition**. It knows the healthy probabilities exactly, the
  kind and strength of the fault, that it began within the window at a time not known, and, if ``units`` are
  given, that a unit's channels fail together. The mean of the likelihood ratios over what is not known is
  the likelihood ratio of pairs drawn over it, so its ROC curve is the highest that any function of the
  unit's counts in the window can have, as long as any unit and any LS may be hit alike.
- The oracle as a system (:data:`SYSTEMS`) is told no condition: the same with the mean over the table's
  faults (:data:`BLIND`), channel by channel. On average over those it is the best score of single channels; on
  one of them, or by pooling over a readout unit, a system can pass it, but not :func:`oracle_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import LARGEST, Floats
from studies.evaluate.protocol import FALSE_ALARM_SHARE, WINDOW, Fitted, System, Training, Truth
from studies.evaluate.scoring import shifted

IMPOSSIBLE = -1e4
"""Log-likelihood ratio of counts that the alternative cannot give; finite, so that sums and ranks stay so."""

State = tuple[float, float, float]
"""Weight, factor f and added probability a: the probability is min(1, f·p + a) with this weight."""
Units = Sequence[NDArray[np.intp]]
"""Rows of the channels of each of some units; a channel may be in several."""


@dataclass(frozen=True)
class Alternative:
    """What may be wrong: for each LS since a fault's start, the states it may be in.

    A tested LS is any of ``steps``, alike; earlier steps lie in the LS before it. It is at fault itself:
    in the tested LS, states that change nothing have no weight.
    """

    steps: tuple[tuple[State, ...], ...]


def constant(factor: float, lumisections: int = WINDOW) -> Alternative:
    """A factor on the digi probability; for one LS (isolated) or the window (persistent)."""
    return Alternative((((1.0, factor, 0.0),),) * lumisections)


def ageing(first: float, last: float) -> Alternative:
    """A factor that falls linearly over the window."""
    return Alternative(tuple(((1.0, float(factor), 0.0),) for factor in np.linspace(first, last, WINDOW)))


def flickering(on: float) -> Alternative:
    """Off in each LS, but for a share of them."""
    return Alternative((((1 - on, 0.0, 0.0), (on, 1.0, 0.0)),) * WINDOW)


def noisy(least: float, mean: float, states: int = 12) -> Alternative:
    """Probability added in each LS: ``least`` and an exponential of this mean, in equal shares."""
    middle = (np.arange(states) + 0.5) / states
    return Alternative((tuple((1 / states, 1.0, least - mean * float(np.log1p(-m))) for m in middle),) * WINDOW)


Ratios = Mapping[State, Floats]
"""State to (LS, channels or units) log-likelihood ratios of each LS's counts by themselves."""


def oracle_scores(
    series: SubdetectorCounts, healthy: Floats, alternative: Alternative, units: Units | None = None
) -> Floats:
    """(LS, channels) log of the mean likelihood ratio over the window; see the module's words.

    ``healthy``: (LS, channels) true healthy probabilities (:attr:`Truth.healthy`). With ``units``, the rows of
    channels that fail as one (module, box, …), it is (LS, units).
    """
    ratios = state_ratios(series, healthy, alternative)
    if units is not None:
        ratios = {state: summed(ratio, units) for state, ratio in ratios.items()}
    return over_window(series, ratios, alternative)


def state_ratios(series: SubdetectorCounts, healthy: Floats, alternative: Alternative) -> Ratios:
    """(LS, channels) ratios of every state that an alternative has."""
    states = {state for step in alternative.steps for state in step}
    return {state: _state_ratio(series, healthy, state) for state in sorted(states)}


def summed(values: NDArray[Any], units: Units) -> Floats:
    """(LS, units) sums of (LS, channels) over the channels of each unit; none may be empty."""
    first = np.cumsum([0, *(len(unit) for unit in units)])[:-1]
    sums: Floats = np.add.reduceat(values[:, np.concatenate(units)], first, axis=1, dtype=np.float64)
    return sums


def over_window(series: SubdetectorCounts, ratios: Ratios, alternative: Alternative) -> Floats:
    """(LS, channels or units) log of the mean likelihood ratio over the starts that the window allows."""
    mixed = {step: _log_mean([ratios[s] for s in step], [s[0] for s in step]) for step in set(alternative.steps)}
    histories = []
    for age, step in enumerate(alternative.steps):
        seen = [weight if (factor, added) != (1.0, 0.0) else 0.0 for weight, factor, added in step]
        history = mixed[step] if all(seen) else _log_mean([ratios[state] for state in step], seen)
        for lag in range(1, age + 1):
            history = history + shifted(mixed[alternative.steps[age - lag]], series, lag)
        histories.append(history)
    return _log_mean(histories, [1.0] * len(histories))


def _log_mean(logs: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """log Σ w·exp(x) / Σ w."""
    shares = [weight / sum(weights) for weight in weights]
    terms = [log + np.float32(np.log(share)) for log, share in zip(logs, shares, strict=True) if share]
    total = terms[0]
    for term in terms[1:]:
        total = np.logaddexp(total, term)
    return total


def _state_ratio(series: SubdetectorCounts, healthy: Floats, state: State) -> Floats:
    """(LS, channels) log-likelihood ratio of one LS's counts in a state; 0 for channels never filled."""
    _, factor, added = state
    n, trials = series.counts.astype(np.float32), series.trials.astype(np.float32)
    p = np.clip(healthy, 0, LARGEST).astype(np.float32)
    q = np.minimum(np.float32(factor) * p + np.float32(added), 1)
    forbidden = ((q == 0) & (n > 0)) | ((q == 1) & (n < trials))
    tiny = np.finfo(np.float32).tiny
    ratio = n * np.log(np.maximum(q, tiny) / np.maximum(p, tiny))
    ratio += (trials - n) * np.log(np.maximum(1 - q, tiny) / (1 - p))
    return np.where(p > 0, np.where(forbidden, np.float32(IMPOSSIBLE), ratio), np.float32(0))


BLIND = (*(constant(factor) for factor in (0.0, 0.2, 0.4, 0.6, 0.8, 1.5, 2.0, 4.0)), noisy(0.02, 0.1))
"""Faults of the table, of which the oracle as a system does not know which it will meet."""


@dataclass(frozen=True)
class _Blind:
    """The mean likelihood ratio over all of :data:`BLIND` and over starts.

    Its mean over healthy counts is 1, so a healthy pair exceeds 1/share at most in that share of cases.
    """

    threshold: float = -float(np.log(FALSE_ALARM_SHARE))

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:
        scores = oracle_scores(series, truth.healthy, BLIND[0])
        for alternative in BLIND[1:]:
            np.logaddexp(scores, oracle_scores(series, truth.healthy, alternative), out=scores)
        return scores - np.float32(np.log(len(BLIND)))


def _fit(training: Training) -> Fitted:  # noqa: ARG001
    return _Blind()


SYSTEMS: tuple[System, ...] = (
    System("oracle (blind)", "likelihood ratio, true rates known, mean over the table's faults", _fit),
)
