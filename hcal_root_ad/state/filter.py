"""The Kalman filter of one layer: predict a run, measure it, and how far off the prediction was.

A run gives, for each unit, J = Σw·h·hᵀ and b = Σw·x·h with h = (1, u): x is the shift of log rate from what the state
said. The run's own noise (variance R, the same in all of its LS) is a nuisance, integrated out: with a = 1/(S₀ + 1/R)

    J = [[S₀ − S₀²a, S₁ − S₀S₁a], [·, S₂ − S₁²a]],   b = (b₀ − S₀b₀a, b₁ − S₁b₀a),
    P ← (1 + PJ)⁻¹P,   θ ← θ + P·b.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hcal_root_ad.judge.measured import RunSums
from hcal_root_ad.state.layers import LEVEL, POWER, Layer, Mask
from hcal_root_ad.stats.binomial import Floats

LARGEST_STEP = 0.3
"""A level moves by less in one run: of saturated channels one Newton step says too much."""
FEWEST = 1e-3
"""Units with less information in a run were not measured."""


@dataclass(frozen=True, eq=False)
class Innovation:
    """How far a run was from the prediction, (units,): ``shift`` of log rate at its mean log pileup ``u``.

    ``chance``: variance by counting. ``expected``: variance of the prediction, the run's noise included.
    """

    shift: Floats
    u: Floats
    chance: Floats
    expected: Floats
    measured: Mask

    @property
    def pull(self) -> Floats:
        """(units,) shift over its standard deviation, 0 where not measured."""
        return self.shift / np.sqrt(self.chance + self.expected)


def predict(layer: Layer, age: float, frozen: Mask) -> Layer:
    """The layer before the next run, ``age`` steps on; frozen units stay as sure as they were."""
    covariance = layer.covariance.copy()
    covariance[:, LEVEL, LEVEL] += np.where(frozen, 0, layer.walked(age))
    return replace(layer, covariance=covariance, clock=layer.clock + layer.walk * age)


def innovation(layer: Layer, sums: RunSums, place: Floats) -> Innovation:
    """Of a predicted layer; ``place`` (terms,): where the judge looked at it."""
    weight = np.maximum(sums.information[0], FEWEST)
    u = sums.information[1] / weight
    along = np.zeros((len(layer), layer.terms)) + place
    along[:, POWER] = u
    expected = np.einsum("nij,ni,nj->n", layer.covariance, along, along) + layer.noise[layer.group]
    measured = sums.information[0] > FEWEST
    shift = np.where(measured, sums.score[0] / weight, 0.0)
    return Innovation(shift, u, 1 / weight, np.maximum(expected, 1e-12), measured)


def learn(layer: Layer, sums: RunSums, place: Floats, use: Mask) -> Layer:
    """The layer after a run, of the units in ``use``; the others stay as they were predicted."""
    rows = np.flatnonzero(use & (sums.information[0] > FEWEST))
    if not len(rows):
        return layer
    information, score = _without_noise(sums, layer.noise[layer.group], rows)
    design = np.zeros((2, layer.terms))
    design[0], design[1, POWER] = place, 1.0
    information = design.T @ information @ design
    before = layer.covariance[rows]
    after = np.linalg.solve(np.eye(layer.terms) + before @ information, before)
    after = (after + after.transpose(0, 2, 1)) / 2
    mean, covariance, taught = layer.mean.copy(), layer.covariance.copy(), layer.taught.copy()
    mean[rows] += np.clip(np.einsum("nij,nj->ni", after, score @ design), -LARGEST_STEP, LARGEST_STEP)
    covariance[rows] = after
    taught[rows] += 1
    return replace(layer, mean=mean, covariance=covariance, taught=taught)


def _without_noise(sums: RunSums, noise: Floats, rows: np.ndarray) -> tuple[Floats, Floats]:
    """(rows, 2, 2) information and (rows, 2) score on level and power, the run's own noise integrated out."""
    s0, s1, s2 = sums.information[:, rows]
    b0, b1 = sums.score[:, rows]
    a = 1 / (s0 + 1 / np.maximum(noise[rows], 1e-12))
    off = s1 - s0 * s1 * a
    information = np.stack([np.stack([s0 - s0**2 * a, off], axis=1), np.stack([off, s2 - s1**2 * a], axis=1)], axis=1)
    return information, np.stack([b0 - s0 * b0 * a, b1 - s1 * b0 * a], axis=1)
