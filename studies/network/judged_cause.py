"""Cause of findings: the rule and the likelihood asked of what the judge itself expects, in stress worlds and an era.

In :mod:`~studies.network.cause` the healthy digi probabilities are known to two percent. Here they are the judge's: a
reference of another run, or of a detector state that followed an era, with what it takes for common. Units of four
scales fail in ways of five kinds, all in one run; the judge finds what it finds, and each finding that is one of these
faults is a case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import Finding, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.unit_names import rows_of_unit, unit_names
from studies.era.systems import Filter
from studies.era.world import ERAS, Era, quiet
from studies.evaluate.suite import with_faults
from studies.network.cause import (
    DRAWN,
    KINDS,
    MOST,
    SCALES,
    WIDE,
    Case,
    CauseNetwork,
    by_likelihood,
    by_network,
    by_rule,
    cases_to_learn_from,
    faulty,
    numbers,
    rule_table,
    train_cause,
)
from studies.stress.catalogue import WORLDS
from studies.stress.current import adapted
from studies.stress.worlds import simulate_world

ALL, ERA = "all stress worlds", "era"
"""Names of rows: the worlds of the stress suite together, and runs of an era that a detector state followed."""
SOME_WORLDS = ("base", "mix-step", "jet-run", "showers", "channel-drift-2", "events-200", "aged-10", ERA)
FOLLOWED, ASKED = 8, 3
"""Runs of an era that teach the state, and those after them that are asked of."""
PER_RUN = {"channel": 14, "card": 10, "RM": 8, "RBX": 4}
NETWORKS = (1, 2, 3)
"""Seeds of the networks that are asked; they learned from simulated cases, whose healthy rates are known."""
SHORTEST = 3
BRIGHT = 0.05
"""Least digi probability of the channels that are drawn, and looked at."""
MOSTLY = 0.8
"""Of a finding's pairs must be one fault's, so that it is that fault."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A fault in a run: its channels, first and last row, kind and scale."""

    rows: NDArray[np.intp]
    first: int
    last: int
    kind: int
    scale: int


def findings_of_world(world: str, seed: int) -> list[Case]:
    """A case for every finding of the judge that is one of the faults."""
    runs = simulate_world(WORLDS[world], seed)
    draw = np.random.default_rng([seed, 0xCA5E])
    maps, healthy = runs.judged.maps, runs.judged.rates.astype(np.float64)
    return cases_of_run(maps, healthy, adapted(tuple(run.maps for run in runs.clean)), PER_RUN, draw)


def findings_of_era(seed: int) -> list[Case]:
    """The same in some runs of an era, by a detector state that followed it."""
    era = quiet(Era("facts", ERAS["facts"], seed))
    followed, draw, cases = Filter(era), np.random.default_rng([seed, 0xCA5E]), list[Case]()
    for run in islice(era.runs(), FOLLOWED + ASKED):
        if run.index >= FOLLOWED:
            models = followed.state.informed(followed.models)
            cases += cases_of_run(run.maps, run.rates.astype(np.float64), models, PER_RUN, draw)
        followed.judge(run)
    return cases


def cases_of_run(
    maps: LumiMaps, healthy: Floats, models: Sequence[Model], per_run: Mapping[str, int], draw: np.random.Generator
) -> list[Case]:
    """Put faults into a run, judge it, and make a case of every finding that is one of them.

    ``healthy``: (LS, channels) digi probabilities. ``per_run``: units at fault, by scale.
    """
    faults, maps = _with_faults(maps, healthy, per_run, draw)
    verdict = judge_run(maps, models, false_alarms=0.5)
    return [
        _case(judged, finding, fault, draw)
        for judged in verdict.verdicts
        for finding in judged.findings
        if (fault := _fault_of(finding, maps.channels.rows_of(judged.subdetector), faults, judged.lumisections))
    ]


