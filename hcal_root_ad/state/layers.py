"""``Layer``: the units of one level (channels, modules, boxes, halves, rings) as states of a Kalman filter.

Each unit has a level and a power (response to log pileup), rings also a dose slope and an offset per trigger menu. The
level walks from run to run with variance ``walk``, and each run scatters about it with variance ``noise``. Innovations,
what runs do beyond what was predicted, tell both, and when the settings changed.

A run gives, for each unit, J = Σw·h·hᵀ and b = Σw·x·h with h = (1, u): x is the shift of log rate from what the state
said. The run's own noise (variance R, the same in all of its LS) is a nuisance, integrated out: with a = 1/(S₀ + 1/R)

    J = [[S₀ − S₀²a, S₁ − S₀S₁a], [·, S₂ − S₁²a]],   b = (b₀ − S₀b₀a, b₁ − S₁b₀a),
    P ← (1 + PJ)⁻¹P,   θ ← θ + P·b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.verdict import RunSums
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import robust_scale

Mask = NDArray[np.bool_]
Labels = NDArray[np.intp]

LEVEL, POWER, DOSE = 0, 1, 2
"""Places of the terms of a unit; a ring's menus follow."""


class Packed:
    """Dataclasses of arrays as a flat mapping of arrays, and back."""

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Every field under ``prefix/field``."""
        out: dict[str, NDArray[Any]] = {}
        for field in fields(self):  # type: ignore[arg-type]
            name, value = f"{prefix}/{field.name}", getattr(self, field.name)
            out |= value.arrays(name) if isinstance(value, Packed) else {name: value}
        return out

    @classmethod
    def of_arrays(cls, prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What :meth:`arrays` gave."""
        inner: dict[str, type[Packed]] = {"past": Past, "window": LatestRuns}
        names = {field.name: f"{prefix}/{field.name}" for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{field: inner[field].of_arrays(name, arrays) if field in inner else arrays[name]
                      for field, name in names.items()})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Past(Packed):
    """Levels of earlier runs, ever sparser with age.

    Attributes:
        update: (K,) number of the update. clock: (K, groups) walk since the beginning.
        level, variance, multiplier: (K, units) float32 as they were after it.
    """

    update: NDArray[np.int64]
    clock: Floats
    level: NDArray[np.float32]
    variance: NDArray[np.float32]
    multiplier: NDArray[np.float32]

    def with_present(self, update: int, layer: Layer) -> Past:
        """With the layer's present levels; of two entries that are near each other for their age one is dropped."""
        numbers = np.append(self.update, update)
        keep = np.ones(len(numbers), dtype=bool)
        last = update
        for k in range(len(numbers) - 2, -1, -1):
            age = update - numbers[k]
            keep[k] = last - numbers[k] >= max(1, age // 4) and age <= OLDEST
            last = numbers[k] if keep[k] else last
        old = self.clock, self.level, self.variance, self.multiplier
        new = layer.clock, layer.mean[:, LEVEL], layer.covariance[:, LEVEL, LEVEL], layer.multiplier
        columns = (np.concatenate([a, b[None].astype(a.dtype)])[keep] for a, b in zip(old, new, strict=True))
        return Past(numbers[keep], *columns)


OLDEST = 64
"""Levels of more updates ago are forgotten."""


@dataclass(frozen=True, eq=False)
class LatestRuns(Packed):
    """Where some units were found in the latest runs, to learn ``walk`` and ``noise`` from.

    ``rows`` (n,) which units; ``position``, ``variance`` (T, n): level by that run alone and its variance by chance,
    NaN where not measured; ``age`` (T,): steps since the run before; ``changed`` (T, groups): whether settings changed.
    """

    rows: Labels
    position: NDArray[np.float32]
    variance: NDArray[np.float32]
    age: Floats
    changed: Mask

    def with_run(self, position: Floats, variance: Floats, age: float, changed: Mask) -> LatestRuns:
        """With one more run; ``position``, ``variance``: (units,) of the layer, ``changed`` (groups,)."""

        def joined(old: NDArray[Any], new: Floats) -> NDArray[np.float32]:
            return np.concatenate([old, new[self.rows][None].astype(np.float32)])[-LENGTH:]

        ages = np.append(self.age, age)[-LENGTH:]
        changes = np.concatenate([self.changed, changed[None]])[-LENGTH:]
        return LatestRuns(self.rows, joined(self.position, position), joined(self.variance, variance), ages, changes)

    @property
    def begins(self) -> Mask:
        """(T, groups) where units begin again: the settings changed, and not again soon after or before.

        Settings are changed now and then. What looks so in run after run is how far units walk.
        """
        near = np.abs(np.subtract.outer(np.arange(len(self.age)), np.arange(len(self.age)))) <= APART
        return np.asarray(self.changed & (near @ self.changed.astype(int) < 2))


LENGTH = 12
"""Runs of a window."""
APART = 4
"""Runs between two changes of settings, at least."""
SAMPLE = 800
"""Units of a group that are kept in a window."""
FACTORS = np.array([1.0, 6.0, 15.0])
"""Variances of a restless unit's walk over that of its group."""
RARE = np.array([0.97, 0.025, 0.005])
"""How many units are thought to be so restless, before any run."""


@dataclass(frozen=True, eq=False)
class Layer(Packed):
    """Units of one level of one sub-detector.

    Attributes:
        mean: (units, terms) level, power[, dose slope, menu offsets]. covariance: (units, terms, terms).
        group: (units,) which units share ``walk`` (groups,), variance per step of the level, and ``noise`` (groups,),
            variance of a run about it.
        restless: (units, factors) log odds that a unit walks by each of :data:`FACTORS` farther than its group.
        taught: (units,) runs that taught it. gated: (units,) runs in a row that were too far off to be learned.
        clock: (groups,) variance by which a unit has walked since the beginning.
    """

    mean: Floats
    covariance: Floats
    group: Labels
    walk: Floats
    noise: Floats
    restless: Floats
    taught: NDArray[np.int32]
    gated: NDArray[np.int8]
    clock: Floats
    past: Past
    window: LatestRuns

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def terms(self) -> int:
        return int(self.mean.shape[1])

    @property
    def multiplier(self) -> Floats:
        """(units,) how much farther than its group a unit walks, in variance; a unit that was never seen counts 1."""
        return np.asarray(np.maximum(1.0, 1.0 + (chances(self.restless) - RARE) @ FACTORS))

    def walked(self, age: float) -> Floats:
        """(units,) variance that so many steps add to the level."""
        return self.walk[self.group] * self.multiplier * age

    def shift(self, place: Floats) -> Floats:
        """(units,) the level at ``place`` (terms,)."""
        return self.mean @ place

    def variance(self, place: Floats) -> Floats:
        """(units,) its variance: how well it is known."""
        return np.asarray(np.einsum("nij,i,j->n", self.covariance, place, place))

    def with_terms(self, number: int, width: float) -> Layer:
        """With further terms, unknown to ``width``."""
        more = number - self.terms
        if more <= 0:
            return self
        mean = np.pad(self.mean, ((0, 0), (0, more)))
        covariance = np.pad(self.covariance, ((0, 0), (0, more), (0, more)))
        covariance[:, range(self.terms, number), range(self.terms, number)] = width**2
        return replace(self, mean=mean, covariance=covariance)

    def with_settings(self, excess: Floats) -> Layer:
        """The layer with so much more walk in this step only."""
        covariance = self.covariance.copy()
        covariance[:, LEVEL, LEVEL] += excess[self.group]
        return replace(self, covariance=covariance, clock=self.clock + excess)

    def with_widths(self, level: str) -> Layer:
        """The layer with the walk and noise of each group under which its window is most likely: empirical Bayes.

        Each unit is a local level (Durbin and Koopman, *Time Series Analysis by State Space Methods*, 2012, section 2).
        A pull counts with 12 in square at most: steps are no walk.
        """
        walk, noise = self.walk.copy(), self.noise.copy()
        cap = CAP_OF_BOXES if level == "box" else CAP
        group = self.group[self.window.rows]
        for g in range(len(walk)):
            columns = np.flatnonzero(group == g)
            if np.isfinite(self.window.position[:, columns]).any(axis=1).sum() >= FEWEST_RUNS:
                walk[g], noise[g] = _most_likely(self.window, columns, g, TYPICAL[level], cap)
        return replace(self, walk=walk, noise=noise)

    def with_restlessness(self, off: Innovation, use: Mask, age: float) -> Layer:
        """The layer with how likely each unit is a restless one; what it was seen to do is forgotten by and by.

        A step that is far off makes a unit restless for some runs, and its level less sure: such are tails of walks.
        """
        total = off.chance + off.expected
        walk = self.walk[self.group] * age
        under = total[:, None] + (FACTORS - self.multiplier[:, None]) * walk[:, None]
        under = np.maximum(under, (off.chance + self.noise[self.group])[:, None])
        shift2 = np.minimum(off.shift**2, CAP * total)
        said = -(shift2[:, None] / under + np.log(under)) / 2
        prior = np.log(RARE)
        restless = prior + REMEMBERED * (self.restless - prior) + said - said[:, :1]
        return replace(self, restless=np.where((use & off.measured)[:, None], restless, self.restless))

    def changed_settings(self, off: Innovation, level: str, sound: Mask) -> Floats:
        """(groups,) variance by which the units moved in this step beyond what was predicted; 0 where all is as before.

        ``sound``: (units,) that are not known to be at fault. Those with a line in this run count: were it a change of
        settings, the lines would be of those that moved most.
        """
        out = np.zeros(len(self.walk))
        for g in range(len(out)):
            rows = np.flatnonzero(sound & off.measured & (self.group == g))
            if len(rows) < FEWEST_UNITS:
                continue
            factor = float(robust_scale(off.pull[rows][None])[0]) ** 2
            if factor > WIDER[level]:
                out[g] = (factor - 1) * float(np.median(off.chance[rows] + off.expected[rows]))
        return out


def chances(restless: Floats) -> Floats:
    """(units, factors) probabilities of log odds."""
    odds = np.exp(restless - restless.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def new_layer(mean: Floats, variance: Floats, group: Labels, walk: Floats, noise: Floats, update: int = 0) -> Layer:
    """A layer that has learned nothing yet: ``mean``, ``variance`` (units, terms)."""
    units, groups = len(mean), len(walk)
    covariance = np.einsum("ni,ij->nij", variance, np.eye(mean.shape[1]))
    own = (np.flatnonzero(group == g) for g in range(groups))
    rows = np.concatenate([members[:: max(1, len(members) // SAMPLE)] for members in own])
    nothing = np.zeros((0, units), dtype=np.float32)
    past = Past(np.zeros(0, dtype=np.int64), np.zeros((0, groups)), nothing, nothing, nothing)
    empty = np.zeros((0, len(rows)), dtype=np.float32)
    layer = Layer(
        mean=mean.astype(np.float64), covariance=covariance, group=group, walk=walk, noise=noise,
        restless=np.tile(np.log(RARE), (units, 1)), taught=np.zeros(units, dtype=np.int32),
        gated=np.zeros(units, dtype=np.int8), clock=np.zeros(groups), past=past,
        window=LatestRuns(rows, empty, empty, np.zeros(0), np.zeros((0, groups), dtype=bool)),
    )  # fmt: skip
    return replace(layer, past=past.with_present(update, layer))


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
