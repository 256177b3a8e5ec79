"""Ten real lumisections as an evaluation: two folds, faults put into the counts, and twins for what learns from more.

There is one real run, so it cannot be split by run: five of its LS are learned from and the other five are
tested on, and the other way round. Nothing of a tested LS is in what a system learned from.

- **Faults** are exact, given that counts are binomial. To lower a probability p to q, each digi is kept with
  probability q/p. To raise it, each event without one gets one with probability (q − p)/(1 − p).
- **Replicas** are copies of the five tested LS with other faults at other places, each scored by itself. In a
  replica persistent faults last for all five LS, isolated ones are in the last. The healthy counts are the
  same in all replicas: they add faults, not clean lumisections.
- **Rates**: nobody knows the true ones. What the limits (and the added digis) use is each channel's share of
  events with a digi over all ten LS. Run 306138 shows no more than binomial scatter about that, so the limits are
  close to those of true rates, but approximate; they have seen the tested counts, and so lie rather too high.
- **Twins** are clean simulated runs: each channel's rate is drawn from what the five LS of the fold leave open
  (Jeffreys' Beta distribution), and moves with pileup, prescale changes and gaps as the simulator's do,
  around the level of the five LS. Networks learn from the five LS and some twins, all else from the five LS;
  errors and thresholds come from other twins. So twins know nothing but those five LS and the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import MINIMUM_EVENTS, SubdetectorCounts, subdetector_counts
from hcal_root_ad.simulate.scenario import FillConditions, apply_faults, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import REFERENCE_PILEUP, simulate_detector
from hcal_root_ad.simulate.simulated_run import Drift, simulate_run
from hcal_root_ad.stats.binomial import LARGEST, Floats
from studies.evaluate.material import Fold, Material, kinds_of
from studies.evaluate.protocol import WINDOW, Effort, Training, Truth
from studies.evaluate.suite import (
    BLOCK,
    FACTORS,
    SCALES,
    Condition,
    TestRun,
    conditions_of,
    fault_of,
    place,
    with_faults,
)

NAME = "real"
NO_DRIFT = Drift(box=0.0, module=0.0, channel=0.0, run_box=0.0, run_channel=0.0)
"""Only prescale changes shift rings: ten real LS show such a shift between them, and no drift."""
FOLDS = (0, 1)
"""Number of the half that is tested; the other one is learned from."""
AT_ONCE = 3
"""Conditions in one replica, as in a block of a simulated run."""

HEAD = """\
Run {run}, LS {first}–{last}, in two folds: learned from five, tested on the other five, and the other way round; there
is one real run, so no split by run. Faults are put into the real counts exactly (digis removed by binomial thinning, or
added in empty events), in {replicas} replicas with other faults at other places per fold; **the healthy counts are the
same in all replicas**, and a false-positive rate of 10⁻³ is some dozen pairs. The rates that the limits use are those
of all ten LS: **approximate limits**. Plain systems learn from the fold's five LS; networks from these and {twins}
simulated twins of {twin_length} LS (rates drawn from what the five LS tell, the simulator's pileup, prescale changes
and gaps); errors and thresholds come from {calibration_twins} other twins. Where photodiode modules and cards have no
known rule, one iphi of a box stands for an RM and a quarter of it for a card. Seed {seed}."""


@dataclass(frozen=True)
class RealSuite:
    """Size of an evaluation on a real run; every number is in the table's head.

    ``rounds``: how often every condition is met in each fold.
    """

    seed: int = 3000
    rounds: int = 2
    twins: int = 6
    calibration_twins: int = 3
    twin_length: int = 60
    subdetectors: tuple[str, ...] = ("HE", "HB")
    factors: tuple[float, ...] = FACTORS
    scales: tuple[str, ...] = SCALES
    effort: Effort = field(default_factory=Effort)

    @property
    def conditions(self) -> list[Condition]:
        return conditions_of(self.factors, self.scales)

    @property
    def replicas_per_round(self) -> int:
        return -(-len(self.conditions) // AT_ONCE)


def real(maps: LumiMaps, suite: RealSuite) -> Material:
    """The first ten lumisections of a run as two folds.

    Raises:
        InputError: the run has no ten LS in a row with maps and events, or lacks a sub-detector.
    """
    positions = ten_lumisections(maps)
    for name in suite.subdetectors:
        if name not in maps.found:
            raise InputError(
                f"Run {maps.run} holds no digis of {name}; give a run with {' and '.join(suite.subdetectors)}."
            )

    @cache
    def twins(fold: int) -> Sequence[LumiMaps]:
        learned = positions[_learned(fold)]
        draw = np.random.default_rng([suite.seed, fold, 0x7717])
        return [_twin(maps, learned, conditions, seed, draw) for seed, conditions in _twin_conditions(suite, fold)]

    def folds(subdetector: str) -> Sequence[Fold]:
        series = subdetector_counts(maps, subdetector)
        ten = series.rows(np.flatnonzero(np.isin(series.position, positions)))
        return [_fold(ten, subdetector, fold, suite, twins) for fold in FOLDS]

    said = {"run": maps.run, "first": maps.lumisections[positions[0]], "last": maps.lumisections[positions[-1]]}
    return Material(
        name=NAME,
        subdetectors=suite.subdetectors,
        kinds=kinds_of(suite.factors),
        scales=suite.scales,
        effort=suite.effort,
        settings=asdict(suite) | {"run": maps.run, "files": sorted(source.sha256 for source in maps.sources)},
        head=HEAD.format(**asdict(suite), **said, replicas=suite.rounds * suite.replicas_per_round),
        folds=folds,
    )


def ten_lumisections(maps: LumiMaps) -> NDArray[np.intp]:
    """(10,) positions of a run's first lumisections, all of which must have maps and events, and follow each other."""
    position = np.flatnonzero(maps.present & (maps.events >= MINIMUM_EVENTS))[: 2 * WINDOW]
    numbers = maps.lumisections[position]
    if len(numbers) < 2 * WINDOW or numbers[-1] - numbers[0] != 2 * WINDOW - 1:
        raise InputError(
            f"Run {maps.run}: expected {2 * WINDOW} lumisections in a row with HCAL maps and {MINIMUM_EVENTS} events, "
            f"found LS {', '.join(map(str, numbers)) or 'none'} at its start; give all files of the run."
        )
    return position


