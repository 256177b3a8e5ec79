"""What condition shapes are worth: how small the limits of rings and sub-detectors may be, and what is absorbed.

Every world is simulated with its counts, and its common part fitted as a judge does; the reference is the truth, so
that nothing but conditions moves rings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from hcal_root_ad.detector import Era, Subdetector
from hcal_root_ad.files import whole_file
from hcal_root_ad.judge.levels import unit_levels
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.simulate.scenario import FillConditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.simulate.simulated_run import RateChange
from hcal_root_ad.stats.binomial import Floats, information, log_rate
from hcal_root_ad.unit_names import rows_of_unit
from studies.network.shapes import (
    CLEAN_PILEUP,
    Linear,
    Rings,
    ShapeNetwork,
    Shapes,
    detector,
    learn_shapes,
    mean_shift,
    network_prediction,
    rates_at,
    relative,
    rings_of,
    robust_relative,
    train_shapes,
    true_reference,
)
from studies.stress.changes import Ageing, JetTriggers, Offsets, SmoothField, TriggerMix, ZeroSuppression, shifted
from studies.stress.worlds import Setting

TEST_DETECTORS = (600, 601, 602)
LUMISECTIONS = 16
EVENTS = 1400.0
RUN_AWAY, UNKNOWN = 3.0, 100.0
"""Log rate from which on a ring was not fitted (its channels have a digi in nearly every event), and its variance."""
SURE = 0.01
"""Rings whose mean over the run is not known better say nothing about limits."""


@dataclass(frozen=True)
class Menu:
    """Another trigger menu as the eras have it: a slope over both sub-detectors, and 1.5 % per ring."""

    low: float = -0.06
    high: float = 0.10
    ring: float = 0.015

    def apply(
        self,
        rates: NDArray[np.float32],
        detector: SimulatedDetector,
        conditions: FillConditions,  # noqa: ARG002
        draw: np.random.Generator,
    ) -> NDArray[np.float32]:
        """As every change of rates."""
        channels = detector.channels
        forward = np.abs(channels.ieta) / 29.0
        own = self.ring * draw.standard_normal(int(channels.ring.max()) + 1)[channels.ring]
        return shifted(rates, self.low + (self.high - self.low) * forward + own)


@dataclass(frozen=True)
class Dose:
    """Damage by dose as the eras have it: up to ``loss`` of the rate, ring by ring 0.7 to 1.3 times as large."""

    loss: float = 0.18

    def apply(
        self,
        rates: NDArray[np.float32],
        detector: SimulatedDetector,
        conditions: FillConditions,  # noqa: ARG002
        draw: np.random.Generator,
    ) -> NDArray[np.float32]:
        """As every change of rates."""
        channels = detector.channels
        reach = np.clip((np.abs(channels.ieta) - 18) / 11.0, 0, 1) * (channels.subdetector == Subdetector.HE)
        own = draw.uniform(0.7, 1.3, int(channels.ring.max()) + 1)[channels.ring]
        return shifted(rates, np.log1p(-self.loss * reach * own))


WORLDS: Mapping[str, tuple[RateChange, ...]] = {
    "nothing": (),
    "trigger mix": (TriggerMix(at=0.0),),
    "jet triggers": (JetTriggers(at=0.0),),
    "thresholds HB": (ZeroSuppression(at=0.0),),
    "aged by 10 %": (Ageing(0.1),),
    "aged by 20 %": (Ageing(0.2),),
    "smooth field": (SmoothField(),),
    "menu of an era": (Menu(),),
    "dose of an era": (Dose(),),
}
"""The last two are of families that nothing was learned on."""
UNLEARNED = ("menu of an era", "dose of an era")


@dataclass(frozen=True, eq=False)
class Measured:
    """The common part of a simulated run, and the truth.

    ``ring``, ``variance``: (LS, rings) measured shifts. ``truth``: (rings,) true ones of the run. ``smooth``: (LS,
    rings) what today's fit leaves. ``apart``: (LS,) measured shift of HE against HB.
    """

    ring: Floats
    variance: Floats
    truth: Floats
    information: Floats
    true_apart: float
    smooth: Floats
    apart: Floats


def measured(
    own: SimulatedDetector, changes: tuple[RateChange, ...], seed: int, events: float = EVENTS,
    factor: Floats | None = None, lumisections: int = LUMISECTIONS,
) -> Measured:  # fmt: skip
    """Simulate a run and fit its common part; ``factor``: (channels,) on the digi probability, of a fault."""
    draw = np.random.default_rng([own.seed, seed, 0x3E])
    conditions = Setting(lumisections=lumisections, pileup=(46.0, 40.0), events=events).conditions(draw)
    if events < 100:  # exactly so many: the question is what so few say
        conditions = replace(conditions, events=np.full(lumisections, int(events), dtype=np.int64))
    rates = before = rates_at(own, conditions.pileup)
    for restless in (Offsets("RBX", 0.01), Offsets("channel", 0.01)):
        rates = restless.apply(rates, own, conditions, draw)
    for change in changes:
        rates = change.apply(rates, own, conditions, draw)
    truth, said, apart = mean_shift(own, before, rates)
    p = rates if factor is None else np.minimum(rates * factor, 1)
    counts = draw.binomial(conditions.events[:, None], p).astype(np.int32)
    return fitted(true_reference(own), counts, conditions.events, (truth, said, apart))


def fitted(
    reference: Reference, counts: NDArray[np.int32], events: NDArray[Any], truth: tuple[Floats, Floats, float]
) -> Measured:
    """The common part of (LS, channels) counts; ``truth``: as :func:`studies.network.shapes.mean_shift` gives it.

    A ring whose fit ran away is one that nothing is known of.
    """
    levels = CommonPartFit(reference).fit(counts, events)
    units = unit_levels(levels, reference.tree, reference)
    shift, said, apart = truth
    own, away = _of_both_sides(units.ring, reference.tree), np.abs(levels.ring) > RUN_AWAY
    ring, variance, smooth = (
        np.where(away, instead, values)
        for values, instead in ((levels.ring, 0.0), (levels.ring_variance, UNKNOWN), (own, 0.0))
    )
    return Measured(
        ring.astype(float), variance.astype(float), shift, said, apart, smooth.astype(float),
        (units.subdetector[:, 1] - units.subdetector[:, 0]),
    )  # fmt: skip


def _of_both_sides(values: Floats, tree: UnitTree) -> Floats:
    """(LS, rings) means of (LS, side rings)."""
    sides = tree.sides_of_rings.sums
    return np.asarray((sides @ values.T).T / sides.sum(axis=1))


Predict = Callable[..., tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Predictors:
    """Every learned way to say what conditions do: from the rings themselves, and beyond the smooth fit.

    ``networks``, ``beyond``: one network of each kind per seed.
    """

    rings: Rings
    linear: Linear
    linear_beyond: Linear
    networks: tuple[ShapeNetwork, ...]
    beyond: tuple[ShapeNetwork, ...]

    @classmethod
    def learned(cls, families: Sequence[str], seeds: Sequence[int], folder: Path, era: Era = Era.RUN3) -> Predictors:
        """Learned on some families of conditions; networks that the folder has are not trained again."""
        rings = rings_of(detector(TEST_DETECTORS[0], era).channels)
        name = "-".join(families) + ("" if era is Era.RUN3 else f"-{era}")
        shapes = kept_shapes(families, folder / f"shapes-{name}.npz", era)
        left = shapes.beyond_smooth(rings)
        networks = [
            tuple(kept_network(rings, some, seed, folder / f"{what}-{name}-{seed}.safetensors") for seed in seeds)
            for what, some in (("rings", shapes), ("beyond", left))
        ]
        return cls(rings, Linear.of(rings, shapes), Linear.of(rings, left), *networks)

    def of_rings(self) -> Iterator[tuple[str, Predict]]:
        """Name and function of those that see the rings; networks one by one."""
        yield from _predictions(self.rings, self.linear, self.networks)

    def beyond_smooth(self) -> Iterator[tuple[str, Predict]]:
        """The same of those that see what the smooth fit leaves."""
        yield from _predictions(self.rings, self.linear_beyond, self.beyond)


def _predictions(rings: Rings, linear: Linear, networks: Sequence[ShapeNetwork]) -> Iterator[tuple[str, Predict]]:
    yield "linear", linear.prediction
    for network in networks:
        yield "network", partial(network_prediction, network, rings)


def limits(
    predictors: Predictors, progress: Callable[[], None] | None = None, worlds: Sequence[str] = tuple(WORLDS)
) -> list[dict[str, Any]]:
    """What is left of healthy rings and sub-detectors in some worlds, on every test detector."""
    out = []
    for world, seed in product(worlds, TEST_DETECTORS):
        run = measured(detector(seed), WORLDS[world], seed)
        for name, (left, apart) in what_is_left(predictors, run):
            out.append({"world": world, "detector": seed, "method": name, "ring": left, "apart": apart})
        if progress:
            progress()
    return out


def what_is_left(predictors: Predictors, run: Measured) -> Iterator[tuple[str, tuple[list[float], float]]]:
    """By method: width, 99 % quantile and largest of what is left of rings over the run, and of HE against HB."""
    rings = predictors.rings
    weight = 1 / (run.variance + 1e-6)
    own = relative(rings, run.ring, np.broadcast_to(run.information, run.ring.shape))
    sure = (1 / weight.sum(axis=0) < SURE**2) & (run.information > 0.5)
    apart = float(np.mean(run.apart))

    def numbers(left: Floats) -> list[float]:
        mean = (weight * left).sum(axis=0) / weight.sum(axis=0)
        for sub in (0, 1):  # what all rings do alike is the sub-detector's
            mine = sure & (rings.place[0] == sub)
            mean[mine] -= np.median(mean[mine])
        mean = np.abs(mean[sure])
        return [float(1.4826 * np.median(mean)), float(np.quantile(mean, 0.99)), float(mean.max())]

    yield "nothing", (numbers(own), apart)
    yield "smooth", (numbers(run.smooth), apart)
    for (name, beyond), (_, whole) in zip(predictors.beyond_smooth(), predictors.of_rings(), strict=True):
        shape, _ = beyond(run.smooth, run.variance)
        _, expected = whole(run.ring, run.variance)
        yield name, (numbers(run.smooth - shape), apart - float(np.median(expected)))
    yield "oracle", (numbers(own - relative(rings, run.truth, run.information)), apart - run.true_apart)


FACTORS = (0.5, 0.7, 0.85, 0.95)
UNITS = ("HEM05", "HBP03-RM2", "HE |ieta| 26", "HE |ieta| 20 depth 3", "HB |ieta| 8", "HE depth 3", "HEP", "HE")


def absorbed(predictors: Predictors, progress: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """Share of a unit's fault that is taken for a condition of its rings, or of HE against HB.

    How far the expectation follows, over the fault's size in log rate. What all rings of a sub-detector do alike is no
    condition of theirs and taken out.
    """
    out = []
    own = detector(TEST_DETECTORS[0])
    tree = predictors.rings.tree
    healthy = measured(own, (), 7)
    for unit in UNITS:
        rows = rows_at_fault(own, unit)
        mine = np.unique(tree.ring.of[rows])
        for strength in FACTORS:
            factor = np.ones(len(own.channels))
            factor[rows] = strength
            run = measured(own, (), 7, factor=factor)
            size = log_rate_shift(rates_at(own, np.array([CLEAN_PILEUP]))[0, rows], strength)
            for name, share in shares_taken(predictors, healthy, run, mine, size, apart=unit in ("HE", "HEP")):
                out.append({"unit": unit, "factor": strength, "method": name, "share": share})
            if progress:
                progress()
    return out


def shares_taken(
    predictors: Predictors, healthy: Measured, run: Measured, mine: NDArray[np.intp], size: float, *, apart: bool
) -> Iterator[tuple[str, float]]:
    """By method: how far the expectation of some rings follows their fault, over its size in log rate.

    ``apart``: how far that of HE against HB does, too.
    """
    weight = healthy.information[mine]

    def followed(before: Floats, after: Floats) -> float:
        change = (after - before).mean(axis=0)[mine]
        return float((weight * change).sum() / weight.sum()) / size

    yield "smooth", followed(_shape(predictors.rings, healthy), _shape(predictors.rings, run))
    for name, beyond in predictors.beyond_smooth():
        yield name, followed(beyond(healthy.smooth, healthy.variance)[0], beyond(run.smooth, run.variance)[0])
    for name, whole in predictors.of_rings() if apart else ():
        moved = whole(run.ring, run.variance)[1] - whole(healthy.ring, healthy.variance)[1]
        yield f"{name}, HE against HB", abs(float(np.mean(moved))) / -size


def _shape(rings: Rings, run: Measured) -> Floats:
    """(LS, rings) what the smooth fit takes for a condition, against the typical ring of the sub-detector."""
    return robust_relative(rings, run.ring - run.smooth, np.broadcast_to(run.information, run.ring.shape))


def log_rate_shift(rates: Floats, strength: float) -> float:
    """Mean shift of log rate of channels that keep a share of their digis, weighted by what they say of it."""
    p = np.clip(rates.astype(np.float64), 1e-4, 1 - 1e-4)
    weight = information(np.ones_like(p), p)
    return float(np.average(log_rate(p * strength) - log_rate(p), weights=weight))


def rows_at_fault(own: SimulatedDetector, unit: str) -> NDArray[np.intp]:
    if unit.endswith("depth 3") and "ieta" not in unit:
        return np.flatnonzero((own.channels.subdetector == Subdetector[unit[:2]]) & (own.channels.depth == 3))
    return rows_of_unit(own.channels, unit)


def kept_shapes(families: Sequence[str], path: Path, era: Era = Era.RUN3) -> Shapes:
    """Shapes to learn from, drawn once."""
    if not path.exists():
        shapes = learn_shapes(families, era=era)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, shift=shapes.shift, information=shapes.information, apart=shapes.apart)
    kept = np.load(path)
    return Shapes(kept["shift"], kept["information"], kept["apart"])


def kept_network(rings: Rings, shapes: Shapes, seed: int, path: Path) -> ShapeNetwork:
    """A network, trained once."""
    if not path.exists():
        with whole_file(path) as partial:
            save_file(train_shapes(rings, shapes, seed).state_dict(), partial)
    network = ShapeNetwork(rings)
    network.load_state_dict(load_file(path))
    return network.eval()


LEFT_OUT = ("mix", "thresholds", "ageing", "field")
"""Families of networks that have never met jet triggers."""
