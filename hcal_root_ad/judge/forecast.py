"""Forecasts of ageing: which channels and units lose digis ever further, and in which lumisection they will be bad.

Only what is at fault to the end of the run is looked at, after the common part is taken out. Its digis over the
expected ones either stepped down once, ``1 + c − L`` from an onset s on, or sink: ``1 + c − L·(t − s)/(T − s)`` with T
the last lumisection. Both are compared with each other with the same prior on the loss L, summed over the onsets; a
forecast is made only where the ramp wins clearly. The crossing of ``BAD_BELOW`` is drawn from the ramp's posterior, so
its interval knows that neither onset nor loss is certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.verdict import Finding, Forecast, Level, Verdict
from hcal_root_ad.stats.binomial import Floats

BAD_BELOW = 0.5
"""Share of its expected digis below which a channel is bad for physics."""
ONSETS = 24
"""Onsets that are tried, evenly over the run so far."""
BLOCKS = 60
"""A longer run is summed to this many blocks of lumisections: a ramp that matters lasts many."""
FEWEST = 12
"""Assessed lumisections below which nothing is foretold."""
UNTIL_END = 3
"""Judged lumisections at the end that a finding may miss and still last to the end."""
STEADY = 0.8
"""Duty below which a finding comes and goes: nothing is foretold of it."""
CLEARLY = 6.0
"""Log marginal likelihood by which the ramp must win against the step (a factor of 400)."""
STRAIGHT = 2.5
"""Mean squared pull that the ramp may leave; above, the channel does something else."""
LEAST_LOSS = 0.06
"""Share of the digis that a ramp must have taken so far; drifts of a sound detector stay within a few percent."""
HORIZON = 3000
"""Lumisections (19 h, a long fill) within which a crossing is announced."""
LEVEL_WIDTH, LOSS_WIDTH = 0.03, 0.5
"""Prior widths of the level before the onset, and of the share that is lost at the end."""
DRIFT = 0.01
"""Spread of a sound channel's own drift over a few hundred LS, by which a loss may be wrong."""
DRAWS, PROBABILITY = 600, 0.90
"""Draws from the posterior, and the probability that the interval holds."""


def with_forecasts(verdict: Verdict) -> Verdict:
    """The verdict with what its findings let expect; without trust nothing is foretold."""
    if not verdict.trust.trusted or not verdict.findings or verdict.granularity != "lumisection":
        return verdict
    forecasts = sorted(_forecasts(verdict), key=lambda forecast: (forecast.crossing, forecast.unit))
    return replace(verdict, forecasts=tuple(forecasts))


def _forecasts(verdict: Verdict) -> Iterator[Forecast]:
    rows = np.flatnonzero(verdict.assessed)
    if len(rows) < FEWEST:
        return
    late = int(verdict.lumisections[rows[-min(UNTIL_END, len(rows))]])
    for finding in verdict.findings:
        lasting = finding.last >= late and finding.duty >= STEADY and finding.size < 1
        if lasting and finding.level is not Level.SUBDETECTOR:
            forecast = foretold(_course(verdict, finding, rows), finding)
            if forecast:
                yield forecast


@dataclass(frozen=True, eq=False)
class Course:
    """Digis over expected ones of a channel or unit: ``ratio``, its inverse variance ``weight``, ``time``; (blocks,).

    ``time`` counts lumisections; the last lumisection of the run is ``end``.
    """

    time: Floats
    ratio: Floats
    weight: Floats
    end: float


def _course(verdict: Verdict, finding: Finding, rows: NDArray[np.intp]) -> Course:
    columns = np.array(finding.rows, dtype=np.intp)
    observed = verdict.observed[np.ix_(rows, columns)].sum(axis=1, dtype=np.float64)
    each = verdict.expected[np.ix_(rows, columns)].astype(np.float64)
    misses = 1 - each / np.maximum(verdict.events[rows, None], 1)
    expected, spread = each.sum(axis=1), (each * np.maximum(misses, 0.02)).sum(axis=1)
    return course_of(verdict.lumisections[rows].astype(np.float64), observed, expected, spread)