def _tested(fold: int) -> slice:
    return slice(fold * WINDOW, (fold + 1) * WINDOW)


def _learned(fold: int) -> slice:
    return _tested(1 - fold)


def _fold(
    ten: SubdetectorCounts, subdetector: str, fold: int, suite: RealSuite, twins: Callable[[int], Sequence[LumiMaps]]
) -> Fold:
    learned = ten.rows(_learned(fold))

    @cache
    def training(deep: bool) -> Training:
        made = [subdetector_counts(twin, subdetector) for twin in twins(fold)]
        learn = [learned, *made[: suite.twins]] if deep else [learned]
        return Training(subdetector, ten.channels, learn, made[suite.twins :], suite.seed, suite.effort)

    @cache
    def tests() -> Sequence[TestRun]:
        return list(_replicas(ten, fold, suite))

    return Fold(training, tests)


def _replicas(ten: SubdetectorCounts, fold: int, suite: RealSuite) -> Iterator[TestRun]:
    """The tested LS again and again, as the last five of blocks in which faults are placed as in a simulated run."""
    rates = shares(ten.counts, ten.events)
    live, tested = rates > 0, ten.rows(_tested(fold))
    healthy = np.tile(rates.astype(np.float32), (WINDOW, 1))
    for number in range(suite.rounds):
        draw = np.random.default_rng([suite.seed, fold, number])
        placed = place(suite.conditions, ten.channels, live, suite.replicas_per_round * BLOCK, draw)
        for block in range(suite.replicas_per_round):
            mine = tuple(one for one in placed if one.first // BLOCK == block)
            position = block * BLOCK + np.arange(BLOCK - WINDOW, BLOCK)
            faults = tuple(fault_of(one, np.arange(len(rates)), draw) for one in mine)
            faulty = apply_faults(healthy, (position + 1).astype(np.int32), faults)
            counts = with_faults(tested.counts, tested.events, healthy, faulty, draw)
            yield TestRun(replace(tested, counts=counts, position=position), Truth(healthy, faulty), mine, live)


def shares(counts: NDArray[np.int32], events: Floats) -> Floats:
    """(channels,) share of events with a digi, of (LS, channels) counts; half a digi and half a miss added if any."""
    digis = counts.sum(axis=0)
    return np.where(digis > 0, (digis + 0.5) / (events.sum() + 1), 0.0)


def _twin_conditions(suite: RealSuite, fold: int) -> Iterator[tuple[int, FillConditions]]:
    """Seed and conditions of every twin: the simulator's, the pileup around the level at which rates are known."""
    for number in range(suite.twins + suite.calibration_twins):
        seed = suite.seed + 1000 * (fold + 1) + number
        conditions = simulate_conditions(suite.twin_length, seed)
        level = np.median(conditions.pileup[~conditions.gap])
        yield seed, replace(conditions, pileup=conditions.pileup * REFERENCE_PILEUP / level)


def _twin(
    maps: LumiMaps, learned: NDArray[np.intp], conditions: FillConditions, seed: int, draw: np.random.Generator
) -> LumiMaps:
    """A clean simulated run of a detector that might have given the counts of the LS learned from."""
    digis, events = maps.counts[learned].sum(axis=0), int(maps.events[learned].sum())
    rates = np.minimum(draw.beta(digis + 0.5, np.maximum(events - digis, 0) + 0.5), LARGEST)
    some = simulate_detector(seed, maps.channels.era)
    twin = replace(some, response=-np.log1p(-rates), noise=np.zeros(len(rates)), masked=digis == 0)
    return simulate_run(twin, conditions, seed=seed, drift=NO_DRIFT).maps
