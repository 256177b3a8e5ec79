"""What innovations tell: how far units walk and scatter from run to run, and when the settings changed.

Empirical Bayes: of a group of alike units the walk (variance per step) and the noise (variance of a run) are those
under which their positions in the latest runs are most likely, each unit a local level (Durbin and Koopman, *Time
Series Analysis by State Space Methods*, 2012, section 2). A pull counts with 12 in square at most: steps are no walk.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hcal_root_ad.state.layers import FACTORS, LEVEL, RARE, Innovation, Labels, LatestRuns, Layer, Mask
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import robust_scale

CAP, CAP_OF_BOXES = 12.0, 8.0
"""Largest square of a pull that counts."""
WALKS = np.geomspace(0.001, 0.03, 12)
NOISES = np.geomspace(0.002, 0.05, 12)
"""Standard deviations that are tried."""
TYPICAL = {"channel": (0.004, 0.006), "module": (0.003, 0.003), "box": (0.006, 0.006), "half": (0.003, 0.003),
           "ring": (0.005, 0.01)}  # fmt: skip
"""Walk and noise that units are thought to have, as standard deviations; the prior is log-normal around them."""
PRIOR_WIDTH = 1.0
"""Its width in log."""
FEWEST_RUNS = 2
WIDER = {"channel": 1.35, "module": 1.5, "box": 1.8, "half": 4.0, "ring": 4.0}
"""Innovations wider than predicted by this factor in variance: the settings changed."""
FEWEST_UNITS = 12
REMEMBERED = 0.98
"""What is kept from run to run of what is known of a unit's restlessness."""


def with_widths(layer: Layer, level: str) -> Layer:
    """The layer with the walk and noise of each group under which its window is most likely."""
    walk, noise = layer.walk.copy(), layer.noise.copy()
    cap = CAP_OF_BOXES if level == "box" else CAP
    group = layer.group[layer.window.rows]
    for g in range(len(walk)):
        columns = np.flatnonzero(group == g)
        if np.isfinite(layer.window.position[:, columns]).any(axis=1).sum() >= FEWEST_RUNS:
            walk[g], noise[g] = _most_likely(layer.window, columns, g, TYPICAL[level], cap)
    return replace(layer, walk=walk, noise=noise)


def _most_likely(
    window: LatestRuns, columns: Labels, group: int, typical: tuple[float, float], cap: float
) -> tuple[float, float]:
    """Variances of walk and noise."""
    position, variance = window.position[:, columns], window.variance[:, columns]
    cost = _cost(position, variance, window.age, window.begins[:, group], cap)
    for axis, (values, middle) in enumerate(zip((WALKS, NOISES), typical, strict=True)):
        prior = (np.log(values / middle) / PRIOR_WIDTH) ** 2
        cost = cost + (prior[:, None] if axis == 0 else prior[None])
    weight = np.exp(-(cost - cost.min()) / 2)
    weight /= weight.sum()
    log_walk, log_noise = weight.sum(axis=1) @ np.log(WALKS), weight.sum(axis=0) @ np.log(NOISES)
    return float(np.exp(2 * log_walk)), float(np.exp(2 * log_noise))


def _cost(position: Floats, variance: Floats, age: Floats, begins: Mask, cap: float) -> Floats:
    """(walks, noises) −2 ln L of local levels. ``age``, ``begins``: (T,), of :class:`LatestRuns`."""
    walk, noise = WALKS[:, None, None] ** 2, NOISES[None, :, None] ** 2
    shape = (len(WALKS), len(NOISES), position.shape[1])
    mean, spread = np.zeros(shape), np.full(shape, np.nan)
    cost = np.zeros(shape[:2])
    for x, v, step, begin in zip(position.astype(np.float64), variance.astype(np.float64), age, begins, strict=True):
        there = np.isfinite(x)
        x, v = np.where(there, x, 0), np.where(there, v, 1)
        if begin:
            spread = np.full(shape, np.nan)
        started = np.isfinite(spread)
        before = np.where(started, spread + walk * step, 0)
        total = before + noise + v
        use = started & there
        cost += np.where(use, np.minimum((x - mean) ** 2 / total, cap) + np.log(total), 0).sum(axis=2)
        gain = np.where(use, before / total, np.where(there, 1.0, 0.0))
        mean = mean + gain * (x - mean)
        spread = np.where(use, before * (1 - gain), np.where(there, noise + v, np.where(started, before, np.nan)))
    return cost


def changed_settings(layer: Layer, off: Innovation, level: str, sound: Mask) -> Floats:
    """(groups,) variance by which the units moved in this step beyond what was predicted; 0 where all is as before.

    ``sound``: (units,) that are not known to be at fault. Those with a line in this run count: were it a change of
    settings, the lines would be of those that moved most.
    """
    out = np.zeros(len(layer.walk))
    for g in range(len(out)):
        rows = np.flatnonzero(sound & off.measured & (layer.group == g))
        if len(rows) < FEWEST_UNITS:
            continue
        factor = float(robust_scale(off.pull[rows][None])[0]) ** 2
        if factor > WIDER[level]:
            out[g] = (factor - 1) * float(np.median(off.chance[rows] + off.expected[rows]))
    return out


def with_settings(layer: Layer, excess: Floats) -> Layer:
    """The layer with so much more walk in this step only."""
    covariance = layer.covariance.copy()
    covariance[:, LEVEL, LEVEL] += excess[layer.group]
    return replace(layer, covariance=covariance, clock=layer.clock + excess)


def with_restlessness(layer: Layer, off: Innovation, use: Mask, age: float) -> Layer:
    """The layer with how likely each unit is a restless one; what it was seen to do is forgotten by and by.

    A step that is far off makes a unit restless for some runs, and its level less sure: such are tails of walks.
    """
    total = off.chance + off.expected
    walk = layer.walk[layer.group] * age
    under = total[:, None] + (FACTORS - layer.multiplier[:, None]) * walk[:, None]
    under = np.maximum(under, (off.chance + layer.noise[layer.group])[:, None])
    shift2 = np.minimum(off.shift**2, CAP * total)
    said = -(shift2[:, None] / under + np.log(under)) / 2
    prior = np.log(RARE)
    restless = prior + REMEMBERED * (layer.restless - prior) + said - said[:, :1]
    return replace(layer, restless=np.where((use & off.measured)[:, None], restless, layer.restless))