def course_of(time: Floats, observed: Floats, expected: Floats, variance: Floats) -> Course:
    """Counts (LS,) with their binomial variances, summed to blocks; what they scatter beyond widens all."""
    edges = np.unique(np.linspace(0, len(time), min(BLOCKS, len(time)) + 1).astype(int))[:-1]
    sizes = np.diff(np.append(edges, len(time)))
    n, e, v = (np.add.reduceat(values, edges) for values in (observed, expected, variance))
    middle = np.add.reduceat(time, edges) / sizes
    use = e > 1
    n, e, v, middle = n[use], e[use], v[use], middle[use]
    ratio = n / e
    # At half of its digis a channel scatters as one that expects half of them.
    weight = e**2 / np.maximum(v * np.maximum(ratio, 0.05), 1e-9)
    steps = np.diff(ratio) / np.sqrt(1 / weight[1:] + 1 / weight[:-1])
    beyond = max(1.0, float(np.median(np.abs(steps))) / 0.6745) if len(steps) else 1.0
    return Course(middle, ratio, weight / beyond**2, float(time[-1]))


def foretold(course: Course, finding: Finding) -> Forecast | None:
    """When the finding's channels will be bad; None where they do not sink, or nobody will see it."""
    if len(course.time) < FEWEST:
        return None
    onsets = np.linspace(course.time[0], course.time[-1], ONSETS + 2)[:-2]
    after = course.time - onsets[:, None]
    ramps = [_fit(course, shape) for shape in np.maximum(after, 0) / (course.end - onsets)[:, None]]
    steps = [_fit(course, shape) for shape in (after >= 0).astype(np.float64)]
    evidence = np.array([fit.evidence for fit in ramps])
    if not np.isfinite(evidence).any():
        return None
    if np.logaddexp.reduce(evidence) - np.logaddexp.reduce([fit.evidence for fit in steps]) < CLEARLY:
        return None
    best = ramps[int(evidence.argmax())]
    if float((course.weight * best.left**2).mean()) > STRAIGHT:
        return None
    return _crossing(course, onsets, ramps, evidence, finding)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Level c and loss L of ``ratio = 1 + c − L·shape``: log marginal likelihood, mean, covariance, what is left."""

    evidence: float
    mean: Floats
    covariance: Floats
    left: Floats


def _fit(course: Course, shape: Floats) -> _Fit:
    """Normal likelihood and priors, so all is exact (Bishop, Pattern Recognition and Machine Learning, 3.5)."""
    design = np.stack([np.ones_like(shape), -shape], axis=1)
    y = course.ratio - 1
    prior = np.diag([LEVEL_WIDTH**-2, LOSS_WIDTH**-2])
    precision = design.T @ (course.weight[:, None] * design) + prior
    score = design.T @ (course.weight * y)
    mean = np.linalg.solve(precision, score)
    _, volume = np.linalg.slogdet(precision)
    _, before = np.linalg.slogdet(prior)
    evidence = float(score @ mean - volume + before) / 2
    return _Fit(evidence if mean[1] > 0 else -np.inf, mean, np.linalg.inv(precision), y - design @ mean)


def _crossing(course: Course, onsets: Floats, ramps: list[_Fit], evidence: Floats, finding: Finding) -> Forecast | None:
    draw = np.random.default_rng(0)
    share = np.exp(evidence - evidence.max())
    which = draw.choice(len(onsets), DRAWS, p=share / share.sum())
    level, loss = np.empty(DRAWS), np.empty(DRAWS)
    for number in np.unique(which):
        drawn = which == number
        spread = ramps[number].covariance + np.diag([0.0, DRIFT**2])
        level[drawn], loss[drawn] = draw.multivariate_normal(ramps[number].mean, spread, int(drawn.sum())).T
    onset = onsets[which] + draw.uniform(-0.5, 0.5, DRAWS) * (onsets[1] - onsets[0])
    slope = loss / (course.end - onsets[which])
    crossing = np.where(slope > 0, onset + (1 + level - BAD_BELOW) / np.maximum(slope, 1e-9), np.inf)
    now, lost = float(np.median(1 + level - loss)), float(np.median(loss))
    edges = [(1 - PROBABILITY) / 2, 0.5, (1 + PROBABILITY) / 2]
    low, middle, high = np.quantile(crossing, edges, method="nearest")
    if lost < LEAST_LOSS or now < BAD_BELOW or not np.isfinite(high) or middle - course.end > HORIZON:
        return None
    return Forecast(
        finding.unit, finding.channels, max(round(float(np.median(onset))), 1), min(now, 1.0), min(lost, 1.0),
        round(low), round(middle), round(high),
    )  # fmt: skip


def sentence(forecast: Forecast) -> str:
    """Such as ``HEP07-RM2: 24 % of the digis lost since LS 40; below 50 % at about LS 120 (90 %: LS 110 to 140)``."""
    return (
        f"{forecast.unit}: {forecast.lost:.0%} of the digis lost since LS {forecast.onset}; below {BAD_BELOW:.0%} at "
        f"about LS {forecast.crossing} (90 %: LS {forecast.earliest} to {forecast.latest})"
    )
