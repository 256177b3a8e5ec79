"""Worlds: a clean run, another run to judge by it, and what differs between the two.

A judge learns from a world's clean run and judges the other one. Worlds break what a judge may assume: conditions
change ring by ring, channels and boxes drift more than they were seen to, pileup leaves the known range, a large part
of the detector fails at once. In a healthy world no finding is right; in the others the faults are the right findings.
The catalogue is :data:`~studies.stress.catalogue.WORLDS`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import Era
from hcal_root_ad.simulate.scenario import FillConditions, InjectedFault
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import FIRST_RUN, Drift, RateChange, SimulatedRun, simulate_run
from hcal_root_ad.unit_names import rows_of_unit
from studies.stress.failures import STANDARD, Failure, faults_of

SHIPPED_DETECTOR = 2022
"""Seed of the detector that the shipped models were trained on."""
_FRESH, _OTHER = 7000, 7500
"""Seeds of detectors that no model has met begin here."""
PILEUP_NOISE, EVENTS_NOISE = 0.0006, 0.02
"""As in :class:`~hcal_root_ad.simulate.scenario.FillShape`."""

ORDINARY_DRIFT = Drift()


@dataclass(frozen=True)
class Setting:
    """How a run is taken.

    Attributes:
        lumisections: its length.
        pileup: courses through these values, evenly spaced in time, straight on a logarithmic scale.
        saw: the pileup saws by this share every 12 LS, as when it is levelled.
        events: per LS on average. prescales: factors on them, one after the other for equal shares of the run; each
            is another prescale column, whose trigger mix differs as ``drift`` says.
        drift: how boxes, modules and channels move. changes: what else moves healthy rates.
        failures: what fails. showers: whether neighbours count together.
    """

    lumisections: int = 100
    pileup: tuple[float, ...] = (48.0, 38.0)
    saw: float = 0.0
    events: float = 1500.0
    prescales: tuple[float, ...] = (1.0,)
    drift: Drift = ORDINARY_DRIFT
    changes: tuple[RateChange, ...] = ()
    failures: tuple[Failure, ...] = ()
    showers: bool = False

    def conditions(self, draw: np.random.Generator) -> FillConditions:
        """Pileup, events and prescale column of each LS."""
        n = self.lumisections
        time = np.arange(n)
        course = np.interp(time, np.linspace(0, n - 1, len(self.pileup)), np.log(self.pileup))
        saw = 1.0 + self.saw * (time % 12 / 11.0 - 0.5)
        column = time * len(self.prescales) // n
        wobble = np.maximum(1.0 + EVENTS_NOISE * draw.standard_normal(n), 0.5)
        return FillConditions(
            lumisections=np.arange(1, n + 1, dtype=np.int32),
            events=draw.poisson(self.events * np.array(self.prescales)[column] * wobble).astype(np.int64),
            pileup=np.exp(course) * saw * (1.0 + PILEUP_NOISE * draw.standard_normal(n)),
            prescale_column=column,
            short=np.zeros(n, dtype=np.bool_),
            gap=np.zeros(n, dtype=np.bool_),
        )


CLEAN = Setting(pileup=(52.0, 33.0))
"""The clean run of most worlds: 100 LS at pileup 52 falling to 33, 1,500 events per LS."""


class Origin(StrEnum):
    """Which detector a world has."""

    FRESH = "fresh"
    """One that no model has met; the seed chooses."""
    SHIPPED = "shipped"
    """The one that the shipped models were trained on."""
    EXCHANGED = "exchanged"
    """The clean run is of another detector than the judged one."""


@dataclass(frozen=True)
class World:
    """A clean run and a run to judge by it.

    Attributes:
        name: short, for commands and tables. sentence: for people.
        judged, clean: how the two runs are taken.
        tolerated: units on which a finding is neither right nor wrong.
        origin: which detector.
    """

    name: str
    sentence: str
    judged: Setting = Setting()
    clean: Setting = CLEAN
    tolerated: tuple[str, ...] = ()
    origin: Origin = Origin.FRESH

    @property
    def healthy(self) -> bool:
        """Whether no finding is right."""
        return not self.judged.failures

    @property
    def knowable(self) -> bool:
        """Whether the clean run says anything of the judged one: if not, nothing may be certified."""
        return self.origin is not Origin.EXCHANGED

    def with_standard_faults(self) -> World:
        """The same world with the 34 standard faults in the judged run."""
        judged = replace(self.judged, failures=(*self.judged.failures, *STANDARD))
        return replace(self, name=f"{self.name}+faults", sentence=f"{self.sentence}; standard faults", judged=judged)


@dataclass(frozen=True, eq=False)
class WorldRuns:
    """What is simulated of a world: the runs, and with them the truth.

    ``judged.rates`` are the healthy digi probabilities, ``judged.faulty_rates`` the actual ones.
    ``tolerated``: (channels,) where findings are neither right nor wrong.
    """

    world: World
    clean: tuple[SimulatedRun, ...]
    judged: SimulatedRun
    tolerated: NDArray[np.bool_]

    @property
    def faults(self) -> tuple[InjectedFault, ...]:
        """The true faults; each is one right finding."""
        return self.judged.faults


def simulate_world(world: World, seed: int, clean: Sequence[SimulatedRun] = ()) -> WorldRuns:
    """Simulate a world; equal seeds give equal runs.

    Worlds with equal clean settings and origins share the clean run of a seed: give it as ``clean`` to spare time.
    """
    # With and without the standard faults a world has the same drifts and changes.
    name = zlib.crc32(world.name.removesuffix("+faults").encode())
    run = FIRST_RUN[Era.RUN3] + 1 + seed
    judged = _taken(world.judged, _detector(world.origin, seed), [seed, name], run)
    tolerated = np.zeros(len(judged.detector.channels), dtype=np.bool_)
    for unit in world.tolerated:
        tolerated[rows_of_unit(judged.detector.channels, unit)] = True
    return WorldRuns(world, tuple(clean) or (simulate_clean(world, seed),), judged, tolerated)


def simulate_clean(world: World, seed: int) -> SimulatedRun:
    """The clean run of a world."""
    detector = simulate_detector(_OTHER + seed) if not world.knowable else _detector(world.origin, seed)
    return _taken(world.clean, detector, [seed, 0xC1EA], FIRST_RUN[Era.RUN3])


def _detector(origin: Origin, seed: int) -> SimulatedDetector:
    return simulate_detector(SHIPPED_DETECTOR if origin is Origin.SHIPPED else _FRESH + seed)


def _taken(setting: Setting, detector: SimulatedDetector, seeds: list[int], run: int) -> SimulatedRun:
    """Take a run."""
    draws = np.random.SeedSequence(seeds)
    condition_draw, fault_draw = (np.random.default_rng(one) for one in draws.spawn(2))
    conditions = setting.conditions(condition_draw)
    faults = faults_of(setting.failures, detector, conditions, fault_draw)
    seed = int(draws.generate_state(1)[0])
    return simulate_run(
        detector, conditions, faults, seed, run, setting.drift, setting.changes, showers=setting.showers
    )
