"""The network's roles on ten real lumisections, in two halves: learned from one, asked of the other.

The reference is learned from five LS as ``transfer`` does it. Conditions (the changes of the stress suite and of the
eras) and faults are put into the real counts of the other five, exactly: digis are kept by chance, or added in events
without one. The true rates are taken to be each channel's share of events over all ten LS. Shape networks learn on
simulated detectors of the run's era. LS of few events are drawn from the events of a real one, channel by channel;
what the channels of an event share is lost by that. What one run cannot say: anything of the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.transfer import transfer
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.stats.binomial import LARGEST, Floats
from hcal_root_ad.unit_names import rows_of_unit
from studies.evaluate.real import shares, ten_lumisections
from studies.evaluate.suite import with_faults
from studies.network.absorption import by_judge, by_shipped_network, reference_of
from studies.network.cause import CauseNetwork, by_rule, cases_to_learn_from, rule_table, train_cause
from studies.network.conditions import (
    FACTORS,
    TEST_DETECTORS,
    WORLDS,
    Measured,
    Predictors,
    fitted,
    log_rate_shift,
    shares_taken,
    what_is_left,
)
from studies.network.few_events import FEW, FEW_WORLDS, errors_of_rings
from studies.network.judged_cause import cases_of_run, measured
from studies.network.shapes import FAMILIES, detector, mean_shift
from studies.stress.worlds import Setting
from studies.transfer.few import some_lumisections

HALF = 5
UNITS = ("HEM05", "HE |ieta| 26", "HE |ieta| 20 depth 2", "HB |ieta| 8", "HEP", "HE")
HE_UNITS = tuple(unit for unit in UNITS if unit.startswith("HE"))
"""The shipped network whose absorption is asked is that of HE."""
AT_FAULT = {"channel": 14, "RBX": 4}
"""Units with a fault of some kind in one replica; modules of photodiodes are not known."""
REPLICAS = 12
Rows = list[dict[str, Any]]
Step = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Half:
    """Five LS that are asked, and what the other five have taught.

    ``maps``: HB and HE. ``own``: a detector with each channel's share of events over all ten LS. ``models``: HE's and
    HB's. ``reference``: of both, channels as in the maps.
    """

    number: int
    maps: LumiMaps
    own: SimulatedDetector
    models: tuple[Model, ...]
    reference: Reference

    @property
    def rates(self) -> NDArray[np.float32]:
        """(LS, channels) healthy digi probabilities."""
        p = -np.expm1(-self.own.response) * self.own.live
        return np.tile(p.astype(np.float32), (len(self.maps), 1))

    def changed(self, rates: NDArray[np.float32], draw: np.random.Generator) -> NDArray[np.int32]:
        """(LS, channels) the real counts, as if digi probabilities had been these."""
        return with_faults(self.maps.counts, self.maps.events.astype(float), self.rates, rates, draw)


def halves(maps: LumiMaps) -> list[Half]:
    """Both halves of the first ten LS of a run."""
    ten = some_lumisections(maps, ten_lumisections(maps))
    rows = ten.channels.rows_of("HB", "HE")
    ten = replace(ten, channels=ten.channels.take(rows), counts=ten.counts[:, rows])
    seen = np.minimum(shares(ten.counts, ten.events.astype(float)), LARGEST)
    like = detector(TEST_DETECTORS[0], ten.channels.era)
    own = replace(like, response=-np.log1p(-seen), noise=np.zeros(len(seen)), masked=seen == 0)
    out = []
    for number in (0, 1):
        asked = np.arange(number * HALF, (number + 1) * HALF)
        tested, learned = (some_lumisections(ten, rows) for rows in (asked, np.setdiff1d(np.arange(2 * HALF), asked)))
        with TemporaryDirectory() as folder:
            models = tuple(
                transfer(load_model("he-graphstad"), [learned], Path(folder) / name, to=name) for name in ("HE", "HB")
            )
        out.append(Half(number, tested, own, models, reference_of(models, tested)))
    return out


def asked(maps: LumiMaps, seeds: Sequence[int], folder: Path, step: Step) -> Rows:
    """Every role; a row says which by ``role``. Networks are kept in the folder."""
    both = halves(maps)
    predictors = Predictors.learned(FAMILIES, seeds, folder, maps.channels.era)
    out = [row for half in both for row in _shapes(half, predictors, step)]
    out += [row for half in both for row in _few_events(half, predictors, step)]
    out += [row for half in both for row in _absorbed(half, predictors, step)]
    out += [row for half in both for row in _taken_up(half, step)]
    learn = cases_to_learn_from()
    networks = [train_cause(learn, seed) for seed in seeds]
    return out + list(_causes(both, networks, rule_table(learn), step))


def _shapes(half: Half, predictors: Predictors, step: Step) -> Iterator[dict[str, Any]]:
    for world in WORLDS:
        run = in_world(half, world)[0]
        for method, (ring, apart) in what_is_left(predictors, run):
            yield {"role": "shapes", "world": world, "detector": half.number, "method": method,
                   "ring": ring, "apart": apart}  # fmt: skip
        step()


def in_world(half: Half, world: str) -> tuple[Measured, NDArray[np.int32]]:
    """The common part of the five LS with a condition put in, and the counts."""
    draw = np.random.default_rng([half.number, list(WORLDS).index(world), 0x4EA1])
    conditions = Setting(lumisections=HALF).conditions(draw)
    rates = half.rates
    for change in WORLDS[world]:
        rates = change.apply(rates, half.own, conditions, draw)
    counts = half.changed(rates, draw)
    truth = mean_shift(half.own, half.rates, rates)
    return fitted(half.reference, counts, half.maps.events, truth), counts


def _few_events(half: Half, predictors: Predictors, step: Step) -> Iterator[dict[str, Any]]:
    """Of the rings of all events of the five LS, as they are measured, those of a few in each LS."""
    for world in FEW_WORLDS:
        whole, counts = in_world(half, world)
        weight = 1 / (whole.variance + 1e-6)
        truth = (weight * whole.ring).sum(axis=0) / weight.sum(axis=0)
        for events in FEW:
            draw = np.random.default_rng([half.number, events, 0xFE3])
            misses = half.maps.events[:, None] - counts
            few = draw.hypergeometric(counts, misses, events).astype(np.int32)
            run = fitted(half.reference, few, np.full(HALF, events), (truth, whole.information, whole.true_apart))
            for method, error in errors_of_rings(predictors, run):
                yield {"role": "few", "world": world, "events": events, "detector": half.number, "method": method,
                       "error": error}  # fmt: skip
            step()


def _absorbed(half: Half, predictors: Predictors, step: Step) -> Iterator[dict[str, Any]]:
    healthy, p = in_world(half, "nothing")[0], half.rates[0].astype(float)
    nothing = np.zeros(len(healthy.truth)), healthy.information, 0.0
    for number, unit in enumerate(UNITS):
        rows = rows_of_unit(half.maps.channels, unit)
        rows = rows[p[rows] > 0]
        mine = np.unique(predictors.rings.tree.ring.of[rows])
        for strength in FACTORS:
            rates = half.rates
            rates[:, rows] *= strength
            counts = half.changed(rates, np.random.default_rng([half.number, number, round(100 * strength)]))
            run = fitted(half.reference, counts, half.maps.events, nothing)
            size, apart = log_rate_shift(p[rows], strength), unit in ("HE", "HEP")
            for method, share in shares_taken(predictors, healthy, run, mine, size, apart=apart):
                yield {"role": "absorbed", "unit": unit, "factor": strength, "detector": half.number,
                       "method": method, "share": share}  # fmt: skip
            step()


def _taken_up(half: Half, step: Step) -> Iterator[dict[str, Any]]:
    """By the default judge with the reference of the other half, and by the shipped network on top of it."""
    rows = by_judge(half.maps, half.models, UNITS, step)
    for row in rows + by_shipped_network(half.maps, half.models, HE_UNITS, step):
        yield {"role": "default", "detector": half.number, **row}


def _causes(
    both: Sequence[Half], networks: Sequence[CauseNetwork], table: Floats, step: Step
) -> Iterator[dict[str, Any]]:
    some = []
    for half in both:
        for replica in range(REPLICAS):
            draw = np.random.default_rng([half.number, replica, 0xCA5E])
            some += cases_of_run(half.maps, half.rates.astype(np.float64), half.models, AT_FAULT, draw)
            step()
    ruled = np.stack([table[case.scale, by_rule(case)] for case in some])
    for row in measured("ten real LS", some, ruled, networks):
        yield {"role": "cause", **row}
