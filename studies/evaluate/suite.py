"""The runs that every system is judged on: faults of every kind, factor and scale, at known places.

A test run is cut in blocks of lumisections. In each block a few units are at fault in the block's last
five LS (persistent) or in its last one (isolated), the rest is healthy; so one pass over a run tests a
system on all conditions at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import UsageError
from hcal_root_ad.model.counts import SubdetectorCounts, subdetector_counts
from hcal_root_ad.simulate.scenario import FaultKind, InjectedFault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import WINDOW, Effort, Training, Truth

FACTORS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.5, 2.0, 4.0)
COURSES = ("noisy", "flickering", "ageing")
SCALES = ("channel", "card", "RM", "RBX", "sector", "box")
AGEING = (0.9, 0.5)
"""Factor in the first and in the last LS."""
FLICKER_ON = 0.5
"""Share of LS in which a flickering channel works."""
NOISE = (0.02, 0.1)
"""Least and mean further probability that noise adds in an LS."""
BLOCK = 12
"""LS per block: five at fault, and seven for what remembers to forget the last one."""
CHANNELS_AT_ONCE = 24
"""Single channels at fault together in a block: one would be too few to measure anything."""


@dataclass(frozen=True)
class Condition:
    """One row of the table: what is wrong, at which scale, for how long.

    ``kind`` is ``R=0.4`` and the like, or noisy, flickering, ageing; ``persistence`` persistent or isolated.
    """

    kind: str
    scale: str
    persistence: str

    @property
    def name(self) -> str:
        return f"{self.kind} {self.scale} {self.persistence}"

    @property
    def factor(self) -> float | None:
        """The factor on the digi probability, None for noisy, flickering and ageing."""
        return float(self.kind.removeprefix("R=")) if self.kind.startswith("R=") else None


@dataclass(frozen=True)
class Suite:
    """Size of an evaluation; every number is in the table's head."""

    name: str
    detector_seed: int = 2022
    seed: int = 1000
    learning_runs: int = 10
    calibration_runs: int = 4
    run_length: int = 120
    test_runs: int = 6
    test_length: int = 600
    subdetectors: tuple[str, ...] = ("HE", "HB")
    factors: tuple[float, ...] = FACTORS
    scales: tuple[str, ...] = SCALES
    effort: Effort = field(default_factory=Effort)

    @property
    def conditions(self) -> list[Condition]:
        """All conditions of the suite; a course needs several LS, so it has no isolated form."""
        return conditions_of(self.factors, self.scales)

    def conditions_of_run(self, number: int) -> list[Condition]:  # noqa: ARG002
        """Those that a test run meets: all of them, so that several units may be at fault in a block."""
        return self.conditions