def _with_faults(
    maps: LumiMaps, healthy: Floats, per_run: Mapping[str, int], draw: np.random.Generator
) -> tuple[list[Placed], LumiMaps]:
    """Faults on disjoint units, and the maps with them in the counts."""
    bright, changed, faults = healthy.mean(axis=0) > BRIGHT, healthy.copy(), []
    longest = max(SHORTEST, len(maps) // 2 - 1)
    for scale, number in per_run.items():
        names = unit_names(maps.channels.select("HB", "HE"), scale)
        units = (rows_of_unit(maps.channels, str(name)) for name in draw.permutation(names))
        free = (
            rows[bright[rows]] for rows in units if bright[rows].any() and (changed[:, rows] == healthy[:, rows]).all()
        )
        for rows, _ in zip(free, range(number), strict=False):
            length = int(draw.integers(SHORTEST, longest + 1))
            first = int(draw.integers(len(maps) - length + 1))
            fault = Placed(rows, first, first + length - 1, int(draw.integers(len(KINDS))), SCALES.index(scale))
            cells = np.ix_(np.arange(first, first + length), rows)
            p = healthy[cells]
            changed[cells] = np.clip(faulty(KINDS[fault.kind], -np.log1p(-np.minimum(p, 0.999)), p, draw), 0, 1)
            faults.append(fault)
    counts = with_faults(maps.counts, maps.events.astype(float), healthy, changed, draw)
    return faults, replace(maps, counts=counts)


def _fault_of(
    finding: Finding, columns: NDArray[np.intp], faults: Sequence[Placed], lumisections: NDArray[np.int32]
) -> Placed | None:
    """The fault that most of the finding's pairs belong to, None if there is none."""
    rows, inside = columns[list(finding.rows)], np.flatnonzero(_inside(finding, lumisections))
    for fault in faults:
        share = np.isin(rows, fault.rows).mean() * ((inside >= fault.first) & (inside <= fault.last)).mean()
        if share > MOSTLY:
            return fault
    return None


def _inside(finding: Finding, lumisections: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.asarray(np.any([(lumisections >= a) & (lumisections <= b) for a, b in finding.ranges], axis=0))


def _case(judged: Verdict, finding: Finding, fault: Placed, draw: np.random.Generator) -> Case:
    """What the judge knows of a finding: its digis and what it expects, of at most so many channels."""
    rows = np.array(finding.rows)
    rows = np.sort(draw.choice(rows, MOST, replace=False)) if len(rows) > MOST else rows
    inside = np.flatnonzero(_inside(finding, judged.lumisections) & judged.assessed)
    events = judged.events[inside, None].astype(float)
    p = np.clip(judged.expected[np.ix_(inside, rows)] / np.maximum(events, 1), 1e-6, 0.999)
    counts = judged.observed[np.ix_(inside, rows)].astype(np.int64)
    return Case(counts, p.astype(np.float64), np.ones(len(inside), dtype=bool), fault.scale, fault.kind, events)


def named(seeds: Sequence[int], step: Callable[[], None]) -> list[dict[str, Any]]:
    """By world, and of all worlds of the stress suite: log loss, accuracy and calibration of the rule and the others.

    The rule's answers become probabilities by how often they are right in the other worlds.
    """
    learn = cases_to_learn_from()
    networks = [train_cause(learn, seed) for seed in NETWORKS]
    cases = {}
    for world in SOME_WORLDS:
        found = [findings_of_era(seed) if world == ERA else findings_of_world(world, seed) for seed in seeds]
        cases[world] = [case for some in found for case in some]
        step()
    rows = [row for world in SOME_WORLDS for row in measured(world, cases[world], _by_rule(world, cases), networks)]
    stress = [world for world in SOME_WORLDS if world != ERA]
    everything = [case for world in stress for case in cases[world]]
    return rows + list(measured(ALL, everything, np.concatenate([_by_rule(one, cases) for one in stress]), networks))


def _by_rule(world: str, cases: dict[str, list[Case]]) -> Floats:
    """(cases, kinds) probabilities of the rule."""
    table = rule_table([case for other in cases if other != world for case in cases[other]])
    return np.stack([table[case.scale, by_rule(case)] for case in cases[world]])


def measured(
    world: str, some: Sequence[Case], ruled: Floats, networks: Sequence[CauseNetwork]
) -> Iterator[dict[str, Any]]:
    """Numbers of the rule (``ruled``: its probabilities), the likelihood, each network, and the oracle's priors."""
    truth = np.array([case.kind for case in some])
    answers = [("rule", ruled)]
    answers += [("likelihood", np.stack([by_likelihood(case, WIDE) for case in some]))]
    answers += [("network", by_network(network, some)) for network in networks]
    answers += [("oracle", np.stack([by_likelihood(case, DRAWN) for case in some]))]
    for method, probability in answers:
        yield {"world": world, "method": method, "cases": len(some), **numbers(probability, truth, some)}
