"""The limit for systems that pool: likelihood ratios of the whole unit at fault.

A fault of a card, RM, RBX, sector or random box hits all of the unit's channels alike, and who adds up
what they say sees more than any one of them shows. So beside the limit of single channels
(:mod:`studies.evaluate.limit`) there is one that knows, besides the true rates and the fault's kind,
strength and course, *which channels would fail together*, but neither which unit does nor since when. At the
scale of a channel both are the same.

What is assumed:

- A pair (LS, channel) at fault scores its unit's ratio: the sum over the channels that the fault really
  hits (a channel with a fault of its own at that time is not among them).
- A healthy pair scores the ratio of *its* unit at that scale, the channels left out that have, or lately
  had, a fault. So the healthy pairs are the very ones that every system is compared with.
- Nobody can know the shape of a random box without knowing the box. The limit is told the shape, not the
  place: the healthy pairs are those of the same shape at the 36 places where the readout repeats itself (every
  fourth iphi, both sides), the faulty place at other times among them, as far as there are channels. A
  system that must search shapes as well has more healthy candidates to fear, and so stays below. (Where a shape
  has no healthy place left, as in the one Phase-1 box of 2017, its condition has no limit in that run.)
- Units are independent and alike before they are looked at, as in Neyman and Pearson's lemma.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI, ChannelTable
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.limit import alternative_of
from studies.evaluate.measure import Numbers, fault_pairs, negative_pairs, placed_of, rankings, within_memory
from studies.evaluate.suite import Condition, TestRun, unit_labels
from studies.evaluate.systems.oracle import Alternative, Ratios, Units, over_window, state_ratios, summed

NAME = "oracle (whole unit)"
BOX_PERIOD, AROUND = 4, 72
"""iphi per readout box, and in all."""


def measure_unit_limit(tests: Iterable[TestRun]) -> list[dict[str, Any]]:
    """Per test run the ranking numbers of every condition; it flags nothing, so there are no others."""
    return [{"conditions": _one_run(test), "overall": {}} for test in tests]


def _one_run(test: TestRun) -> dict[str, Numbers]:
    conditions = {placed.condition for placed in test.placed}
    numbers: dict[str, Numbers] = {}
    for kind in sorted({condition.kind for condition in conditions}):
        mine = [condition for condition in conditions if condition.kind == kind]
        numbers |= _one_kind(test, mine)
    return numbers


def _one_kind(test: TestRun, conditions: list[Condition]) -> dict[str, Numbers]:
    """Conditions of one kind share the ratios of single LS."""
    alternatives = {condition: alternative_of(condition) for condition in conditions}
    longest = max(alternatives.values(), key=lambda alternative: len(alternative.steps))
    ratios = state_ratios(test.series, test.truth.healthy, longest)
    away = ~within_memory(test) & test.live
    undisturbed = {state: np.where(away, ratio, 0) for state, ratio in ratios.items()}
    numbers, healthy = {}, negative_pairs(test)
    for condition, alternative in alternatives.items():
        pairs = fault_pairs(test, condition)
        if not pairs.any():
            continue
        if condition.scale == "channel":
            scores = over_window(test.series, ratios, alternative)
            positives, negatives = scores[pairs], {kind: scores[chosen] for kind, chosen in healthy.items()}
        else:
            at_fault = [placed.rows for placed in placed_of(test, condition)]
            positives = _of_units(test, at_fault, [pairs], ratios, alternative)[0]
            others = _of_units(test, _candidates(test, condition), healthy.values(), undisturbed, alternative)
            negatives = dict(zip(healthy, others, strict=True))
        if len(negatives[""]):
            numbers[condition.name] = rankings(positives, {kind: np.sort(one) for kind, one in negatives.items()})
    return numbers


def _of_units(
    test: TestRun, units: Units, kinds: Iterable[NDArray[np.bool_]], ratios: Ratios, alternative: Alternative
) -> list[Floats]:
    """Of every kind of pairs: (pairs of units,) the unit's ratio, as often as it has such pairs in an LS."""
    scores = over_window(test.series, {state: summed(ratio, units) for state, ratio in ratios.items()}, alternative)
    return [np.repeat(scores.ravel(), summed(pairs, units).astype(np.intp).ravel()) for pairs in kinds]


def _candidates(test: TestRun, condition: Condition) -> Units:
    """The units that a condition might have hit instead."""
    channels = test.series.channels
    if condition.scale != "box":
        return units_of(condition.scale, channels)
    return [moved for placed in placed_of(test, condition) for moved in moved_boxes(channels, placed.rows)]


def units_of(scale: str, channels: ChannelTable) -> Units:
    """Rows of every unit of a scale."""
    labels = unit_labels(scale, channels)
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def moved_boxes(channels: ChannelTable, rows: NDArray[np.intp]) -> Units:
    """Rows of a box at every place of its shape: turned by whole readout boxes, on its own side and mirrored."""
    table = np.full((N_IETA, N_IPHI, N_DEPTH), -1)
    table[channels.grid] = np.arange(len(channels))
    eta, phi, depth = (index[rows] for index in channels.grid)
    places = []
    for side in (eta, len(table) - 1 - eta):
        for turn in range(0, AROUND, BOX_PERIOD):
            found = table[side, (phi + turn) % AROUND, depth]
            places.append(found[found >= 0])
    return [place for place in places if len(place)]