@dataclass(frozen=True)
class FairSuite(Suite):
    """One unit at fault in a block, and the authors' own test beside it.

    ``windows``: of that test, for each factor and persistence. ``seeds``: trainings of each deep system.
    """

    windows: int = 24
    seeds: int = 3

    def conditions_of_run(self, number: int) -> list[Condition]:
        """Every so many-th condition, no more than the run has blocks."""
        parts = -(-len(self.conditions) // (self.test_length // BLOCK))
        return self.conditions[number % parts :: parts]


SUITES = {
    suite.name: suite
    for suite in (
        Suite("full", test_runs=4, test_length=480, effort=Effort(most=4)),
        FairSuite(
            "fair",
            learning_runs=60,
            calibration_runs=10,
            run_length=20,
            test_runs=2,
            test_length=360,
            factors=(0.0, 0.4, 0.6, 0.8, 1.5, 2.0),
            scales=("channel", "RM", "RBX", "box"),
        ),
        FairSuite(
            "fair-quick",
            learning_runs=3,
            calibration_runs=2,
            run_length=20,
            test_runs=2,
            test_length=48,
            subdetectors=("HE",),
            factors=(0.0, 0.4),
            scales=("channel",),
            effort=Effort(most=0.002),
            windows=3,
            seeds=2,
        ),
        Suite("short", learning_runs=6, calibration_runs=2, test_runs=3, test_length=480, subdetectors=("HE",)),
        Suite(
            "quick",
            learning_runs=2,
            calibration_runs=1,
            run_length=40,
            test_runs=2,
            test_length=60,
            subdetectors=("HE",),
            factors=(0.0, 0.4, 2.0),
            scales=("channel", "RBX"),
            effort=Effort(most=0.005),
        ),
    )
}


def suite_named(name: str) -> Suite:
    """A suite by name."""
    if name not in SUITES:
        raise UsageError(f"no suite {name!r}; there are {', '.join(SUITES)} and real.")
    return SUITES[name]


def conditions_of(factors: Sequence[float], scales: Sequence[str]) -> list[Condition]:
    """All conditions of a suite; a course needs several LS, so it has no isolated form."""
    conditions = []
    for scale in scales:
        for factor in factors:
            conditions += [Condition(f"R={factor:g}", scale, p) for p in ("isolated", "persistent")]
        conditions += [Condition(course, scale, "persistent") for course in COURSES]
    return conditions


@dataclass(frozen=True, eq=False)
class Placed:
    """One fault in a test run: its condition, the sub-detector's rows at fault, LS positions in the run."""

    condition: Condition
    rows: NDArray[np.intp]
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class TestRun:
    """A run to score: the series, the truth, and where the faults are (rows and LS of the series)."""

    series: SubdetectorCounts
    truth: Truth
    placed: tuple[Placed, ...]
    live: NDArray[np.bool_]

    __test__ = False


def training_of(suite: Suite, subdetector: str) -> Training:
    """Clean runs of the suite's detector, split by run."""
    detector = simulate_detector(suite.detector_seed)
    runs = [
        simulate_run(detector, simulate_conditions(suite.run_length, seed), seed=seed)
        for seed in range(suite.seed, suite.seed + suite.learning_runs + suite.calibration_runs)
    ]
    series = [subdetector_counts(run.maps, subdetector) for run in runs]
    learn, calibrate = series[: suite.learning_runs], series[suite.learning_runs :]
    rows = detector.channels.rows_of(subdetector)
    rates = [
        run.rates[np.ix_(one.position, rows)] for run, one in zip(runs[suite.learning_runs :], calibrate, strict=True)
    ]
    return Training(subdetector, series[0].channels, learn, calibrate, suite.seed, suite.effort, rates)


def test_runs_of(suite: Suite, subdetector: str) -> Iterator[TestRun]:
    """The test runs of a suite, one at a time; other seeds than any clean run."""
    detector = simulate_detector(suite.detector_seed)
    for number in range(suite.test_runs):
        seed = suite.seed + 500 + number
        yield _test_run(suite, suite.conditions_of_run(number), detector, subdetector, seed)


def _test_run(
    suite: Suite, conditions: list[Condition], detector: SimulatedDetector, subdetector: str, seed: int
) -> TestRun:
    rows = detector.channels.rows_of(subdetector)
    channels, live = detector.channels.take(rows), detector.live[rows]
    placed = place(conditions, channels, live, suite.test_length, np.random.default_rng(seed))
    faults = [fault_of(one, rows, np.random.default_rng([seed, n])) for n, one in enumerate(placed)]
    simulated = simulate_run(detector, simulate_conditions(suite.test_length, seed), faults, seed=seed)
    series = subdetector_counts(simulated.maps, subdetector)
    columns = np.ix_(series.position, rows)
    return TestRun(series, Truth(simulated.rates[columns], simulated.faulty_rates[columns]), tuple(placed), live)


def place(
    conditions: list[Condition],
    channels: ChannelTable,
    live: NDArray[np.bool_],
    length: int,
    draw: np.random.Generator,
) -> list[Placed]:
    """Spread the conditions evenly over the blocks; units at fault in one block are in different boxes."""
    blocks = length // BLOCK
    order = draw.permutation(len(conditions))
    placed = []
    rounds = -(-len(conditions) // blocks)
    for block in range(blocks):
        free = live.copy()
        for turn in range(rounds):
            condition = conditions[order[(block + turn * blocks) % len(order)]]
            rows = unit_rows(condition.scale, channels, free, draw)
            last = (block + 1) * BLOCK - 1
            first = last if condition.persistence == "isolated" else last - WINDOW + 1
            placed.append(Placed(condition, rows, first, last))
            box = channels.box[rows]
            if condition.scale != "channel":
                free &= ~np.isin(channels.box, box)
            free[rows] = False
    return placed


def unit_rows(
    scale: str, channels: ChannelTable, free: NDArray[np.bool_], draw: np.random.Generator
) -> NDArray[np.intp]:
    """Rows of a random unit of a scale among the free channels."""
    rows = np.flatnonzero(free)
    if scale == "channel":
        return np.sort(draw.choice(rows, min(CHANNELS_AT_ONCE, len(rows)), replace=False))
    if scale == "box":
        return _random_box(channels, free, draw)
    unit = unit_labels(scale, channels)
    return np.flatnonzero(free & (unit == draw.choice(unit[rows])))


def unit_labels(scale: str, channels: ChannelTable) -> NDArray[np.int64]:
    """(channels,) label of the card, RM, RBX or sector (two boxes) that each channel is read out by.

    Where no rule is known, others stand in: for an RM (photodiodes) the channels of one iphi of a box, for
    a card (HE, photodiodes) about a quarter of the RM's channels.
    """
    box = channels.box.astype(np.int64)
    module = box * 4 + np.where(channels.rm > 0, channels.rm - 1, (channels.iphi + 1) % 4)
    quarter = np.where(channels.card > 0, channels.card - 1, np.arange(len(channels)) // 12 % 4)
    return {
        "card": module * 4 + quarter,
        "RM": module,
        "RBX": box,
        "sector": channels.half.astype(np.int64) * 9 + channels.rbx // 2 % 9,
    }[scale]


def _random_box(channels: ChannelTable, free: NDArray[np.bool_], draw: np.random.Generator) -> NDArray[np.intp]:
    """A box in ieta, iphi and depth on one side, of the extents of the public GraphSTAD code (2–14, 2–6, 2–7)."""
    centre = draw.choice(np.flatnonzero(free))
    ieta, iphi, depth = (int(draw.integers(low, high + 1)) for low, high in ((2, 14), (2, 6), (2, 7)))
    inside = (
        free
        & (channels.side == channels.side[centre])
        & (np.abs(channels.ieta - channels.ieta[centre]) <= ieta // 2)
        & ((channels.iphi - channels.iphi[centre]) % 72 < iphi)
        & (np.abs(channels.depth - channels.depth[centre]) <= depth // 2)
    )
    return np.flatnonzero(inside)


def fault_of(placed: Placed, rows: NDArray[np.intp], draw: np.random.Generator) -> InjectedFault:
    """The simulator's fault of a placed condition; LS are positions + 1 there, ``rows`` those of its channels."""
    steps = placed.last - placed.first + 1
    factor, added = np.ones(steps), np.zeros(steps)
    kind = placed.condition.kind
    if placed.condition.factor is not None:
        factor[:] = placed.condition.factor
    elif kind == "noisy":
        least, mean = NOISE
        added = draw.exponential(mean, steps) + least
    elif kind == "flickering":
        factor = np.where(draw.random(steps) < FLICKER_ON, 1.0, 0.0)
        factor[draw.integers(steps)] = 0.0
    else:
        factor = np.linspace(*AGEING, steps)
    name = {"R=0": FaultKind.DEAD, "noisy": FaultKind.NOISY, "flickering": FaultKind.FLICKERING}
    what = name.get(kind, FaultKind.AGEING if kind == "ageing" else FaultKind.DEGRADED)
    return InjectedFault(
        what, placed.condition.name, rows[placed.rows], placed.first + 1, placed.last + 1, 0.0, factor, added
    )


def with_faults(
    counts: NDArray[np.int32], events: Floats, healthy: Floats, faulty: Floats, draw: np.random.Generator
) -> NDArray[np.int32]:
    """(LS, channels) counts as if each digi probability had been the faulty one; unchanged where both are equal."""
    p, q = healthy.astype(np.float64), faulty.astype(np.float64)
    lower, higher = q < p, q > p
    kept = draw.binomial(counts, np.where(lower, q / np.where(lower, p, 1), 1.0))
    misses = events.astype(np.int64)[:, None] - counts
    added = draw.binomial(misses, np.where(higher, (q - p) / np.where(higher, 1 - p, 1), 0.0))
    return (kept + added).astype(np.int32)
