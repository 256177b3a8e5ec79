"""Few events: how well rings are known in one LS, what that buys in findings, and what an estimate takes up of a fault.

Here nothing is hidden: each ring's own count has a say in its estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from hcal_root_ad.judge.lumisections import judged_rows
from hcal_root_ad.judge.shared_pileup import SharedPileup
from hcal_root_ad.judge.verdict import State, Trust, Verdict
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.model.common_part import CommonLevels, CommonPartFit
from hcal_root_ad.model.reference import JointReference, Reference
from hcal_root_ad.stats.binomial import Floats
from studies.network.conditions import (
    TEST_DETECTORS,
    WORLDS,
    Measured,
    Predictors,
    log_rate_shift,
    measured,
    rows_at_fault,
)
from studies.network.shapes import CLEAN_PILEUP, detector, mean_shift, rates_at, relative, true_reference
from studies.stress.changes import Offsets
from studies.stress.worlds import Setting

FEW = (5, 10, 20, 50, 200)
FEW_WORLDS = ("nothing", "trigger mix", "jet triggers", "menu of an era")


def few_events(predictors: Predictors, progress: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """Errors of the ring shifts of one LS with few events, and of log pileup, root mean square over rings and LS."""
    out = []
    for events in FEW:
        for world in FEW_WORLDS:
            for seed in TEST_DETECTORS[:2]:
                own = detector(seed)
                run = measured(own, WORLDS[world], seed + 50, events=float(events), lumisections=12)
                for name, error in errors_of_rings(predictors, run):
                    row = {"events": events, "world": world, "detector": seed}
                    out.append(row | {"method": name, "error": error})
                if progress:
                    progress()
    return out


def errors_of_rings(predictors: Predictors, run: Measured) -> Iterator[tuple[str, float]]:
    """By method: error of the ring shifts of the LS of a run, root mean square over rings and LS."""
    rings, weight = predictors.rings, np.broadcast_to(run.information, run.ring.shape)
    truth, use = relative(rings, run.truth, run.information), run.information > 0.5

    def error(estimate: Floats) -> float:
        return float(np.sqrt(np.mean((relative(rings, estimate, weight) - truth)[:, use] ** 2)))

    yield "medians", error(run.ring)
    yield "smooth", error(run.ring - run.smooth)
    for name, predict in predictors.of_rings():
        yield name, error(predict(run.ring, run.variance, hide=False)[0])


FEW_FAULTS = (0.5, 0.7)
FEW_CHANNELS, FEW_LENGTH = 60, 20
"""Channels for each of these factors on their digis, and for how many LS of 200 events."""


def few_findings(predictors: Predictors, progress: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """What better ring levels buy where events are few: captured pairs and false findings of the judge."""
    out = []
    for world, seed in product(("nothing", "jet triggers"), TEST_DETECTORS):
        own = detector(seed)
        draw = np.random.default_rng([seed, 0xFE])
        conditions = Setting(lumisections=60, pileup=(46.0, 40.0), events=200.0).conditions(draw)
        before = rates_at(own, conditions.pileup)
        rates = Offsets("channel", 0.01).apply(before, own, conditions, draw)
        for change in WORLDS[world]:
            rates = change.apply(rates, own, conditions, draw)
        factor = _weak_channels(rates, draw)
        counts = draw.binomial(conditions.events[:, None], rates * factor).astype(np.int32)
        maps = LumiMaps(
            run=370_001, channels=own.channels, lumisections=conditions.lumisections, events=conditions.events,
            event_source=np.full(len(counts), EventSource.COUNTER, dtype=np.uint8), counts=counts,
            present=np.ones(len(counts), dtype=bool), definition="simulation",
        )  # fmt: skip
        reference = true_reference(own)
        levels = CommonPartFit(reference).fit(counts, conditions.events)
        for name, ring in _ring_levels(predictors, levels, mean_shift(own, before, rates)):
            verdicts = _judged(maps, reference, replace(levels, ring=ring.astype(np.float32)))
            flagged = np.concatenate([verdict.states >= State.PROBLEMATIC for verdict in verdicts], axis=1)
            findings = [finding for verdict in verdicts for finding in verdict.findings]
            wanted = factor != 1
            false = sum(not wanted[:, own.channels.rows_of(f.subdetector)[list(f.rows)]].any() for f in findings)
            out.append({
                "world": world, "detector": seed, "method": name,
                "captured": float(flagged[wanted].mean()), "false": 100 * false / len(counts),
            })  # fmt: skip
        if progress:
            progress()
    return out


def _weak_channels(rates: Floats, draw: np.random.Generator) -> Floats:
    """(LS, channels) factors of weak channels, each for some LS."""
    factor = np.ones(rates.shape)
    bright = np.flatnonzero((rates[0] > 0.2) & (rates[0] < 0.9))
    chosen = draw.choice(bright, len(FEW_FAULTS) * FEW_CHANNELS, replace=False)
    for row, strength in zip(chosen, np.repeat(FEW_FAULTS, FEW_CHANNELS), strict=True):
        first = int(draw.integers(len(rates) - FEW_LENGTH))
        factor[first : first + FEW_LENGTH, row] = strength
    return factor


def _ring_levels(
    predictors: Predictors, levels: CommonLevels, truth: tuple[Floats, Floats, float]
) -> Iterator[tuple[str, Floats]]:
    """Ring levels by every way to estimate them; where a sub-detector is as a whole stays as it was measured."""
    rings, ring, variance = predictors.rings, levels.ring.astype(float), levels.ring_variance.astype(float)
    weight = np.broadcast_to(truth[1], ring.shape)
    middle = ring - relative(rings, ring, weight)
    yield "medians", ring
    for name, predict in predictors.of_rings():
        shape, _ = predict(ring, variance, hide=False)
        yield name, middle + relative(rings, shape, weight)
    yield "oracle", middle + relative(rings, np.broadcast_to(truth[0], ring.shape), weight)


def _judged(maps: LumiMaps, reference: Reference, levels: CommonLevels) -> list[Verdict]:
    joint = JointReference(reference, ("HB", "HE"), np.arange(len(maps.channels)), shared=True)
    base = dict.fromkeys(joint.names, Trust.ADAPTED)
    verdicts, _ = SharedPileup(maps, judged_rows(maps), joint, levels).judge({}, 0.5, base)
    return verdicts


def absorbed_by_estimate(predictors: Predictors, progress: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """Share of a ring's fault that its own estimate takes up where nothing is hidden, at few and at many events."""
    out = []
    own = detector(TEST_DETECTORS[0])
    for events, unit, strength in product((20.0, 200.0, 1400.0), ("HE |ieta| 26", "HB |ieta| 8"), (0.7, 0.85)):
        rows = rows_at_fault(own, unit)
        mine = np.unique(predictors.rings.tree.ring.of[rows])
        factor = np.ones(len(own.channels))
        factor[rows] = strength
        pair = [measured(own, (), 9, events=events, factor=one) for one in (None, factor)]
        for name, predict in predictors.of_rings():
            before, after = (predict(run.ring, run.variance, hide=False)[0].mean(axis=0)[mine] for run in pair)
            size = log_rate_shift(rates_at(own, np.array([CLEAN_PILEUP]))[0, rows], strength)
            share = float(np.mean(after - before)) / size
            out.append({"events": events, "unit": unit, "factor": strength, "method": name, "share": share})
        if progress:
            progress()
    return out
