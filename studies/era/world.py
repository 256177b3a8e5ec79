"""A simulated era: a detector that wanders, ages and is set again from run to run, and fails now and then.

Runs are made one at a time, in memory, and equal seeds give equal runs. The truth goes along: what each channel would
do if it were healthy, and by which factor it is off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.detector import Subdetector
from hcal_root_ad.errors import UsageError
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.mask import Mask, MaskEntry
from hcal_root_ad.simulate.simulated_detector import (
    REFERENCE_PILEUP,
    SimulatedDetector,
    module_index,
    simulate_detector,
)
from hcal_root_ad.unit_names import rows_of_unit, unit_names

FIRST_RUN = 380_001
DAYS = 0.5
"""From run to run; those of a gap pass as well."""
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Recipe:
    """How an era goes; widths are standard deviations of log rate per run.

    Attributes:
        box, module, channel: walks. restless: share of the channels that walk ``more`` times as far.
        noise_box, noise_module, noise_channel: what each run adds and the next forgets.
        scale: factor on all of these. tails: degrees of freedom of the walks' steps (0: normal).
        box_steps: chance of a box step of 2 to 5 % per run. settings: runs at which channels are drawn again by
            ``settings_width``. gap_at: run behind a gap of ``gap`` runs.
        ageing: loss of HE at |ieta| 29 at the end. menus: shift of rings under the second trigger menu, low and high.
        pileup: lowest and highest. lumisections: of a run, from and to, and events in each: 27 LS of 4,500 events say
            what 80 of 1,500 do, in a third of the time.
        jitter: variance of box sums over the binomial one, beyond 1, that LS to LS has.
        faults: whether anything fails. wide_faults: whether rings, sides and sub-detectors fail as well.
    """

    runs: int = 50
    box: float = 0.007
    module: float = 0.0025
    channel: float = 0.004
    restless: float = 0.01
    more: float = 2.5
    noise_box: float = 0.003
    noise_module: float = 0.0015
    noise_channel: float = 0.004
    scale: float = 1.0
    tails: int = 0
    box_steps: float = 0.3
    settings: tuple[int, ...] = (17, 34)
    settings_width: float = 0.015
    gap_at: int = 25
    gap: int = 15
    ageing: float = 0.18
    menus: tuple[float, float] = (-0.06, 0.10)
    pileup: tuple[float, float] = (5.0, 65.0)
    events: float = 4500.0
    lumisections: tuple[int, int] = (24, 31)
    jitter: float = 0.75
    faults: bool = True
    wide_faults: bool = False


ERAS = {
    "facts": Recipe(),
    "doubled": Recipe(scale=2.0),
    "own": Recipe(
        box=0.005, module=0.0035, channel=0.005, restless=0.02, noise_box=0.004, noise_channel=0.003, tails=5,
        box_steps=0.15, settings=(12, 38), settings_width=0.02, gap_at=30, gap=10, ageing=0.12,
        menus=(-0.04, 0.07), wide_faults=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class EraFault:
    """One fault: ``factors`` on the digi probability of its runs from ``first_run`` (index) on.

    ``start``: the LS of the first run at which it begins, as a share of the run; later runs have it from LS 1 on.
    """

    name: str
    unit: str
    rows: NDArray[np.intp]
    first_run: int
    factors: tuple[float, ...]
    start: float = 0.0

    def factor(self, run: int) -> float:
        """1 where it is not there."""
        k = run - self.first_run
        return self.factors[k] if 0 <= k < len(self.factors) else 1.0

    @property
    def creeps(self) -> bool:
        return len(set(self.factors)) > 1

    @property
    def last_run(self) -> int:
        return self.first_run + len(self.factors) - 1


@dataclass(frozen=True, eq=False)
class EraRun:
    """A run and the truth about it.

    Attributes:
        index: from 0, the clean run. maps: what is judged. masked: units that are masked, as a mask.
        conditions: trigger menu and luminosity.
        healthy: (channels,) log rate at the reference pileup without faults. power: (channels,).
        rates: (LS, channels) healthy digi probability. factor: (LS, channels) of the faults.
        pileup: mean of the run.
    """

    index: int
    maps: LumiMaps
    mask: Mask | None
    conditions: RunFacts
    healthy: Floats
    rates: NDArray[np.float32]
    factor: NDArray[np.float32]
    pileup: float


@dataclass(frozen=True, eq=False)
class Era:
    """A recipe with a seed."""

    name: str
    recipe: Recipe
    seed: int = 1

    @cached_property
    def detector(self) -> SimulatedDetector:
        return simulate_detector(9000 + self.seed).select("HB", "HE")

    @cached_property
    def faults(self) -> tuple[EraFault, ...]:
        return tuple(_faults(self)) if self.recipe.faults else ()

    def runs(self) -> Iterator[EraRun]:
        """The clean run, then all others, in order."""
        walker = _Walker(self)
        for index in range(self.recipe.runs):
            yield walker.run(index)


def quiet(era: Era) -> Era:
    """The same era without a fault."""
    return replace(era, recipe=replace(era.recipe, faults=False))


@dataclass(eq=False)
class _Walker:
    """Where the detector is, run by run."""

    era: Era
    shift: Floats = field(init=False)
    masks: dict[int, int] = field(default_factory=dict)
    luminosity: float = 0.0

    def __post_init__(self) -> None:
        self.channels = self.era.detector.channels
        self.module = module_index(self.channels)
        draw = self._draw(0xE2A)
        recipe = self.era.recipe
        self.shift = np.zeros(len(self.channels))
        self.more = np.where(draw.random(len(self.channels)) < recipe.restless, recipe.more, 1.0)
        rings = int(self.channels.ring.max()) + 1
        he = self.channels.subdetector == Subdetector.HE
        reach = np.clip((np.abs(self.channels.ieta) - 18) / 11.0, 0, 1) * he
        self.damage = reach * draw.uniform(0.7, 1.3, rings)[self.channels.ring]
        low, high = recipe.menus
        forward = np.abs(self.channels.ieta) / 29.0
        self.menu: Floats = low + (high - low) * forward + 0.015 * draw.standard_normal(rings)[self.channels.ring]

    def _draw(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.era.seed, *key])

    def run(self, index: int) -> EraRun:
        recipe, draw = self.era.recipe, self._draw(index, 0x2)
        if index:
            for _ in range(recipe.gap if index == recipe.gap_at else 1):
                self._step(draw)
        if index in recipe.settings:
            self.shift = self.shift + recipe.settings_width * draw.standard_normal(len(self.shift))
        n = int(draw.integers(*recipe.lumisections))
        low, high = recipe.pileup
        first = 52.0 if index == 0 else float(draw.uniform(1.1 * low, high))
        pileup = np.geomspace(first, max(first * (0.63 if index == 0 else draw.uniform(0.6, 0.95)), low), n)
        self.luminosity += 0.002 * float(pileup.sum())
        second = index > 1 and (index // 4) % 2 == 1
        healthy = self._healthy(second, draw)
        return self._counted(index, healthy, pileup, second, draw)

    def _step(self, draw: np.random.Generator) -> None:
        recipe = self.era.recipe

        def steps(size: int) -> Floats:
            if not recipe.tails:
                return draw.standard_normal(size)
            return np.asarray(draw.standard_t(recipe.tails, size) * np.sqrt((recipe.tails - 2) / recipe.tails))

        walk = recipe.box * steps(72)[self.channels.box] + recipe.module * steps(360)[self.module]
        walk = walk + recipe.channel * self.more * steps(len(self.channels))
        self.shift = self.shift + recipe.scale * walk
        if draw.random() < recipe.box_steps:
            box = int(draw.integers(72))
            self.shift[self.channels.box == box] += float(draw.uniform(0.02, 0.05) * draw.choice([-1, 1]))

    def _healthy(self, second_menu: bool, draw: np.random.Generator) -> Floats:
        """(channels,) log rate at the reference pileup."""
        recipe = self.era.recipe
        noise = recipe.noise_box * draw.standard_normal(72)[self.channels.box]
        noise = noise + recipe.noise_module * draw.standard_normal(360)[self.module]
        noise = noise + recipe.noise_channel * draw.standard_normal(len(self.channels))
        total = 0.002 * 60 * 30 * (recipe.runs + recipe.gap)
        age = np.log1p(-recipe.ageing * np.minimum(self.damage * self.luminosity / total, 2.0))
        healthy = np.log(np.maximum(self.era.detector.response, 1e-9)) + self.shift + recipe.scale * noise + age
        return np.asarray(healthy + self.menu * second_menu)

    def _counted(self, index: int, healthy: Floats, pileup: Floats, second: bool, draw: np.random.Generator) -> EraRun:
        recipe, detector = self.era.recipe, self.era.detector
        n = len(pileup)
        eta = healthy + np.multiply.outer(np.log(pileup / REFERENCE_PILEUP), detector.power)
        rates = -np.expm1(-np.exp(eta) - detector.noise)
        events = np.maximum(draw.poisson(recipe.events, n) * draw.normal(1, 0.02, n), 200).astype(np.int64)
        rates = (np.clip(rates * self._jitter(rates, events, draw), 0, 1) * detector.live).astype(np.float32)
        factor = np.ones(rates.shape, dtype=np.float32)
        for fault in self.era.faults:
            if (strength := fault.factor(index)) != 1.0:
                first = round(fault.start * n) if index == fault.first_run else 0
                factor[first:, fault.rows] *= strength
        mask = self._masked(index, draw)
        rates[:, list(self.masks)], factor[:, list(self.masks)] = 0, 1
        counts = draw.binomial(events[:, None], np.minimum(rates * factor, 1)).astype(np.int32)
        maps = LumiMaps(
            run=FIRST_RUN + index, channels=self.channels, lumisections=np.arange(1, n + 1, dtype=np.int32),
            events=events, event_source=np.full(n, EventSource.COUNTER, dtype=np.uint8), counts=counts,
            present=np.ones(n, dtype=np.bool_), definition="simulation",
        )  # fmt: skip
        menu = "menu B" if second else "menu A"
        day = DAYS * (index + (recipe.gap - 1) * (index >= recipe.gap_at))
        conditions = RunFacts(menu, 3.8, "collisions", self.luminosity, day=day)
        return EraRun(index, maps, mask, conditions, healthy, rates, factor, float(pileup.mean()))

    def _jitter(self, rates: Floats, events: NDArray[np.int64], draw: np.random.Generator) -> Floats:
        """(LS, channels) factor by which boxes jitter, so that their sums scatter more than binomial ones: showers."""
        box = self.channels.box.astype(np.intp)
        sums = np.stack([np.bincount(box, row, 72) for row in rates]) * events[:, None]
        jitter = np.sqrt(self.era.recipe.jitter / np.maximum(sums, 1.0)) * draw.standard_normal(sums.shape)
        return np.asarray(np.exp(jitter)[:, box])

    def _masked(self, index: int, draw: np.random.Generator) -> Mask | None:
        """Channels are masked for some runs, and come back."""
        self.masks = {row: last for row, last in self.masks.items() if last >= index}
        if index:
            for row in draw.choice(np.flatnonzero(self.era.detector.live), 3):
                self.masks[int(row)] = index + int(draw.integers(0, 8))
        if not self.masks:
            return None
        names = tuple(self.channels.name_of(row) for row in self.masks)
        return Mask("masked.toml", "", (MaskEntry("masked for some runs", units=names),))


_RECIPES = (
    ("channel", 0.9, 4), ("channel", 0.93, 2), ("channel", 0.85, 3), ("channel", 0.7, 1), ("channel", 0.0, 1),
    ("channel", 1.3, 1), ("RM", 0.95, 1), ("RM", 0.9, 1), ("RBX", 0.9, 1), ("RBX", 0.95, 1),
)  # fmt: skip
"""Scale, factor and number of what fails in a run with faults; larger units in some of them only."""
_WIDE = (("ring", 0.9), ("ring", 0.93), ("half", 0.95), ("sub-detector", 0.93))
"""What fails in the whole of it, one of these in a run of its own."""
CREEP_RUNS, CREEP_TO = 10, 0.7


def _faults(era: Era) -> Iterator[EraFault]:
    """Faults in half of the runs, half of them from LS 1 on, 40 % over several runs; and some that creep."""
    detector, recipe = era.detector, era.recipe
    draw = np.random.default_rng([era.seed, 0xFA])
    names = {scale: unit_names(detector.channels, scale) for scale in ("channel", "RM", "RBX")}
    until = np.zeros(len(detector.channels), dtype=np.intp)

    def unit(scale: str, first: int, last: int) -> tuple[str, NDArray[np.intp]]:
        for _ in range(10_000):
            name = names[scale][int(draw.integers(len(names[scale])))]
            rows = rows_of_unit(detector.channels, name)
            rows = rows[detector.live[rows]]
            bright = len(rows) and (scale != "channel" or detector.response[rows[0]] > 0.05)
            if bright and (until[rows] < first).all():
                until[rows] = last + 5
                return name, rows
        raise UsageError(f"no {scale} of the era is left to fail in run {first}.")

    for first in range(3, recipe.runs - CREEP_RUNS, 8):
        course = tuple(np.exp(np.linspace(0, np.log(CREEP_TO), CREEP_RUNS + 1))[1:].tolist())
        for scale, count in (("channel", 4), ("RBX", 1)):
            for _ in range(count):
                name, rows = unit(scale, first, first + CREEP_RUNS)
                yield EraFault(f"{scale} creeping", name, rows, first, course)
    for run in range(1, recipe.runs):
        if run % 2 == 0:
            if recipe.wide_faults and run % 4 == 2 and run > 4:
                yield _wide(era, run, draw)
            continue
        for scale, strength, count in _RECIPES:
            for _ in range(count if scale == "channel" else int(draw.random() < 0.6)):
                length = 1 if draw.random() < 0.6 else int(draw.integers(2, 6))
                length = min(length, recipe.runs - run)
                name, rows = unit(scale, run, run + length)
                start = 0.0 if draw.random() < 0.5 else float(draw.uniform(0.1, 0.6))
                yield EraFault(f"{scale} ×{strength:g}", name, rows, run, (strength,) * length, start)


def _wide(era: Era, run: int, draw: np.random.Generator) -> EraFault:
    """A ring, a side or a sub-detector, from LS 1 on, in one run."""
    channels, live = era.detector.channels, era.detector.live
    scale, strength = _WIDE[(run // 4) % len(_WIDE)]
    sub = str(draw.choice(["HB", "HE"]))
    if scale == "ring":
        mine = np.flatnonzero((channels.subdetector == Subdetector[sub]) & live)
        row = int(draw.choice(mine))
        name = f"{sub} |ieta| {abs(int(channels.ieta[row]))} depth {int(channels.depth[row])}"
    else:
        name = sub + str(draw.choice(["M", "P"])) if scale == "half" else sub
    rows = rows_of_unit(channels, name)
    return EraFault(f"{scale} ×{strength:g}", name, rows[live[rows]], run, (strength,))
